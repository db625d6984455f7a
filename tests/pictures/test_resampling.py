"""Pictures at low resolution and back."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqcodec.pictures.resampling import consistent, enlarge, shrink

every_factor = pytest.mark.parametrize("factor", [2, 4, 8])


def random(*shape: int, seed: int = 0) -> Tensor:
    """In [-1, 1]."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def smooth(*shape: int) -> Tensor:
    return F.interpolate(random(*shape[:2], 4, 5), size=shape[2:], mode="bicubic", align_corners=True)


@every_factor
def test_a_smooth_picture_survives_being_enlarged_and_shrunk(factor: int) -> None:
    low = smooth(2, 3, 32, 40)
    large = enlarge(low, factor)
    assert large.shape == (2, 3, 32 * factor, 40 * factor)
    torch.testing.assert_close(shrink(large, factor), low, rtol=0, atol=0.02)


@every_factor
def test_shrinking_takes_the_mean_of_each_block(factor: int) -> None:
    picture = random(1, 3, 2 * factor, 3 * factor)
    shrunk = shrink(picture, factor)
    assert shrunk.shape == (1, 3, 2, 3)
    block = picture[0, 1, factor:, factor : 2 * factor]
    torch.testing.assert_close(shrunk[0, 1, 1, 1], block.mean())


@every_factor
def test_a_flat_picture_stays_flat(factor: int) -> None:
    flat = torch.full((1, 3, 2, 1), 0.3)
    torch.testing.assert_close(enlarge(flat, factor), torch.full((1, 3, 2 * factor, factor), 0.3))


@settings(max_examples=15, deadline=None)
@given(factor=st.sampled_from([2, 4, 8]), rows=st.integers(1, 5), cols=st.integers(1, 5), seed=st.integers(0, 2**30))
def test_what_was_made_consistent_is_the_low_picture_when_shrunk(factor: int, rows: int, cols: int, seed: int) -> None:
    low = 0.4 * random(1, 3, rows, cols, seed=seed)
    made = 0.3 * random(1, 3, rows * factor, cols * factor, seed=seed + 1)
    moved = consistent(made, low, factor)
    assert moved.shape == made.shape
    assert float(moved.abs().max()) <= 1
    torch.testing.assert_close(shrink(moved, factor), low, rtol=0, atol=1 / 127.5)


@every_factor
def test_a_consistent_picture_is_left_alone(factor: int) -> None:
    made = random(1, 3, 4 * factor, 3 * factor)
    torch.testing.assert_close(consistent(made, shrink(made, factor), factor), made)


def test_fine_detail_stays() -> None:
    low, detail = 0.3 * smooth(1, 3, 8, 8), 0.2 * random(1, 3, 32, 32, seed=4)
    detail = detail - shrink(detail, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(
        consistent(detail, low, 4) - consistent(torch.zeros_like(detail), low, 4), detail, rtol=0, atol=1e-5
    )
