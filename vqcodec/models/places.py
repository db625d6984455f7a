"""What each place in an order has around it, and which may look at which. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.models.orders import OrderedGrid, Positions, TokenOrder

#: of the logarithm of the spacing, see `OrderedGrid`
SPACINGS: Final = 8


@dataclass(frozen=True, eq=False)
class Places:
    """N places in order.

    row, col, rank: (N,) int32, where each is, and its group; the others are int64. spacing: (N,) the logarithm of
    `OrderedGrid.spacing`, at most SPACINGS - 1. neighbours: (N, offsets) positions, -1 where there is none that is
    known. radius: how far they look, in rows and columns. first: (N,) the first place in the order that each looks at.
    """

    grid: OrderedGrid
    row: NDArray[np.int32]
    col: NDArray[np.int32]
    rank: NDArray[np.int32]
    spacing: Positions
    neighbours: Positions
    radius: int
    first: Positions

    def relative(self, queries: slice, keys: slice | Positions) -> NDArray[np.int32]:
        """As `vqcodec.models.slots.Slots.relative`, (n, m); (2 radius + 1)^2 where the key is not looked at."""
        radius, side = self.radius, 2 * self.radius + 1
        down = self.row[keys] - (self.row[queries, None] - radius)
        right = self.col[keys] - (self.col[queries, None] - radius)
        hidden = (down.view(np.uint32) >= side) | (right.view(np.uint32) >= side)  # what is negative is large there
        hidden |= self.rank[keys] > self.rank[queries, None]
        down *= side
        down += right
        np.copyto(down, side**2, where=hidden)
        return down


@lru_cache(maxsize=32)
def places(order: TokenOrder, rows: int, cols: int, radius: int) -> Places:
    """Of a grid. Raises ValueError for a grid without positions."""
    grid = order(rows, cols)
    doublings = 2 ** np.arange(1, SPACINGS)
    return Places(
        grid=grid,
        row=(grid.positions // cols).astype(np.int32),
        col=(grid.positions % cols).astype(np.int32),
        rank=grid.ranks().astype(np.int32),
        spacing=(grid.spacing[:, None] >= doublings).sum(axis=1),
        neighbours=grid.neighbours(order.offsets),
        radius=radius,
        first=_first_looked_at(grid, radius),
    )


def _first_looked_at(grid: OrderedGrid, radius: int) -> Positions:
    """(N,) the least place in the order within `radius` rows and columns, for each place in the order."""
    nearby = np.pad(grid.places().reshape(grid.shape), radius, constant_values=len(grid.positions))
    for axis in (0, 1):
        nearby = np.lib.stride_tricks.sliding_window_view(nearby, 2 * radius + 1, axis=axis).min(axis=2)
    first: Positions = nearby.ravel()[grid.positions]
    return first
