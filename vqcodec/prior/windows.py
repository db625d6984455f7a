"""How an order is coded in pieces, and how much of a grid attention still looks at meanwhile. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.prior.orders import OrderedGrid, Positions

#: a window has so many columns more, and at least so many
EDGE: Final = 16


def joined_starts(starts: Positions, tokens: int) -> Positions:
    """Where pieces of whole groups begin that hold no more than `tokens`, or one group, and N; as `starts`."""
    chosen, last = [0], int(starts[0])
    for start, end in zip(starts[1:-1].tolist(), starts[2:].tolist(), strict=True):
        if end - last > tokens:
            chosen.append(start)
            last = start
    return np.array([*chosen, int(starts[-1])])


def window(grid: OrderedGrid, starts: Positions, radius: int) -> tuple[int, int]:
    """(rows, columns) by which rows and columns may be counted round so that no place that is still looked at is lost.

    starts: of the pieces that are computed at once. Columns are even, and EDGE or more.
    """
    rows, cols = grid.shape
    pieces = np.empty(rows * cols, np.int64)
    pieces[grid.positions] = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    piece = pieces.reshape(rows, cols)
    last = np.pad(piece, radius, constant_values=-1)
    for axis in (0, 1):
        last = np.lib.stride_tricks.sliding_window_view(last, 2 * radius + 1, axis=axis).max(axis=2)
    few_rows = _least(1, rows, lambda step: _is_free(piece[step:], last[:-step]))
    few_cols = _least(EDGE // 2, -(-cols // 2), lambda step: _is_free(piece[:, 2 * step :], last[:, : -2 * step])) * 2
    whole_cols = max(EDGE, cols + cols % 2)
    windows = [(few_rows, whole_cols), (rows, few_cols)]
    return min(windows, key=lambda kept: kept[0] * (kept[1] + EDGE))


def _is_free(later: NDArray[np.int64], last: NDArray[np.int64]) -> bool:
    return bool((later > last).all())


def _least(first: int, end: int, holds: Callable[[int], bool]) -> int:
    """The least step of first..end for which something holds that holds for larger ones, too; `end` always does."""
    while first < end:
        middle = (first + end) // 2
        if holds(middle):
            end = middle
        else:
            first = middle + 1
    return max(first, end)
