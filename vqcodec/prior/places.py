"""What each place in an order has around it, and which may look at which. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np

from vqcodec.prior.orders import OrderedGrid, Positions, TokenOrder

#: of the logarithm of the spacing, see `OrderedGrid`
SPACINGS: Final = 8
#: where more than this share of places is near, the others are looked at as well: faster than to gather what is near
MOST_NEAR: Final = 0.8


@dataclass(frozen=True, eq=False)
class Places:
    """N places in order.

    All int64. row, col, rank: (N,), where each is, and its group. spacing: (N,) the logarithm of `OrderedGrid.spacing`,
    at most SPACINGS - 1. neighbours: (N, offsets) positions, -1 where there is none that is known. radius: how far they
    look, in rows and columns. first: (N,) the first place in the order that each looks at. code: (N,) numbers whose
    difference tells how two places lie to each other. seen: what `differences` are an index of.
    """

    grid: OrderedGrid
    row: Positions
    col: Positions
    rank: Positions
    spacing: Positions
    neighbours: Positions
    radius: int
    first: Positions
    code: Positions
    seen: Positions

    def looked_at(self, queries: slice) -> slice | Positions:
        """(m,) what `queries` look at, in order; not what is too far for all of them, where that is much."""
        stop = int(self.grid.starts[self.rank[queries.stop - 1] + 1])
        keys = slice(int(self.first[queries].min()), stop)
        top, bottom, row = self.row[queries].min(), self.row[queries].max(), self.row[keys]
        near = np.flatnonzero((row >= top - self.radius) & (row <= bottom + self.radius))
        return keys if len(near) > MOST_NEAR * len(row) else near + keys.start

    def differences(self, queries: slice, keys: slice | Positions) -> Positions:
        """(n, m) of what is in `seen`, and counts as the first or last there if beyond its ends.

        That is the number of the relative position, as in `vqcodec.prior.slots.Slots.relative`, or (2 radius + 1)^2
        where the key is not looked at.
        """
        apart = self.code[keys] - (self.code[queries, None] - len(self.seen) // 2)
        rank = self.rank[keys]
        if rank[-1] > self.rank[queries.start]:
            np.copyto(apart, 0, where=rank > self.rank[queries, None])
        return apart


@lru_cache(maxsize=32)
def places(order: TokenOrder, rows: int, cols: int, radius: int) -> Places:
    """Of a grid. Raises ValueError for a grid without positions."""
    grid = order(rows, cols)
    doublings = 2 ** np.arange(1, SPACINGS)
    return Places(
        grid=grid,
        row=grid.positions // cols,
        col=grid.positions % cols,
        rank=grid.ranks(),
        spacing=(grid.spacing[:, None] >= doublings).sum(axis=1),
        neighbours=grid.neighbours(order.offsets),
        radius=radius,
        first=_first_looked_at(grid, radius),
        code=grid.positions // cols * (cols + 2 * radius) + grid.positions % cols,
        seen=_seen(cols, radius),
    )


def _seen(cols: int, radius: int) -> Positions:
    """See `Places.differences`: of all differences of codes from the least to the largest of near places, and one more.

    Codes are row * (cols + 2 radius) + col: places too far from each other never differ as near ones do.
    """
    side = 2 * radius + 1
    seen = np.full((side, cols + 2 * radius), side**2)
    seen[:, :side] = np.arange(side**2).reshape(side, side)
    return np.pad(seen.ravel()[: seen.size - (cols - 1)], 1, constant_values=side**2)


def _first_looked_at(grid: OrderedGrid, radius: int) -> Positions:
    """(N,) the least place in the order within `radius` rows and columns, for each place in the order."""
    nearby = np.pad(grid.places().reshape(grid.shape), radius, constant_values=len(grid.positions))
    for axis in (0, 1):
        nearby = np.lib.stride_tricks.sliding_window_view(nearby, 2 * radius + 1, axis=axis).min(axis=2)
    first: Positions = nearby.ravel()[grid.positions]
    return first
