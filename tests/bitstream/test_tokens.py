"""Grids and pyramids of tokens."""

from __future__ import annotations

import pickle

import numpy as np
import numpy.typing as npt
import pytest

from vqcodec.bitstream import TokenGrid, TokenPyramid


@pytest.mark.parametrize(
    ("codebook_size", "dtype"), [(1, "u1"), (256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "u4")]
)
def test_token_grid_keeps_a_read_only_copy(codebook_size: int, dtype: str) -> None:
    values = np.zeros((2, 3), dtype=np.int64)
    grid = TokenGrid(values, codebook_size)
    values[0, 0] = codebook_size - 1
    assert grid.indices.dtype == np.dtype(dtype)
    assert not grid.indices.any()
    assert grid.shape == (2, 3)
    with pytest.raises(ValueError, match="read-only"):
        grid.indices[0, 0] = 0


def test_token_grid_compares_by_value() -> None:
    one = TokenGrid(np.array([[1, 2]], dtype=np.int32), 300)
    same = TokenGrid(np.array([[1, 2]], dtype=np.uint8), 300)
    assert one == same
    assert hash(one) == hash(same)
    assert one != TokenGrid(np.array([[1, 3]]), 300)
    assert one != TokenGrid(np.array([[1, 2]]), 301)
    assert one != TokenGrid(np.array([[1], [2]]), 300)
    assert one != "tokens"
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("indices", "codebook_size", "message"),
    [
        ([[4]], 4, "outside"),
        ([[-1]], 4, "outside"),
        ([1], 4, "rows, cols"),
        ([[]], 4, "integers"),
        (np.zeros((0, 4), dtype=int), 4, "rows, cols"),
        ([[1.0]], 4, "integers"),
        ([[0]], 0, "codebook"),
        ([[0]], 2**18 + 1, "codebook"),
    ],
)
def test_token_grid_refuses(indices: npt.NDArray[np.int64], codebook_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenGrid(indices, codebook_size)


def test_pyramid_truncates() -> None:
    grids = tuple(TokenGrid(np.full((1, level + 1), level), 9) for level in range(3))
    pyramid = TokenPyramid(grids)
    assert pyramid.truncated(2) == TokenPyramid(grids[:2])
    assert (len(pyramid), pyramid.token_count) == (3, 6)
    for levels in (0, 4):
        with pytest.raises(ValueError, match="levels"):
            pyramid.truncated(levels)
    for count in (0, 17):
        with pytest.raises(ValueError, match="levels"):
            TokenPyramid(grids[:1] * count)
