"""Orders in which the tokens of a grid are coded or sampled: a permutation of its positions, in groups.

The tokens of one group are predicted together, each from all groups before. Esser et al., 2021, compare orders with
groups of one token (raster, spiral, z-curve, subsampled, alternate); wavefront and quincunx have few groups, so that a
grid takes few passes through a network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Offset: TypeAlias = tuple[int, int]
Positions: TypeAlias = NDArray[np.int64]

#: (rows down, columns right) of the tokens that a prediction looks at first, in units of a position's spacing
_AROUND: Final[tuple[Offset, ...]] = (
    *((-1, 0), (0, -1), (-1, -1), (-1, 1), (0, 1), (1, 0), (1, -1), (1, 1)),
    *((-2, 0), (0, -2), (0, 2), (2, 0)),
)
_BEFORE_IN_RASTER: Final[tuple[Offset, ...]] = (
    (-1, 0),
    (0, -1),
    (-1, -1),
    (-1, 1),
    (-2, 0),
    (0, -2),
    (-1, 2),
    (-1, -2),
)


@dataclass(frozen=True, eq=False)
class OrderedGrid:
    """The positions of one grid in an order. A position is its place in raster order, row * cols + col.

    positions: (N,) every position once, in order. starts: (groups + 1,) where each group begins in `positions`, and N.
    spacing: (N,) for each place in `positions` the distance in tokens to where its neighbours are looked for, a power
    of two. shape: (rows, cols).
    """

    shape: tuple[int, int]
    positions: Positions
    starts: Positions
    spacing: Positions

    def __post_init__(self) -> None:
        for array in (self.positions, self.starts, self.spacing):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.starts) - 1

    def groups(self) -> list[Positions]:
        """The positions of each group."""
        return [self.positions[start:end] for start, end in zip(self.starts, self.starts[1:], strict=False)]

    def places(self) -> Positions:
        """(N,) the place of each position in the order: the inverse of the permutation `positions`."""
        places = np.empty_like(self.positions)
        places[self.positions] = np.arange(len(places))
        return places

    def ranks(self) -> Positions:
        """(N,) the group of each place in the order, 0 for the first."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def neighbours(self, offsets: tuple[Offset, ...]) -> Positions:
        """(N, offsets) the positions that the offsets name, for each place in the order.

        -1 where there is none: outside the grid, or not in a group before.
        """
        rows, cols = self.shape
        steps = np.array(offsets)[None] * self.spacing[:, None, None]
        row = self.positions[:, None] // cols + steps[..., 0]
        col = self.positions[:, None] % cols + steps[..., 1]
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        neighbours = np.where(inside, row * cols + col, 0)
        rank = self.ranks()
        known = inside & (rank[self.places()][neighbours] < rank[:, None])
        return np.where(known, neighbours, -1)


@dataclass(frozen=True)
class TokenOrder:
    """An order by name. offsets: where the tokens that a prediction looks at first are, (rows down, columns right)."""

    name: str
    offsets: tuple[Offset, ...]
    #: (rows, cols) -> the group of each position (rows, cols), and its spacing
    _rank: Callable[[int, int], tuple[Positions, Positions]]

    def __call__(self, rows: int, cols: int) -> OrderedGrid:
        """The order of a grid. Raises ValueError for a grid without positions."""
        if rows < 1 or cols < 1:
            raise ValueError(f"a grid of {rows} x {cols} has no positions to order")
        return _ordered(self, rows, cols)


@lru_cache(maxsize=64)
def _ordered(order: TokenOrder, rows: int, cols: int) -> OrderedGrid:
    rank, spacing = (np.broadcast_to(values, (rows, cols)).ravel() for values in order._rank(rows, cols))
    positions = np.argsort(rank, kind="stable")
    changes = np.flatnonzero(np.diff(rank[positions])) + 1
    starts = np.concatenate([[0], changes, [len(positions)]])
    return OrderedGrid((rows, cols), positions, starts, spacing[positions].copy())


def _raster(rows: int, cols: int) -> tuple[Positions, Positions]:
    return np.arange(rows * cols).reshape(rows, cols), np.ones(1, np.int64)


def _alternate(rows: int, cols: int) -> tuple[Positions, Positions]:
    """Rows from left to right and from right to left by turns."""
    rank = np.arange(rows * cols).reshape(rows, cols)
    rank[1::2] = rank[1::2, ::-1].copy()
    return rank, np.ones(1, np.int64)


def _wavefront(rows: int, cols: int) -> tuple[Positions, Positions]:
    """Steep diagonals: a token comes after its upper right neighbour. 2 * rows + cols - 2 groups, or rows."""
    return 2 * np.arange(rows)[:, None] + np.arange(cols), np.ones(1, np.int64)


def _z_curve(rows: int, cols: int) -> tuple[Positions, Positions]:
    """Morton order: the bits of row and column interleaved."""
    rank = np.zeros((rows, cols), np.int64)
    for bit in range(max(rows, cols).bit_length()):
        rank |= (np.arange(rows)[:, None] >> bit & 1) << (2 * bit + 1)
        rank |= (np.arange(cols) >> bit & 1) << (2 * bit)
    return rank, np.ones(1, np.int64)


def _spiral(rows: int, cols: int) -> tuple[Positions, Positions]:
    """From the upper left corner clockwise along the border, then further and further in."""
    left = np.arange(rows * cols).reshape(rows, cols)
    path = []
    while left.size:
        path.append(left[0])
        left = np.rot90(left[1:])
    rank = np.empty(rows * cols, np.int64)
    rank[np.concatenate(path)] = np.arange(rows * cols)
    return rank.reshape(rows, cols), np.ones(1, np.int64)


def _spiral_out(rows: int, cols: int) -> tuple[Positions, Positions]:
    """The spiral from its end in the middle."""
    rank, spacing = _spiral(rows, cols)
    return rank.max() - rank, spacing


#: the coarsest lattice of the quincunx order, in tokens
_QUINCUNX_SPACING: Final = 8


def _quincunx(rows: int, cols: int) -> tuple[Positions, Positions]:
    """A lattice of every 8th token in both directions, then by turns the centres of its squares and of its edges.

    Seven groups in all, each with as many tokens as all before together. Away from the border every token but those of
    the first group has known ones on all sides.
    """
    row, col = np.arange(rows)[:, None], np.arange(cols)
    rank, spacing = np.full((rows, cols), -1), np.ones((rows, cols), np.int64)
    step, group = _QUINCUNX_SPACING, 0
    on_lattice = (row % step == 0) & (col % step == 0)
    rank[on_lattice], spacing[on_lattice] = group, step
    while step > 1:
        half = step // 2
        centres = (row % step == half) & (col % step == half)
        edges = ((row % half == 0) & (col % half == 0)) & (rank < 0) & ~centres
        for members in (centres, edges):
            group += 1
            rank[members], spacing[members] = group, half
        step = half
    return rank, spacing


def _subsampled(rows: int, cols: int) -> tuple[Positions, Positions]:
    """The quincunx order with groups of one token."""
    groups, spacing = _quincunx(rows, cols)
    rank = np.empty(rows * cols, np.int64)
    rank[np.argsort(groups.ravel(), kind="stable")] = np.arange(rows * cols)
    return rank.reshape(rows, cols), spacing


ORDERS: Final[dict[str, TokenOrder]] = {
    order.name: order
    for order in (
        TokenOrder("raster", _BEFORE_IN_RASTER, _raster),
        TokenOrder("wavefront", tuple(o for o in _BEFORE_IN_RASTER if 2 * o[0] + o[1] < 0), _wavefront),
        TokenOrder("quincunx", _AROUND, _quincunx),
        TokenOrder("subsampled", _AROUND, _subsampled),
        TokenOrder("z-curve", _AROUND, _z_curve),
        TokenOrder("spiral", _AROUND, _spiral),
        TokenOrder("spiral-out", _AROUND, _spiral_out),
        TokenOrder("alternate", _AROUND, _alternate),
    )
}
