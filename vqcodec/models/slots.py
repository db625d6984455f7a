"""The slots of one grid in an order, as tensors: what stands around each, and which may look at which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.models.orders import OrderedGrid, TokenOrder

#: of the logarithm of the spacing, see `OrderedGrid`
SPACINGS = 8


@dataclass(frozen=True, eq=False)
class Slots:
    """N slots in order, int64 tensors on one device.

    positions: (N,) in raster order. row, col, rank: (N,) where each is, and its group. spacing: (N,) the logarithm of
    `OrderedGrid.spacing`, at most SPACINGS - 1. neighbours: (N, offsets) positions, -1 where there is none that is
    known. starts: where each group begins, and N. radius: how far slots look, in rows and columns. first: (N,) the
    first place in the order that each slot looks at, on the CPU.
    """

    grid: OrderedGrid
    positions: Tensor
    row: Tensor
    col: Tensor
    rank: Tensor
    spacing: Tensor
    neighbours: Tensor
    starts: tuple[int, ...]
    radius: int
    first: NDArray[np.int64]

    def relative(self, queries: slice, keys: slice) -> tuple[Tensor, Tensor]:
        """Of two ranges of slots, (n, m) each: the number of the relative position, and whether it is looked at.

        Relative positions are numbered row by row, 0..(2 radius + 1)^2 - 1; it is 0 where the key is not looked at, as
        it is in a later group or too far.
        """
        radius = self.radius
        down = self.row[keys] - self.row[queries, None] + radius
        right = self.col[keys] - self.col[queries, None] + radius
        side = 2 * radius + 1
        seen = (down >= 0) & (down < side) & (right >= 0) & (right < side)
        seen &= self.rank[keys] <= self.rank[queries, None]
        return (down * side + right) * seen, seen

    def before(self, places: slice) -> slice:
        """The slots up to the end of `places`, without those at the beginning that none of `places` looks at."""
        return slice(int(self.first[places].min()), places.stop)


@lru_cache(maxsize=32)
@torch.inference_mode(mode=False)  # who asks first may be in inference mode, who comes after may train
def slots(order: TokenOrder, rows: int, cols: int, radius: int, device: torch.device) -> Slots:
    """Of a grid. Raises ValueError for a grid without positions."""
    grid = order(rows, cols)

    def tensor(array: NDArray[np.int64]) -> Tensor:
        return torch.tensor(array, device=device)

    return Slots(
        grid=grid,
        positions=tensor(grid.positions),
        row=tensor(grid.positions // cols),
        col=tensor(grid.positions % cols),
        rank=tensor(grid.ranks()),
        spacing=tensor(np.log2(grid.spacing).astype(np.int64)).clamp_max(SPACINGS - 1),
        neighbours=tensor(grid.neighbours(order.offsets)),
        starts=tuple(grid.starts.tolist()),
        radius=radius,
        first=_first_looked_at(grid, radius),
    )


def _first_looked_at(grid: OrderedGrid, radius: int) -> NDArray[np.int64]:
    """(N,) the least place in the order within `radius` rows and columns, for each place in the order."""
    places = grid.places().reshape(grid.shape)
    padded = np.pad(places, radius, constant_values=places.size)
    for axis in (0, 1):
        padded = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=axis).min(axis=2)
    first: NDArray[np.int64] = padded.ravel()[grid.positions]
    return first
