"""Pieces of an order, and the part of a grid that is kept: checked place by place."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.prior.integer import joined
from vqcodec.prior.orders import ORDERS
from vqcodec.prior.windows import EDGE, joined_starts, window


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("tokens", [1, 9, 1000])
def test_pieces_are_those_of_numpy(order: str, tokens: int) -> None:
    grid = ORDERS[order](7, 10)
    starts = joined_starts(grid.starts, tokens)
    pieces = [grid.positions[start:end] for start, end in pairwise(starts)]
    for piece, expected in zip(pieces, joined(grid.groups(), tokens), strict=True):
        assert np.array_equal(piece, expected)


@settings(max_examples=60, deadline=None)
@given(
    order=st.sampled_from(sorted(ORDERS)),
    rows=st.integers(1, 12),
    cols=st.integers(1, 40),
    radius=st.integers(1, 3),
    tokens=st.sampled_from([1, 16]),
)
def test_nothing_that_is_looked_at_is_lost(order: str, rows: int, cols: int, radius: int, tokens: int) -> None:
    grid = ORDERS[order](rows, cols)
    starts = joined_starts(grid.starts, tokens)
    kept_rows, kept_cols = window(grid, starts, radius)
    assert kept_cols % 2 == 0
    assert kept_cols >= EDGE
    ranks = np.empty(rows * cols, np.int64)
    ranks[grid.positions] = grid.ranks()
    holds: dict[tuple[int, int], tuple[int, int]] = {}
    for start, end in pairwise(starts):
        piece = [divmod(int(position), cols) for position in grid.positions[start:end]]
        holds |= {(row % kept_rows, col % kept_cols): (row, col) for row, col in piece}
        for row, col in piece:
            for y in range(max(0, row - radius), min(rows, row + radius + 1)):
                for x in range(max(0, col - radius), min(cols, col + radius + 1)):
                    if ranks[y * cols + x] <= ranks[row * cols + col]:
                        assert holds[y % kept_rows, x % kept_cols] == (y, x)


@pytest.mark.parametrize(("order", "rows"), [("wavefront", 10), ("raster", 7)])
def test_a_tall_grid_takes_no_more_than_a_square_one(order: str, rows: int) -> None:
    for height in (48, 500):
        grid = ORDERS[order](height, 48)
        assert window(grid, grid.starts, 6) == (rows, 48)


def test_a_wide_grid_is_kept_in_part() -> None:
    grid = ORDERS["wavefront"](20, 500)
    assert window(grid, grid.starts, 6) == (20, 20)
