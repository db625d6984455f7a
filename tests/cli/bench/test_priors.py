from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result

HEADINGS = ["orders of the transformer", "kinds of priors"]


@pytest.fixture(autouse=True)
def _one_seed_for_all() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number in range(3):
        make_picture(tmp_path / "photos" / f"{number}.png", seed=number)
    return tmp_path / "photos"


def priors(model: Path, *arguments: object, orders: str = "raster,quincunx") -> Result:
    small = {"--steps": 2, "--batch-size": 2, "--width": 8, "--depth": 1, "--crop-size": 32, "--crops": 6}
    given = [part for option in small.items() for part in option if option[0] not in arguments]
    return vqcodec("bench", "priors", "--model", model, "--device", "cpu", "--orders", orders, *given, *arguments)


def printed_rows(text: str) -> list[list[str]]:
    """Passes, parameters, steps, seconds, bits per token and what is saved, after the name."""
    return [[" ".join(line.split()[:-6]), *line.split()[-6:]] for line in text.splitlines() if line.endswith("%")]


def test_tables_results_and_markdown_on_generated_shapes(tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    result = priors(tiny_model, "--out", out, "--held-out", 3)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    assert result.stdout.startswith(
        "toy shapes, level 1 of tiny (K = 32, f = 16): 6 crops of 2 x 2 tokens to learn from, 3 pictures held out; "
        "transformers of width 8 and depth 1, 2 steps of 2 grids, seed 0"
    )
    assert [text for text in result.stdout.splitlines() if text in HEADINGS] == HEADINGS
    rows = printed_rows(result.stdout)
    assert [row[:2] for row in rows] == [
        ["raster", "4"],
        ["quincunx", "3"],
        ["raster", "4"],
        ["gated PixelCNN", "4"],
        ["order 0", "0"],
    ]
    assert rows[0] == rows[2]
    kept = [json.loads(text) for text in (out / "results.jsonl").read_text().splitlines()]
    assert [row["prior"] for row in kept] == ["raster", "quincunx", "gated PixelCNN", "order 0"]
    assert all(row["log2_codebook_size"] == 5 and row["saved"] == 1 - row["bits_per_token"] / 5 for row in kept)
    assert str(tmp_path) not in json.dumps(kept)
    assert names_in(out) == ["results.jsonl", "table.md"]
    tables = (out / "table.md").read_text()
    assert tables.splitlines()[0] == result.stdout.splitlines()[0]
    assert tables.count("| raster ") == 2

    again = priors(tiny_model, "--out", out, "--held-out", 3)
    assert again.stdout == result.stdout
    assert (out / "table.md").read_text() == tables
    assert len((out / "results.jsonl").read_text().splitlines()) == len(kept)


def test_the_users_pictures_as_json_lines(tiny_model: Path, photos: Path) -> None:
    result = priors(tiny_model, "--images", photos, "--json", "--level", 2, "--seed", 3, orders="spiral")
    assert result.exit_code == 0, result.output
    rows = [json.loads(text) for text in result.stdout.splitlines()]
    assert [row["prior"] for row in rows] == ["spiral", "gated PixelCNN", "order 0"]
    data = rows[0]["settings"]["data"]
    assert (data["name"], data["level"], data["seed"]) == ("photos", 2, 3)
    assert (data["training_crops"], data["held_out_pictures"], data["grid"]) == (6, 1, [2, 2])
    assert rows[1]["settings"]["training"]["seconds"] == rows[0]["seconds"]


def test_a_damaged_line_is_named_and_its_row_trained_again(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl").write_text("{\n")
    result = priors(tiny_model, "--images", photos, "--out", out, orders="raster")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"warning: {out / 'results.jsonl'}:1: not JSON")


def test_pictures_too_small_for_the_crops_are_an_error(tiny_model: Path, photos: Path) -> None:
    result = priors(tiny_model, "--images", photos, "--crop-size", 64)
    assert result.exit_code == 1
    assert "error: none of the training pictures can be used" in result.stderr


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert "no such model folder" in only_error(priors(tmp_path / "none"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--orders", "raster,hilbert"), "order 'hilbert': there are raster, wavefront"),
        (("--orders", " , "), "no order to train"),
        (("--level", 3), "level 3: model tiny has 1 to 2"),
        (("--crop-size", 40), "crops of 40 pixels: not a multiple of 16"),
        (("--crop-size", 8), "8 is not in the range"),
        (("--steps", 0), "0 is not in the range"),
        (("--learning-rate", 0), "0.0 is not in the range"),
        (("--images", "missing"), "'missing' does not exist"),
    ],
)
def test_wrong_usage(tiny_model: Path, arguments: tuple[object, ...], message: str) -> None:
    result = priors(tiny_model, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
