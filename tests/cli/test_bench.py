from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image, features

from vqcodec.benchmarks.speed import synthetic_picture
from vqcodec.cli.main import main

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(synthetic_picture(48, 33, seed=number)).save(folder / f"{number}.png")
    return folder


def vqcodec(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["bench", *map(str, arguments)])


def rd(pictures: Path, model: Path, out: Path, *more: object) -> Result:
    return vqcodec("rd", "--images", pictures, "--model", model, "--out", out, "--device", "cpu", *more)


@needs_avif
def test_rd_writes_results_and_summary_and_goes_on_with_them(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    first = rd(pictures, tiny_model, tmp_path / "out", "--markdown")
    assert first.exit_code == 0, first.output
    assert "lpips is not measured" in first.stderr
    assert "dists is not measured" in first.stderr
    assert "| vq:tiny:" in first.stdout
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert len(lines) == 2 * 2 * 5
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {"command", "date", "commit", "machine", "versions", "model", "means", "comparisons"} <= set(summary)
    assert (summary["images"], summary["points"], summary["model"]["name"]) == (2, 20, "tiny")
    assert set(summary["absent_metrics"]) == {"lpips", "dists"}
    assert [mean["images"] for mean in summary["means"]] == [2] * 10
    assert {comparison["anchor"] for comparison in summary["comparisons"]} == {
        "avif",
        "avif/2",
        "avif/3",
        "avif/4",
        "all",
    }

    results = tmp_path / "out" / "results.jsonl"
    results.write_text("\n".join([*lines[:-1], lines[-1][:50]]))
    again = rd(pictures, tiny_model, tmp_path / "out")
    assert again.exit_code == 0
    assert f"{results}:20: not JSON" in again.stderr
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["points"], len(summary["damaged_lines"])) == (20, 1)


@needs_avif
def test_an_unreadable_picture_is_named_and_the_rest_goes_on(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    (pictures / "0.png").write_bytes(b"no picture")
    result = rd(pictures, tiny_model, tmp_path / "out")
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
    result = rd(pictures, tiny_model, tmp_path / "out")
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


def test_speed_prints_the_steps_and_writes_json(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    options = ("--size", "64x48", "--repeat", 1, "--every-level", "--no-cold", "--device", "cpu", "--out", out)
    result = vqcodec("speed", "--model", tiny_model, *options)
    assert result.exit_code == 0, result.output
    assert "entropy coding" in result.stdout
    values = json.loads(out.read_text())
    float32 = [row for row in values["speed"] if row["dtype"] == "float32"]
    assert [(row["width"], row["height"], row["levels"]) for row in float32] == [(64, 48, 1), (64, 48, 2)]
    assert "cold" not in values
    assert values["machine"]["cpu"]


@pytest.mark.parametrize("size", ["64", "0x5", "axb", "64x48x3"])
def test_a_size_that_is_none_is_a_usage_error(size: str, tiny_model: Path) -> None:
    result = vqcodec("speed", "--model", tiny_model, "--size", size)
    assert result.exit_code == 2
    assert "is not a size such as 768x512" in result.stderr
