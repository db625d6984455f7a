"""The context network that streams are coded with: by the core in C where it is, else by numpy. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.entropy_models import PRIOR_ID, CodedTokens, CodingContext, LevelModel, entropy_name
from vqcodec.bitstream.frequencies import IntegerArray
from vqcodec.native.context import ContextShape, NativeContext
from vqcodec.native.integers import Int32
from vqcodec.native.library import Library, core, thread_count
from vqcodec.prior.context import FREQUENCIES_AT_ONCE, ContextModel, check_context_level
from vqcodec.prior.context_checks import check_context_arrays, context_name
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_groups import pieces_of_groups

#: a grid of fewer tokens is not worth threads
_LEAST_TOKENS: Final = 256


def context_for_coding(config: ContextConfig, arrays: Mapping[str, NDArray[Any]]) -> CoreContext | ContextModel:
    """arrays: as `ContextModel` takes them. Raises as it does, and CoreError."""
    library = core()
    check_context_arrays(config, arrays)
    return ContextModel(config, arrays) if library is None else CoreContext(config, arrays, library)


class CoreContext:
    """The same entropy model as `ContextModel`, computed by the core. arrays: checked ones."""

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, config: ContextConfig, arrays: Mapping[str, NDArray[Any]], library: Library) -> None:
        self.config = config
        self._native = NativeContext(library, _shape(config), arrays)

    def begin_level(self, context: CodingContext) -> LevelModel:
        """Start on one level. Raises `ValueError` as `ContextModel` does."""
        check_context_level(self.config, context)
        return _CoreContextLevel(self._native, context)

    def whole_levels(
        self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]
    ) -> CoreContextLevels | None:
        """For levels that this network has, whose coarser grids cover them."""
        config, count = self.config, len(shapes)
        if count <= config.first or tuple(codebook_sizes) != config.codebook_sizes[:count]:
            return None
        for level in range(config.first, count):
            rows, cols = shapes[level]
            for coarser in range(level):
                repeats = config.repeats(coarser, level)
                if shapes[coarser][0] * repeats < rows or shapes[coarser][1] * repeats < cols:
                    return None
        return CoreContextLevels(self._native, shapes)


class CoreContextLevels:
    """Whole levels of one picture, from the first that the network has."""

    def __init__(self, native: NativeContext, shapes: Sequence[tuple[int, int]]) -> None:
        self._native, self._shapes = native, shapes
        tokens = max(rows * cols for rows, cols in shapes)
        self._threads = thread_count() if tokens >= _LEAST_TOKENS else 1

    def encode(self, levels: Sequence[TokenGrid], first: int, coded: CodedTokens | None = None) -> Sequence[bytes]:
        """The payloads of the levels from `first` on."""
        return self._native.encode(_tokens(levels), first, self._threads, coded)

    def decode(
        self, payloads: Sequence[bytes], coarser: Sequence[TokenGrid], coded: CodedTokens | None = None
    ) -> Sequence[Int32] | None:
        """The tokens of the levels after those in `coarser`; None for payloads that no encoder writes."""
        shapes = self._shapes[: len(coarser) + len(payloads)]
        return self._native.decode(shapes, _tokens(coarser), payloads, self._threads, coded)


class _CoreContextLevel:
    """A `LevelModel`: one level at work."""

    def __init__(self, native: NativeContext, context: CodingContext) -> None:
        self._shape, self._codes = context.shape, context.codebook_size
        threads = thread_count() if context.known.size >= _LEAST_TOKENS else 1
        self._level = native.begin([*_tokens(context.coarser), context.known], threads)

    def groups(self) -> Iterator[IntegerArray]:
        """The four groups, in pieces."""
        for _, positions in pieces_of_groups(self._shape, max(1, FREQUENCIES_AT_ONCE // self._codes)):
            yield positions

    def frequencies(self, positions: IntegerArray) -> IntegerArray:
        """(n, K), of positions of one group."""
        return self._level.frequencies(np.ascontiguousarray(positions, np.int32))


def _tokens(levels: Sequence[TokenGrid]) -> list[Int32]:
    return [np.ascontiguousarray(grid.indices, np.int32) for grid in levels]


def _shape(config: ContextConfig) -> ContextShape:
    levels = range(config.levels)
    return ContextShape(
        codebook_sizes=config.codebook_sizes,
        repeats=tuple(
            tuple(config.repeats(coarser, level) for coarser in range(level)) if level in config.covered else ()
            for level in levels
        ),
        prefixes=tuple(map(context_name, levels)),
        first=config.first,
        channels=config.channels,
        token_width=config.token_width,
        blocks=config.blocks,
    )
