"""The prior that streams are coded with: computed by the core in C where it is, else by numpy. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.entropy_models import PRIOR_ID, CodedTokens, CodingContext, LevelModel, entropy_name
from vqcodec.bitstream.frequencies import IntegerArray
from vqcodec.native.integers import Int32
from vqcodec.native.library import Library, core, thread_count
from vqcodec.native.prior import GridOrder, NativePrior, PriorShape, unsupported
from vqcodec.prior.checks import check_arrays
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.integer import IntegerPrior, check_level
from vqcodec.prior.orders import OrderedGrid, TokenOrder
from vqcodec.prior.windows import joined_starts, window

#: tokens in one piece where all are known: more of them together are no faster
_TOGETHER: Final = 32
#: a grid of fewer tokens is not worth threads
_LEAST_TOKENS: Final = 64


def prior_for_coding(config: PriorConfig, arrays: Mapping[str, NDArray[Any]]) -> CorePrior | IntegerPrior:
    """arrays: as `IntegerPrior` takes them. Raises as it does, and CoreError."""
    library = core()
    check_arrays(config, arrays)
    if library is None or unsupported(_shape(config), arrays):
        return IntegerPrior(config, arrays)
    return CorePrior(config, arrays, library)


class CorePrior:
    """The same entropy model as `IntegerPrior`, computed by the core. arrays: checked ones that it supports."""

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, config: PriorConfig, arrays: Mapping[str, NDArray[Any]], library: Library) -> None:
        self.config = config
        self._native = NativePrior(library, _shape(config), arrays)

    def begin_level(self, context: CodingContext) -> LevelModel:
        """Start on one level. Raises `ValueError` for one that this prior does not have."""
        check_level(self.config, context)
        return _CoreLevel(self._native, self._orders(context.level + 1, context.shape, 1), context)

    def whole_levels(self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]) -> CoreLevels | None:
        """For levels of one shape that this prior has."""
        if len(set(shapes)) > 1 or tuple(codebook_sizes) != self.config.codebook_sizes[: len(codebook_sizes)]:
            return None
        return CoreLevels(
            self._native,
            self._orders(len(shapes), shapes[0], 1),
            self._orders(len(shapes), shapes[0], _TOGETHER),
        )

    def _orders(self, levels: int, shape: tuple[int, int], tokens: int) -> list[GridOrder]:
        return [_grid_order(self.config.order(level), shape, self.config.radius, tokens) for level in range(levels)]


class CoreLevels:
    """Whole levels of one picture. groups: their orders; joined: several groups at once, for a writer."""

    def __init__(self, native: NativePrior, groups: Sequence[GridOrder], joined: Sequence[GridOrder]) -> None:
        self._native, self._groups, self._joined = native, groups, joined

    def encode(self, levels: Sequence[TokenGrid], first: int, coded: CodedTokens | None = None) -> Sequence[bytes]:
        """The payloads of the levels from `first` on."""
        orders, threads = self._joined[: len(levels)], _threads(self._groups[0])
        return self._native.encode(orders, _tokens(levels), first, threads, coded)

    def decode(
        self, payloads: Sequence[bytes], coarser: Sequence[TokenGrid], coded: CodedTokens | None = None
    ) -> Sequence[Int32] | None:
        """The tokens of the levels after those in `coarser`; None for payloads that no encoder writes."""
        orders, threads = self._groups[: len(coarser) + len(payloads)], _threads(self._groups[0])
        return self._native.decode(orders, _tokens(coarser), payloads, threads, coded)


class _CoreLevel:
    """A `LevelModel`: one level at work."""

    def __init__(self, native: NativePrior, orders: Sequence[GridOrder], context: CodingContext) -> None:
        self._order = orders[-1]
        self._level = native.begin(orders, [*_tokens(context.coarser), context.known])

    def groups(self) -> Iterator[IntegerArray]:
        """Those of the order."""
        for start, end in pairwise(self._order.starts):
            yield self._order.positions[start:end]

    def frequencies(self, positions: IntegerArray) -> IntegerArray:
        """(n, K), of the next group."""
        return self._level.frequencies()


def _tokens(levels: Sequence[TokenGrid]) -> list[Int32]:
    return [grid.indices.astype(np.int32) for grid in levels]


def _threads(order: GridOrder) -> int:
    return thread_count() if len(order.positions) >= _LEAST_TOKENS else 1


def _shape(config: PriorConfig) -> PriorShape:
    return PriorShape(
        codebook_sizes=config.codebook_sizes,
        around=tuple(config.order(level).offsets for level in range(config.levels)),
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        token_width=config.token_width,
        radius=config.radius,
    )


@lru_cache(maxsize=16)
def _grid_order(order: TokenOrder, shape: tuple[int, int], radius: int, tokens: int) -> GridOrder:
    """In pieces of groups with so many tokens, at least one group. Raises ValueError for a grid without positions."""
    grid = order(*shape)
    starts = joined_starts(grid.starts, tokens) if tokens > 1 else grid.starts
    return GridOrder(
        shape=shape,
        starts=starts.astype(np.int32),
        positions=grid.positions.astype(np.int32),
        ranks=_ranks_by_position(grid).astype(np.int32),
        spacings=grid.spacing.astype(np.int32),
        window=window(grid, starts, radius),
    )


def _ranks_by_position(grid: OrderedGrid) -> NDArray[np.int64]:
    ranks = np.empty(len(grid.positions), np.int64)
    ranks[grid.positions] = grid.ranks()
    return ranks
