"""The sampler: pictures made with a model and its prior, and pictures completed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from prior_helpers import CLASSES, write_prior

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cards.errors import ModelError
from vqcodec.cards.prior_card import PRIOR_WEIGHTS_FILE, find_prior, load_prior_folder
from vqcodec.codec import Codec
from vqcodec.generation.config import SamplingConfig, Series
from vqcodec.generation.drawing import token_bits
from vqcodec.generation.masks import keep_mask
from vqcodec.generation.sampler import SampledPicture, Sampler
from vqcodec.pictures.image import to_tensor

SIZE = (50, 37)
PHOTO = synthetic_picture(*SIZE, seed=1)


@pytest.fixture(scope="module")
def folder(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("priors") / "random", tiny_model)


@pytest.fixture(scope="module")
def sampler(tiny_model: Path, folder: Path) -> Sampler:
    return Sampler.load(tiny_model, folder, device="cpu", dtype=torch.float32)


def equal(left: SampledPicture, right: SampledPicture) -> bool:
    tokens = all(torch.equal(a, b) for a, b in zip(left.tokens, right.tokens, strict=True))
    assert tokens == np.array_equal(left.rgb, right.rgb)
    return tokens


# ---- generate ----


def test_a_model_of_gray_pictures_generates_and_completes(gray_model: Path, tmp_path: Path) -> None:
    made = Sampler.load(gray_model, write_prior(tmp_path, gray_model), device="cpu", dtype=torch.float32)
    [free], [completed] = made.generate(Series(), size=SIZE), made.complete(PHOTO, keep_mask(*SIZE, "top"))
    assert 0 < completed.filled < free.filled
    for picture in (free, completed):
        assert picture.rgb.shape == (*SIZE[::-1], 3)
        assert (picture.rgb == picture.rgb[..., :1]).all()


def test_pictures_have_the_size_asked_for_and_differ(sampler: Sampler) -> None:
    made = list(sampler.generate(Series(3), size=SIZE))
    assert [picture.number for picture in made] == [0, 1, 2]
    for picture in made:
        assert (picture.rgb.shape, picture.rgb.dtype) == ((37, 50, 3), np.uint8)
        assert [grid.shape for grid in picture.tokens] == [(1, 3, 4)] * 2
        assert picture.filled == sampler.count_tokens(SIZE) == 24
        assert picture.bits == pytest.approx(sum(float(b.sum()) for b in token_bits(sampler.prior, picture.tokens)))
        assert picture.kept_bits == 0
    assert not equal(made[0], made[1])


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_picture_depends_on_seed_and_number_only(sampler: Sampler, batch_size: int) -> None:
    labels, config = [2, 0, 1, 1], SamplingConfig(0.9, top_k=20, top_p=0.95, guidance=1.0)
    wanted = list(sampler.generate(Series(4, labels=labels, seed=5, config=config, batch_size=3), size=SIZE))
    made = list(sampler.generate(Series(3, labels=labels[:3], seed=5, config=config, batch_size=batch_size), size=SIZE))
    assert all(equal(a, b) for a, b in zip(made, wanted, strict=False))
    other = next(sampler.generate(Series(labels=labels[:1], seed=6, config=config), size=SIZE))
    assert not equal(other, wanted[0])


def test_a_stream_decodes_to_the_same_picture(sampler: Sampler) -> None:
    for levels in (1, 2):
        pictures = list(sampler.generate(Series(2, levels=levels), size=SIZE))
        assert len(pictures) == 2
        for picture in pictures:
            stream = sampler.codec.write(picture.tokens, *SIZE)
            decoded = sampler.codec.decode_stream(stream)
            assert np.array_equal(decoded.image.rgb, picture.rgb)
            assert decoded.levels == levels


def test_the_number_of_tokens_is_told_as_they_are_made(sampler: Sampler) -> None:
    told: list[int] = []
    list(sampler.generate(Series(3, batch_size=2), size=SIZE, progress=told.append))
    assert sum(told) == 3 * sampler.count_tokens(SIZE)


def test_a_prior_of_fewer_levels_than_the_model(tiny_model: Path, tmp_path: Path) -> None:
    sampler = Sampler.load(tiny_model, write_prior(tmp_path, tiny_model, levels=1), device="cpu", dtype=torch.float32)
    assert sampler.levels == 1
    assert len(next(sampler.generate(Series(), size=SIZE)).tokens) == 1
    assert len(next(sampler.complete(PHOTO, keep_mask(*SIZE, "top"))).tokens) == 1


# ---- complete ----


def hole(*slices: slice) -> np.ndarray:
    mask = np.zeros((37, 50), bool)
    mask[slices] = True
    return mask


@pytest.mark.parametrize("mask", [hole(slice(20, 25), slice(18, 30)), keep_mask(*SIZE, "bottom")])
def test_tokens_outside_the_mask_are_those_of_the_picture(sampler: Sampler, mask: np.ndarray) -> None:
    rows = np.flatnonzero(mask.any(axis=1)) // 16
    cols = np.flatnonzero(mask.any(axis=0)) // 16
    filled = torch.zeros(3, 4, dtype=torch.bool)
    filled[rows.min() : rows.max() + 1, cols.min() : cols.max() + 1] = True
    flat = PHOTO.copy()
    flat[mask] = 0
    made = list(sampler.complete(flat, mask, Series(count=3, seed=2)))
    for picture in made:
        assert picture.rgb.shape == PHOTO.shape
        assert picture.filled == 2 * int(filled.sum())
        bits = token_bits(sampler.prior, picture.tokens)
        assert picture.bits == pytest.approx(sum(float(grid[0][filled].sum()) for grid in bits), rel=1e-5)
        assert picture.kept_bits == pytest.approx(sum(float(grid[0][~filled].sum()) for grid in bits), rel=1e-5)
        for a, b in zip(picture.tokens, made[0].tokens, strict=True):
            assert torch.equal(a[0][~filled], b[0][~filled])
    assert not equal(made[0], made[1])
    whole = sampler.complete(PHOTO, mask, Series(3, seed=2, batch_size=1))  # what was under the mask has no influence
    assert all(equal(a, b) for a, b in zip(made, whole, strict=True))


def test_far_from_the_mask_the_tokens_are_those_of_encoding(sampler: Sampler) -> None:
    rgb = synthetic_picture(16 * 24, 32, seed=3)
    made = next(sampler.complete(rgb, keep_mask(16 * 24, 32, "left")))
    encoded = sampler.codec.tokenize(to_tensor(rgb, 16))
    for a, b in zip(made.tokens, encoded, strict=True):
        assert torch.equal(a[..., :3], b[..., :3])


def test_pasting_brings_the_pixels_back(sampler: Sampler) -> None:
    mask = hole(slice(0, 20))
    plain, pasted = (next(sampler.complete(PHOTO, mask, paste=paste)) for paste in (False, True))
    assert np.array_equal(pasted.rgb[~mask], PHOTO[~mask])
    assert np.array_equal(pasted.rgb[mask], plain.rgb[mask])
    assert not np.array_equal(plain.rgb[~mask], PHOTO[~mask])


# ---- what is refused ----


@pytest.mark.parametrize(
    ("arguments", "size", "message"),
    [
        ({"count": 0}, SIZE, "count 0 and batch size 8 are 1 or more"),
        ({"batch_size": 0}, SIZE, "count 1 and batch size 0"),
        ({"seed": -1}, SIZE, "seed -1 0 or more"),
        ({}, (0, 4), "a picture of 0 x 4"),
        ({"levels": 3}, SIZE, "levels 3: there are 1 to 2"),
        ({"labels": [0, 1]}, SIZE, "2 labels for 1 pictures"),
        ({"labels": [4]}, SIZE, "label 4: prior random has 0 to 3"),
        ({"labels": [-1]}, SIZE, "label -1"),
    ],
)
def test_arguments_are_checked_at_once(
    sampler: Sampler, arguments: dict[str, Any], size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        sampler.generate(Series(**arguments), size=size)


@pytest.mark.parametrize("mask", [hole(slice(0, 0)), hole(slice(5))[:, :9], hole(slice(5)).astype(int)])
def test_a_mask_that_does_not_fit(sampler: Sampler, mask: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected a bool mask \(37, 50\)"):
        sampler.complete(PHOTO, mask)


def test_a_prior_without_classes(tiny_model: Path, tmp_path: Path) -> None:
    sampler = Sampler.load(tiny_model, write_prior(tmp_path, tiny_model, classes=()), device="cpu")
    with pytest.raises(ValueError, match="prior random knows no classes"):
        sampler.generate(Series(labels=[0]), size=SIZE)


def test_the_prior_is_the_models_own_unless_another_is_given(
    tiny_model: Path, tmp_path: Path, folder: Path, sampler: Sampler
) -> None:
    codec = Codec.load(tiny_model, device="cpu", dtype=torch.float32)
    with pytest.raises(ModelError, match="model tiny has no prior; train one"):
        Sampler.load(tiny_model)
    with pytest.raises(ModelError, match="not a prior folder"):
        Sampler.load(tiny_model, tmp_path)
    own = dataclasses.replace(codec.model, path=tmp_path)
    write_prior(tmp_path / "prior", tiny_model)
    assert Sampler(codec, find_prior(own)).card.classes == CLASSES
    other = dataclasses.replace(load_prior_folder(folder).card, model_id="01020304", model_name="other")
    with pytest.raises(ModelError, match=r"is for the tokens of model other \(01020304\), not of tiny"):
        Sampler(codec, dataclasses.replace(load_prior_folder(folder), card=other))


def test_damaged_weights_of_a_prior(tiny_model: Path, tmp_path: Path) -> None:
    write_prior(tmp_path, tiny_model)
    (tmp_path / PRIOR_WEIGHTS_FILE).write_bytes(b"damaged")
    with pytest.raises(ModelError, match="not the weights that prior random's card names"):
        Sampler.load(tiny_model, tmp_path)
