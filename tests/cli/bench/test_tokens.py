"""vqcodec bench tokens: what tokens cost, by level, agrees with a count by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import make_other_model, make_picture, only_error, vqcodec
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior
from torch import Tensor

from vqcodec.benchmarks.priors.token_rates import LevelRate, as_lines, measure_token_rates, rates_table
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import PRIOR_FOLDER, load_prior_folder
from vqcodec.codec import Codec
from vqcodec.pictures.image import to_tensor
from vqcodec.training.data.pictures import PictureSet

SIZES = ((70, 50), (33, 48))


@pytest.fixture
def prior(tiny_model: Path, tmp_path: Path) -> Path:
    return write_prior(tmp_path / "prior", tiny_model)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two pictures, neither of whole tokens."""
    for number, (width, height) in enumerate(SIZES):
        make_picture(tmp_path / "photos" / f"{number}.png", width, height, seed=number)
    return tmp_path / "photos"


def bench(photos: Path, model: Path, *options: object) -> Result:
    return vqcodec("bench", "tokens", "--images", photos, "--model", model, "--device", "cpu", *options)


def tokens_of(photos: Path, codec: Codec) -> list[list[Tensor]]:
    pictures = [np.asarray(Image.open(path)) for path in sorted(photos.iterdir())]
    return [codec.tokenize(to_tensor(pixels, 16)) for pixels in pictures]


def entropy(tokens: np.ndarray) -> float:
    shares = np.unique(tokens, return_counts=True)[1] / tokens.size
    return float(-(shares * np.log2(shares)).sum())


def test_the_rates_agree_with_a_count_by_hand(tiny_model: Path, prior: Path, photos: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu", dtype=torch.float32)
    network = load_prior_folder(prior).load()
    rates = measure_token_rates(codec, network, PictureSet([photos]))
    made = tokens_of(photos, codec)
    assert [tuple(grids[0].shape[1:]) for grids in made] == [(4, 5), (3, 3)]
    pixels = sum(width * height for width, height in SIZES)
    for level, rate in enumerate(rates):
        together = np.concatenate([grids[level].numpy().ravel() for grids in made])
        frequencies = np.array(codec.card.static_frequencies[level])
        bits = 0.0
        for grids in made:
            chances = network(grids, level)[0].softmax(dim=2)
            bits -= float(chances.gather(2, grids[level][0, ..., None]).log2().sum())
        expected = LevelRate(
            level=level + 1,
            tokens=29,
            fixed=5.0,
            own=entropy(together),
            static=float(np.mean(-np.log2(frequencies[together] / frequencies.sum()))),
            prior=bits / 29,
            saved=1 - bits / 29 / 5,
            bpp=bits / pixels,
        )
        assert as_lines([rate])[0] == pytest.approx(as_lines([expected])[0], abs=1e-4)


def test_a_table_is_printed_and_a_file_is_written(tiny_model: Path, prior: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rates.json"
    result = bench(photos, tiny_model, "--prior", prior, "--out", out)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    header, *rows = [line for line in result.stdout.splitlines() if line.strip("- |")]
    assert header.split() == ["level", "tokens", "log2", "K", "order-0", "static", "prior", "saved", "bpp"]
    values = json.loads(out.read_text())
    card = load_model_folder(tiny_model).card
    assert (values["model"], values["model_id"], values["prior"]) == ("tiny", card.model_id.hex(), "random")
    assert {"date", "machine", "versions"} <= set(values)
    assert [line["level"] for line in values["levels"]] == [1, 2]
    for row, line in zip(rows, values["levels"], strict=True):
        assert row.split() == [
            str(line["level"]),
            "29",
            "5.00",
            f"{line['own']:.2f}",
            f"{line['static']:.2f}",
            f"{line['prior']:.3f}",
            f"{line['saved']:.1%}",
            f"{line['bpp']:.4f}",
        ]


def test_the_models_own_prior_is_the_default(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    write_prior(model / PRIOR_FOLDER, model, levels=1)
    result = bench(photos, model)
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[-1:]] == ["1"]


def test_a_model_without_frequencies_has_no_static_rate(tiny_model: Path, photos: Path, tmp_path: Path) -> None:
    model = make_other_model(tmp_path / "other", tiny_model)
    result = bench(photos, model, "--prior", write_prior(tmp_path / "prior", model))
    assert result.exit_code == 0, result.output
    assert [line.split()[4] for line in result.stdout.splitlines()[-2:]] == ["-", "-"]


def test_a_table_for_a_page() -> None:
    rate = LevelRate(level=1, tokens=4, fixed=3.0, own=1.5, static=None, prior=1.0, saved=2 / 3, bpp=0.01)
    lines = rates_table([rate], markdown=True).splitlines()
    assert [cell.strip() for cell in lines[-1].strip("|").split("|")] == [
        "1", "4", "3.00", "1.50", "-", "1.000", "66.7%", "0.0100",
    ]  # fmt: skip


def test_what_cannot_be_is_one_line(tiny_model: Path, prior: Path, photos: Path, tmp_path: Path) -> None:
    assert "model tiny has no prior; train one with `vqcodec train stage2" in only_error(bench(photos, tiny_model))
    other = make_other_model(tmp_path / "other", tiny_model)
    assert "prior random is for the tokens of model tiny" in only_error(bench(photos, other, "--prior", prior))
    (tmp_path / "empty").mkdir()
    line = only_error(bench(tmp_path / "empty", tiny_model, "--prior", prior))
    assert line.startswith(f"error: {tmp_path / 'empty'}: no pictures")
    line = only_error(bench(photos, tiny_model, "--prior", tmp_path / "empty"))
    assert line == f"error: {tmp_path / 'empty'}: not a prior folder, it has no prior.json"
    assert bench(tmp_path / "gone", tiny_model).exit_code == 2


def test_a_file_that_cannot_be_written_is_named(tiny_model: Path, prior: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "rates.json"
    result = bench(photos, tiny_model, "--prior", prior, "--out", out)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {out}: ")
