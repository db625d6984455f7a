from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from vqcodec.benchmarks.rate_distortion import frechet
from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cli.main import main

pytest.importorskip("bjontegaard")
pytest.importorskip("imagecodecs")
pytest.importorskip("plotly")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(synthetic_picture(48, 33, seed=number)).save(folder / f"{number}.png")
    return folder


def rd(pictures: Path, model: Path, out: Path, *more: object) -> Result:
    options = ("--images", pictures, "--model", model, "--out", out, "--device", "cpu", *more)
    return CliRunner().invoke(main, ["bench", "rd", *map(str, options)])


def test_results_summary_and_report_are_written_and_gone_on_with(
    pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--codecs", "vq,webp,jpeg", "--scales", "1,2")
    first = rd(pictures, tiny_model, out, *options, "--markdown")
    assert first.exit_code == 0, first.output
    assert "lpips is not measured" in first.stderr
    assert "dists is not measured" in first.stderr
    assert "| vq:tiny:" in first.stdout
    assert "BD-rate" in first.stdout
    assert first.stdout.endswith(f"\n{out / 'report.html'}\n")
    assert (out / "report.html").stat().st_size > 1_000_000  # with the plotting library
    lines = (out / "results.jsonl").read_text().splitlines()
    assert len(lines) == 2 * (2 + 3 + 3 + 4 + 5)
    summary = json.loads((out / "summary.json").read_text())
    expected = {"command", "date", "commit", "machine", "versions", "models", "means", "bd_rates", "win_rates"}
    assert expected <= set(summary)
    assert (summary["images"], summary["points"], summary["models"][0]["name"]) == (2, 34, "tiny")
    assert summary["peak_memory_bytes"] > 1e8
    assert set(summary["absent_metrics"]) == {"lpips", "lpips_vgg", "dists"}
    assert [mean["images"] for mean in summary["means"]] == [2] * 17
    anchors = {win["anchor"] for win in summary["win_rates"]}
    assert anchors == {"webp", "webp/2", "webp/*", "jpeg", "jpeg/2", "jpeg/*", "all"}
    assert len(list((out / "pictures").rglob("*.webp"))) == 2 * (1 + 17)

    results = out / "results.jsonl"
    results.write_text("\n".join([*lines[:-1], lines[-1][:50]]))
    again = rd(pictures, tiny_model, out, *options)
    assert again.exit_code == 0
    assert f"{results}:34: not JSON" in again.stderr
    second = json.loads((out / "summary.json").read_text())
    assert (second["points"], second["points_measured_now"], len(second["damaged_lines"])) == (34, 1, 1)
    for name in ("codec", "setting", "bytes", "psnr_db"):
        assert [mean[name] for mean in second["means"]] == [mean[name] for mean in summary["means"]]
    assert second["win_rates"] == summary["win_rates"]


def test_without_pictures_and_without_ours(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = rd(pictures, tiny_model, out, "--codecs", "webp", "--scales", "3", "--no-pictures", "--limit", 1)
    assert result.exit_code == 0, result.output
    assert not (out / "pictures").exists()
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["models"], summary["bd_rates"], summary["images"]) == ([], [], 1)


def test_levels_models_and_entropy_are_chosen(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    options = ("--codecs", "vq", "--level", 2, "--entropy", "uniform", "--no-pictures")
    result = rd(pictures, tiny_model, tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    means = json.loads((tmp_path / "out" / "summary.json").read_text())["means"]
    assert [(mean["codec"].split(":")[-1], mean["setting"]) for mean in means] == [("uniform", 2)]
    result = rd(pictures, tiny_model, tmp_path / "out", "--level", 3)
    assert result.exit_code == 2
    assert "model tiny has 1 to 2 levels" in result.stderr


def test_an_unreadable_picture_is_named_and_the_rest_goes_on(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    (pictures / "0.png").write_bytes(b"no picture")
    result = rd(pictures, tiny_model, tmp_path / "out", "--codecs", "vq,webp")
    assert result.exit_code == 1
    assert f"error: {pictures / '0.png'}: " in result.stderr
    assert "vq:tiny:" in result.stdout
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["images"], len(summary["failures"])) == (1, 1)


def test_nothing_to_measure_is_an_error(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = rd(empty, tiny_model, tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == f"error: {empty}: holds no pictures\n"
    for number in range(2):
        (pictures / f"{number}.png").write_bytes(b"")
    result = rd(pictures, tiny_model, tmp_path / "out", "--codecs", "vq")
    assert result.exit_code == 1
    assert result.stderr.count("error: ") == 2
    assert result.stdout == ""


def test_missing_folders_and_models_are_named(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    result = rd(tmp_path / "nowhere", tiny_model, tmp_path / "out")
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
    result = rd(pictures, tiny_model, tmp_path / "out", "--perceptual-weights", tmp_path / "no-weights")
    assert result.exit_code == 2
    assert "no-weights" in result.stderr
    result = rd(pictures, tmp_path / "no-model", tmp_path / "out")
    assert result.exit_code == 1
    assert "no-model" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--codecs", "vq,heic", "take some of vq,jpeg"),
        ("--codecs", ",", "take some of vq,jpeg"),
        ("--scales", "1,0", "is not a list of numbers"),
        ("--scales", "1;2", "is not a list of numbers"),
    ],
)
def test_what_is_no_codec_or_scale_is_a_usage_error(
    option: str, value: str, message: str, pictures: Path, tiny_model: Path, tmp_path: Path
) -> None:
    result = rd(pictures, tiny_model, tmp_path / "out", option, value)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_the_extra_the_command_says_what_to_install(
    pictures: Path, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the package of this module holds the command under the same name
    module = importlib.import_module("vqcodec.cli.bench.rd")
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "plotly" else object())
    result = rd(pictures, tiny_model, tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.strip().splitlines()[-1].endswith("plotly: not installed; pip install 'vqcodec[bench]'")


def test_published_points_that_are_none_are_an_error(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    published = tmp_path / "published.json"
    published.write_text("[]")
    result = rd(pictures, tiny_model, tmp_path / "out", "--codecs", "vq", "--published", published)
    assert result.exit_code == 1
    assert str(published) in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_large_set_has_a_frechet_distance(
    pictures: Path, tiny_model: Path, perceptual_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frechet, "FRECHET_MINIMUM_IMAGES", 2)
    out = tmp_path / "out"
    options = ("--codecs", "vq,webp", "--scales", "1", "--perceptual-weights", perceptual_weights, "--no-pictures")
    result = rd(pictures, tiny_model, out, *options)
    assert result.exit_code == 0, result.output
    assert "Fréchet" in result.stdout
    means = json.loads((out / "summary.json").read_text())["means"]
    distances = [mean["frechet_vgg16_relu5_3"] for mean in means]
    assert len(distances) == 6
    assert min(distances) > 0
    assert not (out / "pictures").exists()
    assert json.loads((out / "results.jsonl").read_text().splitlines()[0])["lpips_vgg"] > 0
    assert "Measured now" in (out / "report.html").read_text()


def test_refined_pictures_are_a_curve_of_their_own(
    pictures: Path, tiny_model: Path, perceptual_weights: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ("--codecs", "vq,webp", "--scales", "1", "--refine", 2, "--no-pictures")
    alone = rd(pictures, tiny_model, out, *options)
    assert (alone.exit_code, "--refine needs --perceptual-weights" in alone.stderr) == (2, True)
    alone = rd(pictures, tiny_model, out, "--refine-level", 1)
    assert (alone.exit_code, "--refine-level goes with --refine" in alone.stderr) == (2, True)
    options += ("--refine-level", 2, "--perceptual-weights", perceptual_weights)
    result = rd(pictures, tiny_model, out, *options)
    assert result.exit_code == 0, result.output
    means = json.loads((out / "summary.json").read_text())["means"]
    ours = [(mean["codec"].partition(":static")[2], mean["setting"]) for mean in means if mean["codec"][:3] == "vq:"]
    assert ours == [("", 1), ("", 2), (", refined in 2 steps", 2)]
