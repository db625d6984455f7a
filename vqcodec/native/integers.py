"""What the priors in the core have in common: linear maps of whole numbers, packed, and payloads. Imports no torch."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from ctypes import c_int32, c_int64, c_void_p
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.native.library import Library

Int32: TypeAlias = NDArray[np.int32]
#: (rows, cols) bool, where tokens are coded, and the token elsewhere
Coded: TypeAlias = tuple[NDArray[np.bool_], int]
Signatures: TypeAlias = Mapping[str, tuple[Any, list[Any]]]

#: outputs are padded to a multiple of the first, inputs of the second
BLOCK: Final = 16
INPUTS: Final = 4
_SIGNATURES: Final[Signatures] = {
    "vq_integers_size": (c_int64, [c_int32, c_int32]),
    "vq_integers_pack": (None, [c_void_p, c_int32, c_int32, c_void_p]),
}


class Linear(ctypes.Structure):
    """`IntegerLinear` of core/vqcore.h."""

    _fields_ = (
        ("weight", c_void_p),
        ("scale", c_void_p),
        ("offset", c_void_p),
        ("inputs", c_int32),
        ("outputs", c_int32),
    )


class CoreMemory:
    """Arrays that the core reads, which stay where they are as long as this does."""

    def __init__(self, library: Library) -> None:
        self._library, self._held = library, list[Any]()
        declare(library, _SIGNATURES)

    def hold(self, *parts: Any) -> None:
        """Structures whose addresses others have."""
        self._held += parts

    def keep(self, array: NDArray[Any], dtype: Any) -> int:
        """Where an array is."""
        kept = np.ascontiguousarray(array, dtype)
        self._held.append(kept)
        place: int = kept.ctypes.data
        return place

    def linear(self, weight: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any]) -> Linear:
        """weight: (outputs, inputs) whole numbers of -127..127; scale and offset: (outputs,)."""
        outputs, inputs = weight.shape
        weight = np.ascontiguousarray(weight, np.int8)
        packed = np.empty(self._library.vq_integers_size(outputs, inputs), np.uint8)
        self._library.vq_integers_pack(weight.ctypes.data, outputs, inputs, packed.ctypes.data)
        return Linear(
            weight=self.keep(packed, np.uint8),
            scale=self.keep(padded(scale, 0, BLOCK), np.float32),
            offset=self.keep(padded(offset, 0, BLOCK), np.float32),
            inputs=-(-inputs // INPUTS) * INPUTS,
            outputs=-(-outputs // BLOCK) * BLOCK,
        )


def declare(library: Library, signatures: Signatures) -> None:
    """Tell ctypes what functions take and give."""
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments


def padded(array: NDArray[Any], axis: int, multiple: int) -> NDArray[Any]:
    """Zeros added at the end of an axis."""
    more = [(0, 0)] * array.ndim
    more[axis] = (0, -array.shape[axis] % multiple)
    return np.pad(array, more)


@contextmanager
def reading(grids: Any, payloads: Sequence[bytes]) -> Iterator[None]:
    """While it is open, grids read payloads."""
    buffers = [np.frombuffer(payload, np.uint8) for payload in payloads]
    _point_to(grids, buffers)
    yield


@contextmanager
def coding_a_part(grid: Any, coded: Coded | None) -> Iterator[None]:
    """While it is open, a grid codes tokens at some places only; everywhere for None."""
    if coded is None:
        yield
        return
    mask, filler = coded
    held = np.ascontiguousarray(mask, np.uint8)
    if held.shape != (grid.rows, grid.cols):
        raise ValueError(f"places {held.shape} of a grid of {(grid.rows, grid.cols)}")
    grid.coded, grid.filler = held.ctypes.data, filler
    yield


def room_for_payloads(grids: Any, tokens: Sequence[Int32]) -> list[NDArray[np.uint8]]:
    """Where grids write the payloads of so many tokens."""
    buffers = [np.empty(4 * level.size + 16, np.uint8) for level in tokens]
    _point_to(grids, buffers)
    return buffers


def written_payloads(grids: Any, buffers: Sequence[NDArray[np.uint8]]) -> list[bytes]:
    """What grids have written to the room that they were given."""
    return [buffer[: grid.payload_bytes].tobytes() for grid, buffer in zip(grids, buffers, strict=True)]


def _point_to(grids: Any, buffers: Sequence[NDArray[np.uint8]]) -> None:
    for grid, buffer in zip(grids, buffers, strict=True):
        grid.payload, grid.payload_bytes = buffer.ctypes.data, len(buffer)
