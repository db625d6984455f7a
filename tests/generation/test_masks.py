"""Masks: which part of a picture is filled, in pixels and in tokens, and that nothing of it is seen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.generation.masks import SIDES, keep_mask, token_mask, token_masks, without_masked

RNG = np.random.default_rng(9)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.8])
def test_a_share_at_one_side_is_kept(side: str, share: float) -> None:
    mask = keep_mask(20, 30, side, share)
    assert mask.shape == (30, 20)
    turned = np.rot90(mask, {"top": 0, "right": 1, "bottom": 2, "left": 3}[side])
    kept = round(len(turned) * share)
    assert not turned[:kept].any()
    assert turned[kept:].all()


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, float("nan"), 0.01, 0.99])
def test_something_must_be_kept_and_something_filled(share: float) -> None:
    with pytest.raises(ValueError, match="some must be kept and some filled"):
        keep_mask(20, 30, "top", share)


def test_another_side() -> None:
    with pytest.raises(ValueError, match="side 'middle': there are top, left, bottom, right"):
        keep_mask(20, 30, "middle")


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (16, 16), (17, 33), (64, 40)])
@pytest.mark.parametrize("factor", [4, 16, 32])
def test_a_token_is_filled_when_any_of_its_pixels_is(size: tuple[int, int], factor: int) -> None:
    height, width = size
    assert token_mask(np.ones(size, bool), factor).shape == (-(-height // factor), -(-width // factor))
    for row, col in ((0, 0), (height - 1, width - 1), (height // 2, width // 3)):
        mask = np.zeros(size, bool)
        mask[row, col] = True
        tokens = token_mask(mask, factor)
        assert tokens.dtype == torch.bool
        assert tokens.nonzero().tolist() == [[row // factor, col // factor]]


def test_finer_tokens_are_filled_below_coarser_ones() -> None:
    mask = np.zeros((41, 30), bool)
    mask[17, 29] = True
    masks = token_masks(mask, (16, 16, 8, 4))
    assert [tuple(each.shape) for each in masks] == [(3, 2), (3, 2), (6, 4), (11, 8)]
    assert [each.nonzero().min(0).values.tolist() for each in masks] == [[1, 1], [1, 1], [2, 2], [4, 4]]
    assert [int(each.sum()) for each in masks] == [1, 1, 4, 16]


@pytest.mark.parametrize("size", [(1, 2), (7, 5), (40, 33)])
def test_what_is_under_the_mask_is_not_seen_and_the_rest_stays(size: tuple[int, int]) -> None:
    rgb, other = (RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(2))
    mask = RNG.random(size) < 0.7
    mask[0, 0], mask[-1, -1] = True, False
    made = without_masked(rgb, mask)
    assert made.dtype == np.uint8
    assert np.array_equal(made[~mask], rgb[~mask])
    assert np.array_equal(made, without_masked(np.where(mask[..., None], other, rgb), mask))
    assert made[mask].min() >= rgb[~mask].min()
    assert made[mask].max() <= rgb[~mask].max()


def test_a_hole_takes_the_colours_next_to_it() -> None:
    rgb = np.zeros((40, 60, 3), np.uint8)
    rgb[:, 30:] = 200
    mask = np.zeros((40, 60), bool)
    mask[10:30, 5:15] = mask[10:30, 45:55] = True
    made = without_masked(rgb, mask)
    assert made[:, 5:15].mean() < 20
    assert made[:, 45:55].mean() > 180


def test_a_picture_that_is_all_hole_is_gray() -> None:
    assert set(without_masked(np.zeros((5, 6, 3), np.uint8), np.ones((5, 6), bool)).ravel()) == {128}
