from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result

from vqcodec.benchmarks.ablation.runs import QUANTIZERS
from vqcodec.benchmarks.common import example_sets

HEADINGS = ["by downsampling factor", "by codebook size", "by quantiser"]


@pytest.fixture(autouse=True)
def _one_seed_for_all() -> Iterator[None]:
    """A trainer seeds torch; the other tests need not notice."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        make_picture(tmp_path / "photos" / f"{number}.png", seed=number)
    return tmp_path / "photos"


def ablation(*arguments: object, factors: str = "4,8", sizes: str = "4,8", steps: object = 2, crop: int = 16) -> Result:
    given = ("--factors", factors, "--codebook-sizes", sizes, "--steps", steps, "--crop-size", crop, "--device", "cpu")
    return vqcodec("bench", "ablation", *given, *arguments)


def table_rows(text: str) -> list[list[str]]:
    """The last nine columns of the printed rows: f, K, tokens, bits per pixel, PSNR twice, gain, usage, perplexity."""
    return [line.split()[-9:] for line in text.splitlines() if "%" in line]


def test_tables_results_and_markdown_on_generated_shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_sets, "TOY_PICTURES", (40, 8))
    out = tmp_path / "new" / "out"
    result = ablation("--out", out)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith(
        "toy shapes: 40 pictures to learn from, 8 held out, measured on 16 x 16 pixels; 2 steps of 16 crops"
    )
    assert [text for text in result.stdout.splitlines() if text.startswith("by ")] == HEADINGS
    rows = table_rows(result.stdout)
    assert [row[:4] for row in rows[:4]] == [
        ["4", "8", "16", "0.1875"],
        ["8", "8", "4", "0.0469"],
        ["8", "4", "4", "0.0312"],
        ["8", "8", "4", "0.0469"],
    ]
    assert len(rows) == 4 + len(QUANTIZERS)
    kept = [json.loads(text) for text in (out / "results.jsonl").read_text().splitlines()]
    assert [(row["factor"], row["codebook_size"]) for row in kept[:3]] == [(4, 8), (8, 8), (8, 4)]
    assert [row["quantizer"] for row in kept[3:]] == list(QUANTIZERS)[1:]
    assert str(tmp_path) not in json.dumps(kept)
    assert names_in(out) == ["results.jsonl", "table.md"]
    tables = (out / "table.md").read_text()
    assert tables.count("| average, lifted") == 2 + 2 + 2
    assert tables.splitlines()[0] == result.stdout.splitlines()[0]

    again = ablation("--out", out)
    assert again.stdout == result.stdout
    assert (out / "table.md").read_text() == tables
    assert len((out / "results.jsonl").read_text().splitlines()) == len(kept)


def test_the_users_pictures_as_json_lines(photos: Path) -> None:
    result = ablation("--images", photos, "--no-quantizers", "--json", factors="8", sizes="4,8")
    assert result.exit_code == 0, result.output
    rows = [json.loads(text) for text in result.stdout.splitlines()]
    assert [(row["factor"], row["codebook_size"]) for row in rows] == [(8, 8), (8, 4)]
    data = rows[0]["settings"]["data"]
    assert (data["name"], data["training_pictures"], data["held_out_pictures"]) == ("photos", 2, 1)
    assert data["measured_side"] == 32
    assert rows[0]["gain_db"] == rows[0]["psnr_db"] - rows[0]["start_psnr_db"]


def test_perceptual_weights_add_losses_and_rows_without_them(photos: Path, perceptual_weights: Path) -> None:
    more = ("--images", photos, "--perceptual-weights", perceptual_weights, "--no-quantizers")
    for number in range(2):
        make_picture(photos / f"larger-{number}.png", 48, 44, seed=10 + number)
    result = ablation(*more, factors="8", sizes="4", crop=40)
    assert result.exit_code == 0, result.output
    [losses] = [text.split() for text in result.stdout.splitlines() if "no discriminator" in text]
    assert float(losses[-1]) > 0
    assert "by losses" in result.stdout
    assert "LPIPS" in result.stdout


def test_a_damaged_line_is_named_and_its_row_trained_again(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl").write_text("{\n")
    result = ablation("--images", photos, "--out", out, "--no-quantizers", factors="8", sizes="4")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"warning: {out / 'results.jsonl'}:1: not JSON")


def test_a_folder_without_pictures_is_one_line(tmp_path: Path) -> None:
    assert "no pictures" in only_error(ablation("--images", tmp_path))


def test_a_folder_without_readable_pictures_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"no picture")
    result = ablation("--images", tmp_path)
    assert result.exit_code == 1
    assert "error: none of the training pictures can be used" in result.stderr


def test_a_device_that_is_not_there_is_one_line(photos: Path) -> None:
    result = vqcodec("bench", "ablation", "--images", photos, "--crop-size", 16, "--device", "cuda:99")
    assert result.exit_code == 1
    assert "error: cuda:99: not available here" in result.stderr


def test_results_that_cannot_be_written_are_one_line(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = ablation("--images", photos, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 1
    assert f"error: {tmp_path / 'file'}" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--factors", "4,3"), "a downsampling factor of 3: take 1, 2, 4"),
        (("--factors", "4,x"), "'4,x' is not a list of numbers"),
        (("--factors", "0"), "'0' is not a list of numbers"),
        (("--codebook-sizes", ""), "'' is not a list of numbers"),
        (("--codebook-sizes", "1"), "codebook sizes (1,)"),
        (("--crop-size", 20), "crops of 20 pixels: not a multiple of the factor 8"),
        (("--crop-size", 8), "8 is not in the range"),
        (("--steps", 0), "0 is not in the range"),
        (("--images", "missing"), "'missing' does not exist"),
    ],
)
def test_wrong_usage(arguments: tuple[object, ...], message: str) -> None:
    result = ablation(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_crops_too_small_for_lpips_are_wrong_usage(perceptual_weights: Path) -> None:
    result = ablation("--perceptual-weights", perceptual_weights)
    assert result.exit_code == 2
    assert "LPIPS takes 34 or more" in result.stderr
