"""The groups in which a context network predicts the tokens of a level, and what each is told. Imports no torch.

A grid falls into four by whether rows and columns are even. Each group is told the tokens next to it that are coded
before it: the first none, the second those at its corners, the third those at its sides, the last all eight.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Positions = NDArray[np.int64]

_CORNERS: Final = ((-1, -1), (-1, 1), (1, -1), (1, 1))
_SIDES: Final = ((-1, 0), (0, -1), (0, 1), (1, 0))


@dataclass(frozen=True)
class ContextGroup:
    """row, col: 0 or 1, what the rows and columns of its tokens are modulo 2. offsets: (rows down, columns to the
    right) of the tokens that it is told, in raster order."""

    row: int
    col: int
    offsets: tuple[tuple[int, int], ...]

    def size(self, shape: tuple[int, int]) -> tuple[int, int]:
        """Its rows and columns in a grid of (rows, cols)."""
        return (shape[0] - self.row + 1) // 2, (shape[1] - self.col + 1) // 2


CONTEXT_GROUPS: Final = (
    ContextGroup(0, 0, ()),
    ContextGroup(1, 1, _CORNERS),
    ContextGroup(0, 1, _SIDES),
    ContextGroup(1, 0, tuple(sorted(_CORNERS + _SIDES))),
)


def pieces_of_groups(shape: tuple[int, int], tokens: int) -> Iterator[tuple[int, Positions]]:
    """(number of a group, positions row * cols + col in raster order), each of at most `tokens`, group after group.

    Groups without tokens, of grids of one row or column, are left out.
    """
    for number, group in enumerate(CONTEXT_GROUPS):
        rows, cols = group.size(shape)
        for start in range(0, rows * cols, tokens):
            row, col = np.divmod(np.arange(start, min(start + tokens, rows * cols)), max(1, cols))
            yield number, (2 * row + group.row) * shape[1] + 2 * col + group.col


def group_of(position: int, cols: int) -> int:
    """The number of the group of a position in a grid of so many columns."""
    row, col = divmod(position, cols)
    return next(n for n, group in enumerate(CONTEXT_GROUPS) if (group.row, group.col) == (row % 2, col % 2))
