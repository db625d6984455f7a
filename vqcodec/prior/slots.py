"""The slots of one grid in an order, as tensors: what stands around each, and which may look at which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.prior.orders import OrderedGrid, Positions, TokenOrder
from vqcodec.prior.places import places


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
    first: Positions

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
    known = places(order, rows, cols, radius)

    def tensor(array: Positions | NDArray[np.int32]) -> Tensor:
        return torch.tensor(array, dtype=torch.int64, device=device)

    return Slots(
        grid=known.grid,
        positions=tensor(known.grid.positions),
        row=tensor(known.row),
        col=tensor(known.col),
        rank=tensor(known.rank),
        spacing=tensor(known.spacing),
        neighbours=tensor(known.neighbours),
        starts=tuple(known.grid.starts.tolist()),
        radius=radius,
        first=known.first,
    )
