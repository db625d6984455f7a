"""The prior in the core: levels of tokens <-> payloads, and frequencies. Imports no torch.

Takes plain arrays, those of `vqcodec.prior.integer.IntegerPrior`, and gives the same numbers.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from ctypes import POINTER, c_float, c_int32, c_int64, c_void_p
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
    coding_a_part,
    declare,
    padded,
    reading,
    room_for_payloads,
    written_payloads,
)
from vqcodec.native.library import Library

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

#: of core/prior.h
_MOST_RADIUS: Final = 8
_MOST_LEVELS: Final = 16
_RELATIVE_MARGIN: Final = 16
#: what the numpy prior adds where a slot is not looked at
_UNSEEN: Final = -(2**24)
#: scales and gains beyond it are those of no model
_LARGEST_SCALE: Final = 2.0**20


class PriorError(ValueError):
    """Grids that do not go together, or a prior that the core does not have."""


@dataclass(frozen=True)
class PriorShape:
    """around: (rows down, columns right) of the tokens that a prediction looks at first, of each level."""

    codebook_sizes: tuple[int, ...]
    around: tuple[tuple[tuple[int, int], ...], ...]
    width: int
    depth: int
    heads: int
    token_width: int
    radius: int


@dataclass(frozen=True, eq=False)
class GridOrder:
    """`PriorGrid` of core/vqcore.h without its tokens. All int32."""

    shape: tuple[int, int]
    starts: Int32
    positions: Int32
    ranks: Int32
    spacings: Int32
    window: tuple[int, int]


class _Block(ctypes.Structure):
    _fields_ = (
        ("attention_gain", c_float),
        ("mlp_gain", c_float),
        ("value_scale", c_float),
        ("unused", c_float),
        ("logit_scale", c_void_p),
        ("gelu", c_void_p),
        ("into", Linear),
        ("out", Linear),
        ("widen", Linear),
        ("narrow", Linear),
    )


class _Level(ctypes.Structure):
    _fields_ = (
        ("codes", c_int32),
        ("around_count", c_int32),
        ("around", c_void_p),
        ("tokens", c_void_p),
        ("start", c_void_p),
        ("near", c_void_p),
        ("below", c_void_p),
        ("head", Linear),
    )


class _Prior(ctypes.Structure):
    _fields_ = (
        ("width", c_int32),
        ("depth", c_int32),
        ("heads", c_int32),
        ("radius", c_int32),
        ("token_width", c_int32),
        ("level_count", c_int32),
        ("attention_range", c_int32),
        ("token_range", c_int32),
        ("head_gain", c_float),
        ("unused", c_int32),
        ("blocks", c_void_p),
        ("levels", c_void_p),
        ("attention_exponentials", c_void_p),
        ("token_exponentials", c_void_p),
        ("relative", c_void_p),
        ("spacings", c_void_p),
    )


class _Grid(ctypes.Structure):
    _fields_ = (
        ("rows", c_int32),
        ("cols", c_int32),
        ("pieces", c_int32),
        ("largest_piece", c_int32),
        ("window_rows", c_int32),
        ("window_cols", c_int32),
        ("starts", c_void_p),
        ("positions", c_void_p),
        ("ranks", c_void_p),
        ("spacings", c_void_p),
        ("tokens", c_void_p),
        ("payload", c_void_p),
        ("payload_bytes", c_int64),
        ("coded", c_void_p),
        ("filler", c_int32),
        ("unused", c_int32),
    )


_GRIDS: Final = POINTER(_Grid)
_SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "vq_prior_workspace": (c_int64, [POINTER(_Prior), _GRIDS, c_int32, c_int32, c_int32]),
    "vq_prior_decode": (c_int32, [POINTER(_Prior), _GRIDS, c_int32, c_int32, c_void_p, c_int32]),
    "vq_prior_encode": (c_int32, [POINTER(_Prior), _GRIDS, c_int32, c_int32, c_void_p, c_int32]),
    "vq_prior_frequencies": (c_int32, [POINTER(_Prior), _GRIDS, c_int32, c_int32, c_void_p, c_void_p]),
}


def unsupported(shape: PriorShape, arrays: Arrays) -> str | None:
    """Why the core does not compute a prior as numpy does, or None where it does."""
    if shape.radius > _MOST_RADIUS or len(shape.codebook_sizes) > _MOST_LEVELS:
        return f"radius {shape.radius}, {len(shape.codebook_sizes)} levels"
    for name, array in arrays.items():
        kind = name.rsplit(".", 1)[-1]
        if (kind == "weight" or name.startswith("tokens.") or kind == "gelu") and array.dtype != np.int8:
            return f"{name} is {array.dtype}"
        if array.dtype.kind == "f" and not np.all(np.abs(array) < _LARGEST_SCALE):
            return f"{name} is larger than 2^20"
    attention, tokens = arrays["attention_exponentials"], arrays["token_exponentials"]
    if attention.min() < 0 or attention.max() >= 2**15 or attention[-1] or not attention[0]:
        return "exponentials of attention"
    if tokens.min() < 0 or tokens.max() > 2**24 or not tokens[0]:
        return "exponentials of tokens"
    # a slot that is not looked at must have no part in attention, whatever its logit
    scale = max(float(np.abs(arrays[f"blocks.{block}.logit_scale"]).max()) for block in range(shape.depth))
    relative = arrays["relative"].astype(np.int64)
    reach = 2 * 128**2 * (shape.width // shape.heads) * scale + np.abs(relative[:, :-1]).max() + len(attention) + 2
    if reach > -_UNSEEN or not np.all(relative[:, -1] == _UNSEEN):
        return "logits of attention are too large"
    return None


class NativePrior:
    """A prior at hand for the core; it must not be `unsupported`. Threads may share it."""

    def __init__(self, library: Library, shape: PriorShape, arrays: Arrays) -> None:
        self.shape = shape
        self._library, self._arrays, self._memory = library, arrays, CoreMemory(library)
        declare(library, _SIGNATURES)
        self._prior = self._made()

    def decode(
        self,
        orders: Sequence[GridOrder],
        known: Sequence[Int32],
        payloads: Sequence[bytes],
        threads: int,
        coded: Coded | None = None,
    ) -> list[Int32] | None:
        """Tokens (rows, cols) of the levels after those that are known, or None for what no encoder writes.

        coded: of the last one.
        """
        rows, cols = orders[0].shape
        levels = [*known, *(np.full((rows, cols), -1, np.int32) for _ in payloads)]
        grids, first = self._grids(orders, levels), len(known)
        workspace = self._workspace(grids, first, threads)
        place = workspace.ctypes.data
        with reading(grids[first:], payloads), coding_a_part(grids[len(grids) - 1], coded):
            failed = self._library.vq_prior_decode(self._prior, grids, first, len(grids), place, threads)
        return None if failed else levels[first:]

    def encode(
        self,
        orders: Sequence[GridOrder],
        levels: Sequence[Int32],
        first: int,
        threads: int,
        coded: Coded | None = None,
    ) -> list[bytes]:
        """The payloads of the levels from `first` on, of tokens (rows, cols). coded: of the last one."""
        grids = self._grids(orders, levels)
        buffers = room_for_payloads(grids[first:], levels[first:])
        workspace = self._workspace(grids, first, threads)
        place = workspace.ctypes.data
        with coding_a_part(grids[len(grids) - 1], coded):
            failed = self._library.vq_prior_encode(self._prior, grids, first, len(grids), place, threads)
        if failed:
            raise PriorError("tokens outside the codebook")
        return written_payloads(grids[first:], buffers)

    def begin(self, orders: Sequence[GridOrder], levels: Sequence[Int32]) -> NativeLevel:
        """The last one of some levels, which may become known group by group."""
        return NativeLevel(self, self._grids(orders, levels), orders[-1], levels)

    def _grids(self, orders: Sequence[GridOrder], levels: Sequence[Int32]) -> Any:
        if not 1 <= len(orders) == len(levels) <= len(self.shape.codebook_sizes):
            raise PriorError(f"{len(levels)} levels in {len(orders)} orders")
        grids = (_Grid * len(orders))()
        for grid, order, tokens in zip(grids, orders, levels, strict=True):
            if order.shape != tokens.shape or tokens.dtype != np.int32 or not tokens.flags.c_contiguous:
                raise PriorError(f"tokens {tokens.dtype} {tokens.shape} in an order for {order.shape}")
            grid.rows, grid.cols = order.shape
            grid.window_rows, grid.window_cols = order.window
            grid.pieces, grid.largest_piece = len(order.starts) - 1, int(np.diff(order.starts).max())
            for name in ("starts", "positions", "ranks", "spacings"):
                setattr(grid, name, getattr(order, name).ctypes.data)
            grid.tokens = tokens.ctypes.data
        return grids

    def _workspace(self, grids: Any, first: int, threads: int) -> NDArray[np.uint8]:
        size = self._library.vq_prior_workspace(self._prior, grids, first, len(grids), threads)
        if size < 0:
            raise PriorError("grids that do not go together")
        return np.empty(size, np.uint8)

    # ---- the arrays, as the core reads them ----

    def _made(self) -> _Prior:
        shape, arrays = self.shape, self._arrays
        margin = ((0, 0), (_RELATIVE_MARGIN, _RELATIVE_MARGIN))
        blocks = (_Block * shape.depth)(*(self._block(f"blocks.{number}.") for number in range(shape.depth)))
        levels = (_Level * len(shape.codebook_sizes))(*map(self._level, range(len(shape.codebook_sizes))))
        self._memory.hold(blocks, levels)
        return _Prior(
            width=shape.width,
            depth=shape.depth,
            heads=shape.heads,
            radius=shape.radius,
            token_width=shape.token_width,
            level_count=len(shape.codebook_sizes),
            attention_range=len(arrays["attention_exponentials"]) - 1,
            token_range=len(arrays["token_exponentials"]) - 1,
            head_gain=float(np.float32(arrays["head_gain"].reshape(()))),
            blocks=ctypes.addressof(blocks),
            levels=ctypes.addressof(levels),
            attention_exponentials=self._memory.keep(arrays["attention_exponentials"], np.int32),
            token_exponentials=self._memory.keep(arrays["token_exponentials"], np.int32),
            relative=self._memory.keep(np.pad(arrays["relative"][:, :-1], margin), np.float32),
            spacings=self._memory.keep(padded(arrays["spacings"], 1, BLOCK), np.float32),
        )

    def _block(self, prefix: str) -> _Block:
        arrays, heads = self._arrays, self.shape.heads
        into = [_by_head(arrays[f"{prefix}into.{name}"], 0, 3 * heads) for name in ("weight", "scale", "offset")]
        return _Block(
            attention_gain=float(np.float32(arrays[f"{prefix}attention_gain"].reshape(()))),
            mlp_gain=float(np.float32(arrays[f"{prefix}mlp_gain"].reshape(()))),
            value_scale=float(np.float32(arrays[f"{prefix}value_scale"].reshape(()))),
            logit_scale=self._memory.keep(arrays[f"{prefix}logit_scale"], np.float32),
            gelu=self._memory.keep(arrays[f"{prefix}gelu"], np.int32),
            into=self._memory.linear(*into),
            out=self._memory.linear(
                _by_head(arrays[f"{prefix}out.weight"], 1, heads),
                arrays[f"{prefix}out.scale"],
                arrays[f"{prefix}out.offset"],
            ),
            widen=self._named(f"{prefix}widen."),
            narrow=self._named(f"{prefix}narrow."),
        )

    def _level(self, level: int) -> _Level:
        shape, arrays, around = self.shape, self._arrays, self.shape.around[level]
        parts = np.split(arrays[f"near.{level}.weight"], len(around), axis=1)
        scale, offset = arrays[f"near.{level}.scale"], arrays[f"near.{level}.offset"]
        offsets = [offset, *[np.zeros_like(offset)] * (len(around) - 1)]
        near = (Linear * len(around))(
            *(self._memory.linear(part, scale, each) for part, each in zip(parts, offsets, strict=True))
        )
        made = _Level(
            codes=shape.codebook_sizes[level],
            around_count=len(around),
            around=self._memory.keep(np.array(around), np.int32),
            tokens=self._memory.keep(padded(arrays[f"tokens.{level}"], 1, INPUTS), np.int8),
            start=self._memory.keep(padded(arrays[f"start.{level}"], 0, BLOCK), np.float32),
            near=ctypes.addressof(near),
            head=self._named(f"heads.{level}."),
        )
        self._memory.hold(near)
        if level:
            below = (Linear * 3)(*(self._below(f"below.{level}.{row}.", level) for row in range(3)))
            made.below = ctypes.addressof(below)
            self._memory.hold(below)
        return made

    def _below(self, prefix: str, level: int) -> Linear:
        weight = self._arrays[f"{prefix}weight"]
        by_token = padded(weight.reshape(len(weight), 3 * level, -1), 2, INPUTS).reshape(len(weight), -1)
        return self._memory.linear(by_token, self._arrays[f"{prefix}scale"], self._arrays[f"{prefix}offset"])

    def _named(self, prefix: str) -> Linear:
        return self._memory.linear(*(self._arrays[prefix + name] for name in ("weight", "scale", "offset")))


class NativeLevel:
    """A level at work, whose groups are asked for one after the other."""

    def __init__(self, prior: NativePrior, grids: Any, order: GridOrder, levels: Sequence[Int32]) -> None:
        self._prior, self._grids, self._order, self._levels = prior, grids, order, levels
        self._piece = 0
        self._workspace = prior._workspace(grids, len(grids) - 1, 1)
        self._codes = prior.shape.codebook_sizes[len(grids) - 1]

    def frequencies(self) -> Int32:
        """(n, K) of the next group."""
        if self._piece + 1 >= len(self._order.starts):
            raise PriorError("there are no more groups")
        start, end = self._order.starts[self._piece : self._piece + 2]
        made = np.empty((end - start, self._codes), np.int32)
        failed = self._prior._library.vq_prior_frequencies(
            self._prior._prior,
            self._grids,
            len(self._grids) - 1,
            self._piece,
            self._workspace.ctypes.data,
            made.ctypes.data,
        )
        if failed:
            raise PriorError("grids that do not go together")
        self._piece += 1
        return made


def _by_head(array: NDArray[Any], axis: int, heads: int) -> NDArray[Any]:
    """Each of so many parts of an axis padded to whole blocks."""
    shape = array.shape
    parts = array.reshape(*shape[:axis], heads, -1, *shape[axis + 1 :])
    whole = padded(parts, axis + 1, BLOCK)
    return whole.reshape(*shape[:axis], -1, *shape[axis + 1 :])
