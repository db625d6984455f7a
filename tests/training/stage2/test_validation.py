"""How well a prior predicts held-out tokens: the figures agree with a computation by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prior_helpers import random_prior
from stage1_helpers import assert_same_checkpoint
from stage2_helpers import PriorTrainers
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.pictures.arrays import Pixels
from vqcodec.prior.conditions import Conditions
from vqcodec.prior.config import ConditionConfig
from vqcodec.prior.transformer import Prior
from vqcodec.training.common.checkpoint import checkpoints
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.types import DataError
from vqcodec.training.stage2.validation import PriorValidation, PriorValidationResult, prior_figures

SIDE = 64


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu", dtype=torch.float32)


def prior(**fields: Any) -> Prior:
    """For the tokens of the tiny model."""
    return random_prior(codebook_sizes=(32, 32), factors=(16, 16), orders=("raster", "wavefront"), **fields)


def photos() -> ArrayPictures:
    """Three of 70 x 90 pixels, with classes."""
    pixels = np.random.default_rng(5).integers(256, size=(3, 70, 90, 3), dtype=np.uint8)
    smooth = np.stack([np.asarray(Image.fromarray(each).resize((90, 70), box=(0, 0, 9, 7))) for each in pixels])
    return ArrayPictures(smooth, np.array([1, 0, 1]), ("cat", "dog"))


def central(pictures: ArrayPictures) -> Pixels:
    return np.stack([pictures[index][3 : 3 + SIDE, 13 : 13 + SIDE] for index in range(len(pictures))])


def by_hand(network: Prior, tokens: list[Tensor], conditions: list[Conditions], pixels: int) -> dict[str, float]:
    """One picture after the other."""
    values: dict[str, float] = {}
    total = 0.0
    for level, grids in enumerate(tokens):
        costs = []
        for number, condition in enumerate(conditions):
            chances = network([each[number, None] for each in tokens], level, condition).softmax(dim=3)
            costs.append(-chances.gather(3, grids[number, None, ..., None]).log2())
        mean = float(torch.cat(costs).mean())
        total += mean * grids[0].numel()
        values |= {
            f"bits_{level + 1}": mean,
            f"saved_{level + 1}": 1 - mean / 5,
            f"bpp_{level + 1}": total / pixels,
        }
    return values


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]


# ---- figures ----


def test_the_figures_are_means_over_central_crops(codec: Codec, tmp_path: Path) -> None:
    network = prior()
    validation = PriorValidation(photos(), codec, tmp_path / "new", levels=2, crop_size=SIDE)
    result = validation.run(network, 7)
    images = torch.from_numpy(central(photos())).permute(0, 3, 1, 2) / 127.5 - 1
    tokens = codec.tokenize(images)
    assert [grid.shape for grid in tokens] == [(3, 4, 4)] * 2
    assert len(tokens[0].unique()) >= 3
    assert result.step == 7
    assert result.values == pytest.approx(by_hand(network, tokens, [Conditions()] * 3, SIDE**2), abs=1e-5)
    assert lines(tmp_path / "new") == [{"step": 7} | result.values]
    assert result.values["bits_1"] > 3


def test_a_prior_of_fewer_levels(codec: Codec, tmp_path: Path) -> None:
    network = random_prior(codebook_sizes=(32,), factors=(16,), orders=("raster",))
    result = PriorValidation(photos(), codec, tmp_path, levels=1, crop_size=SIDE).run(network, 1)
    assert list(result.values) == ["bits_1", "saved_1", "bpp_1"]


def test_pictures_go_through_in_batches() -> None:
    network = prior()
    tokens = [torch.randint(32, (5, 2, 3), generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    whole = prior_figures(network, tokens, 96)
    assert whole == pytest.approx(by_hand(network, tokens, [Conditions()] * 5, 96), abs=1e-5)
    assert prior_figures(network, tokens, 96, batch_size=2) == pytest.approx(whole, abs=1e-5)


def test_tokens_that_are_known_cost_nothing() -> None:
    network = prior()
    tokens = [torch.full((2, 3, 3), code) for code in (4, 9)]
    for level, code in enumerate((4, 9)):
        network.get_parameter(f"heads.{level}.weight").zero_()
        network.get_parameter(f"heads.{level}.bias").copy_(30.0 * (torch.arange(32) == code))
    assert prior_figures(network, tokens, 100) == pytest.approx(
        {f"{name}_{level}": value for level in (1, 2) for name, value in (("bits", 0), ("saved", 1), ("bpp", 0))},
        abs=1e-6,
    )
    network.get_parameter("heads.0.bias").zero_()
    values = prior_figures(network, tokens, 100)
    expected = {"bits_1": math.log2(32), "saved_1": 0, "bpp_1": 9 * 5 / 100, "bpp_2": 9 * 5 / 100}
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=1e-6)


# ---- labels and conditions ----


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (("cat", "dog"), [1, 0, 1]),
        (("dog", "emu", "cat"), [0, 2, 0]),  # in another order than in the training
        (("cat", "emu"), [2, 0, 2]),  # a class that the prior has never seen counts as none
        (("emu",), [1, 1, 1]),
    ],
)
def test_labels_are_those_of_the_training(
    codec: Codec, tmp_path: Path, classes: tuple[str, ...], labels: list[int]
) -> None:
    network = prior(classes=len(classes))
    validation = PriorValidation(photos(), codec, tmp_path, levels=2, crop_size=SIDE, classes=classes)
    conditions = [Conditions(labels=torch.tensor([label])) for label in labels]
    expected = by_hand(network, validation.tokens, conditions, SIDE**2)
    assert validation.run(network, 1).values == pytest.approx(expected, abs=1e-5)


def test_a_prior_without_classes_is_told_none(codec: Codec, tmp_path: Path) -> None:
    validation = PriorValidation(photos(), codec, tmp_path, levels=2, crop_size=SIDE, classes=("cat", "dog"))
    expected = by_hand(prior(), validation.tokens, [Conditions()] * 3, SIDE**2)
    assert validation.run(prior(), 1).values == pytest.approx(expected, abs=1e-5)


def test_the_condition_is_made_from_the_crops(codec: Codec, tmp_path: Path) -> None:
    network = prior(condition=ConditionConfig("gray", (4,), 8))

    def gray(crops: Pixels) -> Tensor:
        assert np.array_equal(crops, central(photos()))
        return torch.from_numpy(crops[:, None, ::8, ::8, 0] // 64).long()

    validation = PriorValidation(photos(), codec, tmp_path, levels=2, crop_size=SIDE, condition=gray)
    conditions = [Conditions(grid=grid[None]) for grid in gray(central(photos()))]
    expected = by_hand(network, validation.tokens, conditions, SIDE**2)
    assert validation.run(network, 1).values == pytest.approx(expected, abs=1e-5)


# ---- pictures ----


def test_smaller_pictures_are_left_out(
    codec: Codec, pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (200, 63)).save(small)
    validation = PriorValidation(PictureSet([small, pictures]), codec, tmp_path, levels=1, crop_size=SIDE, at_most=3)
    assert validation.tokens[0].shape == (2, 4, 4)
    assert [record.getMessage() for record in caplog.records] == [
        "1 validation pictures left out: a side under 64 pixels"
    ]
    with pytest.raises(DataError, match="no validation picture has both sides of 96 pixels or more"):
        PriorValidation(PictureSet([pictures]), codec, tmp_path, levels=1, crop_size=96)


# ---- in a run ----


def test_validation_does_not_change_the_run(
    prior_trainer: PriorTrainers, codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = PriorValidation(photos(), codec, Path(), levels=2, crop_size=SIDE)
    validation.tokens = [grids % codes for grids, codes in zip(validation.tokens, (8, 6), strict=True)]
    quiet, watched = prior_trainer("quiet"), prior_trainer("watched")
    validation.out = watched.out
    results: list[PriorValidationResult] = []
    quiet.run()
    watched.run(checkpoint_every=2, validation=validation, report_validation=results.append)
    assert_same_checkpoint(checkpoints(quiet.out)[-1], checkpoints(watched.out)[-1])
    assert [result.step for result in results] == [2, 4, 6]
    assert lines(watched.out) == [{"step": result.step} | result.values for result in results]
    assert results[-1].values == prior_figures(watched.average, validation.tokens, SIDE**2)
