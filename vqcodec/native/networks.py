"""Networks of the core: layers put together one by one, weights packed, grids that flow through. Imports no torch.

A grid is (rows, cols, channels), position by position, with as many floats a position as the core wants: see `Grid` of
core/vqcore.h. Registers are numbered from 0; a network's inputs are put into some, its outputs stay in others.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.native.library import Grid, Layer, Library, thread_count

Floats: TypeAlias = NDArray[np.float32]

CONVOLVE3, CONVOLVE1, PATCHES, GATHER, SPREAD, LAPPED, JOIN, SUM, DIFFERENCE = range(1, 10)
NORMALISED, SILU, ADDED, ZEROS = 1, 2, 4, 8
_REGISTERS: Final = 16
_ALIGNMENT: Final = 64


def stride_of(channels: int) -> int:
    """Floats that a position of so many channels takes, but in grids of pixels, where it takes as many."""
    return -(-channels // 16) * 16


def as_grid(array: Floats, channels: int | None = None) -> Grid:
    """A view of (rows, cols, stride) contiguous floats, of which `channels` count."""
    rows, cols, stride = array.shape
    return Grid(rows, cols, channels or stride, stride, array.ctypes.data)


def aligned(floats: int) -> NDArray[np.float32]:
    """Memory for so many floats that begins where a line of the cache does."""
    raw: Floats = np.empty(floats + _ALIGNMENT // 4, np.float32)
    first = int(-raw.ctypes.data % _ALIGNMENT // 4)
    return raw[first : first + floats]


class WeightsError(ValueError):
    """Weights that are not of the shapes that a network needs."""


class Network:
    """Layers with their weights, ready to run; calls from several threads are safe.

    Made by `NetworkBuilder.network`. parts: what the layers' offsets count in, one after the other: vectors, and
    weights, which are packed when the network first runs.
    """

    def __init__(self, library: Library, layers: Sequence[Layer], parts: Sequence[_Part], size: int) -> None:
        self._library, self._parts, self._size = library, parts, size
        self._layers = (Layer * len(layers))(*layers)
        self._spare: list[_Memory] = []
        self._packed: Floats | None = None
        self._packing = Lock()

    def _weights(self) -> Floats:
        """Packed, once, by the first thread that runs the network."""
        with self._packing:
            if self._packed is None:
                weights = aligned(self._size)
                for part in self._parts:
                    array = np.ascontiguousarray(part.array, np.float32)
                    if part.layer is None:
                        weights[part.first : part.first + len(array)] = array
                    else:
                        self._library.vq_pack(part.layer, array.ctypes.data, weights[part.first :].ctypes.data)
                self._packed, self._parts = weights, ()
            return self._packed

    def run(self, inputs: Mapping[int, tuple[Floats, int]], outputs: Sequence[int]) -> list[Floats]:
        """inputs: by register, (rows, cols, stride) contiguous and their channels; outputs: copies of what registers
        hold in the end, (rows, cols, stride). Raises ValueError where shapes do not go together."""
        threads = thread_count()
        registers = (Grid * _REGISTERS)()
        for number, (array, channels) in inputs.items():
            assert array.flags.c_contiguous
            assert array.dtype == np.float32
            registers[number] = as_grid(array, channels)
        floats = (ctypes.c_int64 * _REGISTERS)()
        planned = (Grid * _REGISTERS)(*registers)
        need = self._library.vq_plan(self._layers, len(self._layers), planned, floats, threads)
        if need < 0:
            raise ValueError(f"grids {[array.shape for array, _ in inputs.values()]} do not go through this network")
        try:
            memory = self._spare.pop()
        except IndexError:
            memory = _Memory({}, np.empty(0, np.float32))
        memory.reserve({number: count for number, count in enumerate(floats) if count and number not in inputs}, need)
        for number, array in memory.registers.items():
            registers[number].values = array.ctypes.data
        wrong = self._library.vq_run(
            self._layers,
            len(self._layers),
            self._weights().ctypes.data,
            registers,
            memory.workspace.ctypes.data,
            threads,
        )
        assert not wrong
        made = [self._copied(registers[number], memory.registers[number]) for number in outputs]
        self._spare.append(memory)
        return made

    def release(self) -> None:
        """Give the memory of runs back: what a tile of a large picture takes is more than most pictures need."""
        self._spare.clear()

    @staticmethod
    def _copied(grid: Grid, array: Floats) -> Floats:
        shape = (grid.rows, grid.cols, grid.stride)
        made: Floats = array[: grid.rows * grid.cols * grid.stride].reshape(shape).copy()
        return made


@dataclass(frozen=True)
class _Part:
    """first: among the floats of a network. layer: whose weight it is, to be packed; None for a vector."""

    first: int
    array: Floats
    layer: Layer | None


@dataclass
class _Memory:
    """What a run writes to. It is kept for the next one: fresh pages cost as much as the arithmetic."""

    registers: dict[int, Floats]
    workspace: Floats

    def reserve(self, floats: Mapping[int, int], workspace: int) -> None:
        for number, count in floats.items():
            if number not in self.registers or len(self.registers[number]) < count:
                self.registers[number] = aligned(count)
        if len(self.workspace) < workspace:
            self.workspace = aligned(workspace)


class NetworkBuilder:
    """Puts layers one after the other; arguments `name` are of weights, `source`, `to`, `added` of registers.

    weights: by name, as torch's state dicts have them, of any float type. Methods raise WeightsError for weights that
    are not there or of other shapes.
    """

    def __init__(self, library: Library, weights: Mapping[str, Floats], *, zeros: bool = False) -> None:
        self._library, self._weights, self._zeros = library, weights, zeros
        self._layers: list[Layer] = []
        self._parts: list[_Part] = []
        self._size = 0

    def convolve(
        self, name: str, source: int, to: int, *, norm: str = "", silu: bool = False, added: int | None = None
    ) -> None:
        """3 x 3, after ChannelNorm where it is named."""
        weight = self._weight(name, 3)
        outputs, inputs = weight.shape[:2]
        flags = NORMALISED * bool(norm) | SILU * silu | ZEROS * self._zeros
        layer = self._layer(CONVOLVE3, source, to, inputs, outputs, flags=flags, added=added)
        if norm:
            layer.gain = self._vector(self._array(f"{norm}.weight", inputs))
            layer.shift = self._vector(self._array(f"{norm}.bias", inputs))
        self._put(layer, weight, self._array(f"{name}.bias", outputs))

    def block(self, name: str, at: int, hidden: int) -> None:
        """A residual block of a register."""
        self.convolve(f"{name}.widen", at, hidden, norm=f"{name}.norm", silu=True)
        self.convolve(f"{name}.narrow", hidden, at, added=at)

    def point(self, name: str, source: int, to: int, *, factor: int = 1, added: int | None = None) -> None:
        """1 x 1; with a factor its outputs are spread over factor x factor positions (PixelShuffle)."""
        weight = self._weight(name, 1)
        outputs, inputs = weight.shape[:2]
        layer = self._layer(CONVOLVE1, source, to, inputs, outputs // factor**2, factor, added=added)
        self._put(layer, weight, *self._array(f"{name}.bias", outputs).reshape(-1, factor**2).T)

    def patches(self, name: str, source: int, to: int, *, factor: int, added: int | None = None) -> None:
        """f x f with stride f."""
        weight = self._weight(name, factor)
        outputs, inputs = weight.shape[:2]
        layer = self._layer(PATCHES, source, to, inputs, outputs, factor, added=added)
        self._put(layer, weight, self._array(f"{name}.bias", outputs))

    def lapped(self, name: str, source: int, to: int, *, factor: int, lap: int) -> None:
        """Patches of pixels that lap over their neighbours, see `vqcodec.models.hierarchical.LappedPatches`."""
        weight = self._array(f"{name}.weight", None, 3, factor + 2 * lap, factor + 2 * lap)
        layer = self._layer(LAPPED, source, to, len(weight), 3, factor)
        layer.lap = lap
        self._put(layer, weight, self._array(f"{name}.bias", 3))

    def gather(self, source: int, to: int, *, channels: int, factor: int) -> None:
        """PixelUnshuffle of `channels`."""
        self._layers.append(self._layer(GATHER, source, to, channels, channels * factor**2, factor))

    def spread(self, source: int, to: int, *, channels: int, factor: int, added: int | None = None) -> None:
        """PixelShuffle to `channels`."""
        self._layers.append(self._layer(SPREAD, source, to, channels * factor**2, channels, factor, added=added))

    def join(self, source: int, second: int, to: int, *, channels: tuple[int, int]) -> None:
        """The channels of both, so many each."""
        layer = self._layer(JOIN, source, to, channels[0], sum(channels))
        layer.second = second
        self._layers.append(layer)

    def combine(self, kind: int, source: int, second: int, to: int, *, channels: int) -> None:
        """SUM or DIFFERENCE of what both have."""
        layer = self._layer(kind, source, to, channels, channels)
        layer.second = second
        self._layers.append(layer)

    def network(self) -> Network:
        """Of the layers so far."""
        return Network(self._library, self._layers, self._parts, self._size)

    def _array(self, name: str, *shape: int | None) -> Floats:
        """A weight of that shape, None for any side. Raises WeightsError."""
        array = self._weights.get(name)
        if (
            array is None
            or array.ndim != len(shape)
            or any(wanted not in (None, side) for wanted, side in zip(shape, array.shape, strict=True))
        ):
            raise WeightsError(f"{name}: expected {shape}, got {None if array is None else array.shape}")
        return array

    def _weight(self, name: str, side: int) -> Floats:
        return self._array(f"{name}.weight", None, None, side, side)

    def _layer(
        self,
        kind: int,
        source: int,
        to: int,
        inputs: int,
        outputs: int,
        factor: int = 1,
        flags: int = 0,
        added: int | None = None,
    ) -> Layer:
        return Layer(
            kind=kind,
            source=source,
            second=0 if added is None else added,
            to=to,
            inputs=inputs,
            outputs=outputs,
            factor=factor,
            flags=flags | (0 if added is None else ADDED),
        )

    def _put(self, layer: Layer, weight: Floats, *biases: Floats) -> None:
        layer.weight = self._keep(weight, self._library.vq_packed_size(layer), layer)
        layer.bias = self._vector(*biases)
        self._layers.append(layer)

    def _vector(self, *vectors: Floats) -> int:
        """Where these begin, each padded with zeros as a block of outputs is."""
        whole = np.concatenate([np.pad(each, (0, -len(each) % 16)) for each in vectors])
        return self._keep(whole, len(whole))

    def _keep(self, array: Floats, size: int, layer: Layer | None = None) -> int:
        self._parts.append(_Part(self._size, array, layer))
        self._size += size
        return self._size - size
