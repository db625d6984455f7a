"""The context network in the core: levels of tokens <-> payloads, and frequencies. Imports no torch.

Takes plain arrays, those of `vqcodec.prior.context.ContextModel`, and gives the same numbers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_int32, c_int64, c_void_p
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.native.integers import (
    BLOCK,
    INPUTS,
    Coded,
    CoreMemory,
    Int32,
    Linear,
    Signatures,
    coding_a_part,
    declare,
    padded,
    reading,
    room_for_payloads,
    written_payloads,
)
from vqcodec.native.library import Library

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

_GROUPS_WITH_NEIGHBOURS: Final = 3


class ContextError(ValueError):
    """Grids that do not go together, or tokens outside the codebook."""


@dataclass(frozen=True)
class ContextShape:
    """prefix: of the names of a level's arrays, from `first` on. repeats: of every coarser level, by level."""

    codebook_sizes: tuple[int, ...]
    repeats: tuple[tuple[int, ...], ...]
    prefixes: tuple[str, ...]
    first: int
    channels: int
    token_width: int
    blocks: int


class _Block(ctypes.Structure):
    _fields_ = (("around", Linear), ("point", Linear))


class _Level(ctypes.Structure):
    _fields_ = (
        ("codes", c_int32),
        ("coarser", c_int32),
        ("start", c_void_p),
        ("below", c_void_p),
        ("repeats", c_void_p),
        ("blocks", c_void_p),
        ("tokens", c_void_p),
        ("near", c_void_p),
        ("inner", Linear),
        ("head", Linear),
    )


class _Network(ctypes.Structure):
    _fields_ = (
        ("channels", c_int32),
        ("token_width", c_int32),
        ("block_count", c_int32),
        ("first", c_int32),
        ("level_count", c_int32),
        ("token_range", c_int32),
        ("levels", c_void_p),
        ("token_exponentials", c_void_p),
    )


class _Grid(ctypes.Structure):
    _fields_ = (
        ("rows", c_int32),
        ("cols", c_int32),
        ("tokens", c_void_p),
        ("payload", c_void_p),
        ("payload_bytes", c_int64),
        ("coded", c_void_p),
        ("filler", c_int32),
        ("unused", c_int32),
    )


_NETWORK, _GRIDS = POINTER(_Network), POINTER(_Grid)
_SIGNATURES: Final[Signatures] = {
    "vq_context_workspace": (c_int64, [_NETWORK, _GRIDS, c_int32, c_int32, c_int32]),
    "vq_context_decode": (c_int32, [_NETWORK, _GRIDS, c_int32, c_int32, c_void_p, c_int32]),
    "vq_context_encode": (c_int32, [_NETWORK, _GRIDS, c_int32, c_int32, c_void_p, c_int32]),
    "vq_context_begin": (c_int32, [_NETWORK, _GRIDS, c_int32, c_void_p, c_int32]),
    "vq_context_frequencies": (c_int32, [_NETWORK, _GRIDS, c_int32, c_void_p, c_int32, c_void_p, c_void_p]),
}


class NativeContext:
    """A context network at hand for the core. arrays: checked ones. Threads may share it."""

    def __init__(self, library: Library, shape: ContextShape, arrays: Arrays) -> None:
        self.shape = shape
        self._library, self._arrays, self._memory = library, arrays, CoreMemory(library)
        declare(library, _SIGNATURES)
        self._network = self._made()

    def decode(
        self,
        shapes: Sequence[tuple[int, int]],
        known: Sequence[Int32],
        payloads: Sequence[bytes],
        threads: int,
        coded: Coded | None = None,
    ) -> list[Int32] | None:
        """Tokens (rows, cols) of the levels after those that are known, or None for what no encoder writes.

        coded: of the last one.
        """
        levels = [*known, *(np.full(shape, -1, np.int32) for shape in shapes[len(known) :])]
        grids, first = self._grids(levels), len(known)
        workspace = self._workspace(grids, first, threads)
        place = workspace.ctypes.data
        with reading(grids[first:], payloads), coding_a_part(grids[len(grids) - 1], coded):
            failed = self._library.vq_context_decode(self._network, grids, first, len(grids), place, threads)
        return None if failed else levels[first:]

    def encode(self, levels: Sequence[Int32], first: int, threads: int, coded: Coded | None = None) -> list[bytes]:
        """The payloads of the levels from `first` on, of tokens (rows, cols). coded: of the last one."""
        grids = self._grids(levels)
        buffers = room_for_payloads(grids[first:], levels[first:])
        workspace = self._workspace(grids, first, threads)
        place = workspace.ctypes.data
        with coding_a_part(grids[len(grids) - 1], coded):
            failed = self._library.vq_context_encode(self._network, grids, first, len(grids), place, threads)
        if failed:
            raise ContextError("tokens outside the codebook")
        return written_payloads(grids[first:], buffers)

    def begin(self, levels: Sequence[Int32], threads: int) -> NativeContextLevel:
        """The last one of some levels, which may become known group by group."""
        return NativeContextLevel(self, levels, threads)

    def _grids(self, levels: Sequence[Int32]) -> Any:
        grids = (_Grid * len(levels))()
        for grid, tokens in zip(grids, levels, strict=True):
            if tokens.dtype != np.int32 or not tokens.flags.c_contiguous:
                raise ContextError(f"tokens {tokens.dtype} {tokens.shape}")
            grid.rows, grid.cols = tokens.shape
            grid.tokens = tokens.ctypes.data
        return grids

    def _workspace(self, grids: Any, first: int, threads: int) -> NDArray[np.uint8]:
        size = self._library.vq_context_workspace(self._network, grids, first, len(grids), threads)
        if size < 0:
            raise ContextError("grids that do not go together")
        return np.empty(size, np.uint8)

    # ---- the arrays, as the core reads them ----

    def _made(self) -> _Network:
        shape, arrays, sizes = self.shape, self._arrays, self.shape.codebook_sizes
        levels = (_Level * len(sizes))(*(_Level(codes=codes, coarser=level) for level, codes in enumerate(sizes)))
        for level in range(shape.first, len(sizes)):
            levels[level] = self._level(level)
        self._memory.hold(levels)
        return _Network(
            channels=shape.channels,
            token_width=shape.token_width,
            block_count=shape.blocks,
            first=shape.first,
            level_count=len(sizes),
            token_range=len(arrays["token_exponentials"]) - 1,
            levels=ctypes.addressof(levels),
            token_exponentials=self._memory.keep(arrays["token_exponentials"], np.int32),
        )

    def _level(self, level: int) -> _Level:
        arrays, prefix, memory = self._arrays, self.shape.prefixes[level], self._memory
        blocks = (_Block * self.shape.blocks)(
            *(
                _Block(
                    around=self._by_position(f"{prefix}blocks.{number}.around.", self.shape.channels, BLOCK),
                    point=self._named(f"{prefix}blocks.{number}.point."),
                )
                for number in range(self.shape.blocks)
            )
        )
        tables = [padded(arrays[f"{prefix}below.{coarser}"], 1, BLOCK) for coarser in range(level)]
        below = (c_void_p * level)(*(memory.keep(table, np.int8) for table in tables))
        near = (Linear * _GROUPS_WITH_NEIGHBOURS)(
            *(
                self._by_position(f"{prefix}near.{number + 1}.", self.shape.token_width, INPUTS)
                for number in range(_GROUPS_WITH_NEIGHBOURS)
            )
        )
        memory.hold(blocks, below, near)
        made = _Level(
            codes=self.shape.codebook_sizes[level],
            coarser=level,
            below=ctypes.addressof(below) if level else None,
            repeats=memory.keep(np.array(self.shape.repeats[level]), np.int32),
            blocks=ctypes.addressof(blocks),
            tokens=memory.keep(padded(arrays[f"{prefix}tokens"], 1, INPUTS), np.int8),
            near=ctypes.addressof(near),
            inner=self._named(f"{prefix}inner."),
            head=self._named(f"{prefix}codes."),
        )
        if not level:
            made.start = memory.keep(padded(arrays[f"{prefix}start"], 0, BLOCK), np.int8)
        return made

    def _by_position(self, prefix: str, width: int, multiple: int) -> Linear:
        """What takes `width` numbers of each of several positions, which the core has padded."""
        weight = self._arrays[f"{prefix}weight"]
        wide = padded(weight.reshape(len(weight), -1, width), 2, multiple).reshape(len(weight), -1)
        return self._memory.linear(wide, self._arrays[f"{prefix}scale"], self._arrays[f"{prefix}offset"])

    def _named(self, prefix: str) -> Linear:
        """What takes channels, which are zeros where the core has padded them."""
        weight = padded(self._arrays[f"{prefix}weight"], 1, BLOCK)
        return self._memory.linear(weight, self._arrays[f"{prefix}scale"], self._arrays[f"{prefix}offset"])


class NativeContextLevel:
    """A level at work, of whose groups any part may be asked for once the tokens before it are known."""

    def __init__(self, context: NativeContext, levels: Sequence[Int32], threads: int) -> None:
        self._context, self._levels = context, levels
        self._grids = context._grids(levels)
        self._workspace = context._workspace(self._grids, len(levels) - 1, threads)
        place = self._workspace.ctypes.data
        if context._library.vq_context_begin(context._network, self._grids, len(levels), place, threads):
            raise ContextError("grids that do not go together")

    def frequencies(self, positions: Int32) -> Int32:
        """(n, K), of positions of one group."""
        context, count = self._context, len(self._levels)
        made = np.empty((len(positions), context.shape.codebook_sizes[count - 1]), np.int32)
        failed = context._library.vq_context_frequencies(
            context._network,
            self._grids,
            count,
            positions.ctypes.data,
            len(positions),
            self._workspace.ctypes.data,
            made.ctypes.data,
        )
        if failed:
            raise ContextError("positions outside the grid")
        return made
