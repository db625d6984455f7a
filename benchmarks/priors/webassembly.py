"""The core in C as WebAssembly, called as `vqcodec.native.library` calls the one of this machine.

For measurements and tests alone: it runs in wasmtime, and every call copies what it reads into the module's memory and
what it wrote back. Needs the package wasmtime, and to build the module clang and wasm-ld.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import vqcodec.native.context
import vqcodec.native.integers
import vqcodec.native.library
import vqcodec.native.prior
from vqcodec.benchmarks.priors.webassembly_memory import ModuleMemory, with_pointers_of_4_bytes
from vqcodec.benchmarks.speed.processes import ProcessError
from vqcodec.native.integers import Linear
from vqcodec.native.library import Grid, Layer, Level

_REGISTERS: Final = 16
#: what outputs, inputs and channels are padded to in memory, at most
_PADDING: Final = 16
_BUILD: Final = (
    *("clang", "--target=wasm32", "-std=c11", "-O3", "-msimd128", "-ffp-contract=off", "-fno-math-errno"),
    *("-nostdlib", "-Wl,--no-entry", "-Wl,--stack-first", "-Wl,-z,stack-size=262144"),
)


def build(sources: Path, to: Path) -> None:
    """Compile core/*.c to a module. Raises ProcessError where a tool is missing or fails."""
    for tool in ("clang", "wasm-ld"):
        if shutil.which(tool) is None:
            raise ProcessError(f"the core is compiled to WebAssembly by clang and wasm-ld, and there is no {tool}")
    command = [*_BUILD, *map(str, sorted(sources.glob("*.c"))), "-o", str(to)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ProcessError(f"clang could not compile the core to WebAssembly: {done.stderr.strip()}")


def use(module: Path) -> None:
    """Let this process compute with a module, in the place of the core that was installed; before that is used."""
    core = WebAssemblyCore(module)
    _remember_sizes(core)
    setattr(vqcodec.native.library, "_loaded", lambda: core)  # noqa: B010 - a function elsewhere


@contextmanager
def remembering_sizes(core: WebAssemblyCore) -> Iterator[None]:
    """While it is open, a module is told how long the arrays of priors are."""
    keep = _remember_sizes(core)
    try:
        yield
    finally:
        setattr(vqcodec.native.integers.CoreMemory, "keep", keep)  # noqa: B010 - a method elsewhere


def _remember_sizes(core: WebAssemblyCore) -> Callable[[Any, Any, Any], int]:
    """From now on; returns the method that did not."""
    memory = vqcodec.native.integers.CoreMemory
    keep = memory.keep

    def remember(self: Any, array: Any, dtype: Any) -> int:
        place = keep(self, array, dtype)
        core.sizes[place] = self._held[-1].nbytes
        return place

    setattr(memory, "keep", remember)  # noqa: B010 - a method elsewhere
    return keep


_GRID, _LEVEL = with_pointers_of_4_bytes(Grid), with_pointers_of_4_bytes(Level)
_NATIVE, _CONTEXT = vqcodec.native.prior, vqcodec.native.context
_PRIOR, _BLOCK, _PRIOR_LEVEL, _LINEAR, _PRIOR_GRID = (
    with_pointers_of_4_bytes(kind) for kind in (_NATIVE._Prior, _NATIVE._Block, _NATIVE._Level, Linear, _NATIVE._Grid)
)
_NETWORK, _CONTEXT_BLOCK, _CONTEXT_LEVEL, _CONTEXT_GRID = (
    with_pointers_of_4_bytes(kind) for kind in (_CONTEXT._Network, _CONTEXT._Block, _CONTEXT._Level, _CONTEXT._Grid)
)


class WebAssemblyCore(ModuleMemory):
    """Has the functions of the core that Python calls, with the arguments that ctypes takes."""

    def __init__(self, module: Path) -> None:
        super().__init__(module)
        self._planned: list[int] = []
        self._workspace = 0
        for module_of in (vqcodec.native.integers, _NATIVE, _CONTEXT):
            for name in module_of._SIGNATURES:  # which get types, and methods have no room for attributes
                setattr(self, name, partial(getattr(self, name)))

    # ---- what runs as it is ----

    def vq_core_version(self) -> int:
        return int(self._call("vq_core_version"))

    def vq_unit(self) -> bytes:
        return b"wasm"

    def vq_unit_name(self, number: int) -> bytes | None:
        return None if number else b"wasm"

    # ---- networks ----

    def vq_packed_size(self, layer: Layer) -> int:
        with self._fresh():
            return int(self._call("vq_packed_size", self._put(layer)))

    def vq_pack(self, layer: Layer, weight: int, to: int) -> None:
        size = self.vq_packed_size(layer)
        with self._fresh():
            count = _weights_of(layer)
            made = self._room(4 * size)
            self._call("vq_pack", self._put(layer), self._put(weight, 4 * count), made)
            self._get(made, 4 * size, to)

    def vq_plan(self, layers: Any, count: int, grids: Any, floats: Any, threads: int) -> int:
        with self._fresh():
            shapes, needed = self._grids(grids, {}), self._put(floats)
            size = int(self._call("vq_plan", self._put(layers), count, shapes, needed, threads))
            self._get(needed, 8 * _REGISTERS, ctypes.addressof(floats))
            self._shapes_back(shapes, grids)
        self._planned, self._workspace = list(floats), size
        return size

    def vq_run(self, layers: Any, count: int, weights: int, grids: Any, workspace: int, threads: int) -> int:
        with self._fresh():
            counts = [max(g.rows * g.cols * g.stride, each) for g, each in zip(grids, self._planned, strict=True)]
            places = {n: self._put(g.values, 4 * counts[n]) for n, g in enumerate(grids) if g.values}
            shapes, size = self._grids(grids, places), max(map(self._end_of_weights, layers))
            own = self._room(4 * self._workspace)
            wrong = self._call("vq_run", self._put(layers), count, self._put(weights, 4 * size), shapes, own, threads)
            self._shapes_back(shapes, grids)
            for number, place in places.items():
                self._get(place, 4 * counts[number], grids[number].values)
        return int(wrong)

    def _end_of_weights(self, layer: Layer) -> int:
        groups = layer.factor**2 if layer.kind == vqcodec.native.networks.CONVOLVE1 else 1
        biases = groups * -(-layer.outputs // _PADDING) * _PADDING
        size, top = int(self._call("vq_packed_size", self._put(layer))), -(-layer.inputs // _PADDING) * _PADDING
        ends = [layer.weight + size, layer.bias + biases if layer.bias else 0]
        ends += [place + top for place in (layer.gain, layer.shift) if place]
        return max(ends)

    def _grids(self, grids: Any, places: dict[int, int]) -> int:
        made = (_GRID * len(grids))(
            *(_GRID(g.rows, g.cols, g.channels, g.stride, places.get(number, 0)) for number, g in enumerate(grids))
        )
        return self._put(made)

    def _shapes_back(self, at: int, grids: Any) -> None:
        made = (_GRID * len(grids)).from_buffer_copy(
            bytes(self._memory.read(self._store, at, at + ctypes.sizeof(_GRID) * len(grids)))
        )
        for mine, its in zip(grids, made, strict=True):
            mine.rows, mine.cols, mine.channels, mine.stride = its.rows, its.cols, its.channels, its.stride

    # ---- pixels and levels ----

    def vq_from_pixels(
        self, pixels: int, height: int, width: int, factor: int, top: int, left: int, grid: Grid
    ) -> None:
        with self._fresh():
            source = self._put(pixels, height * width * 3)
            with self._grid(grid) as place:
                self._call("vq_from_pixels", source, height, width, factor, top, left, place)

    def vq_to_pixels(self, grid: Grid, top: int, left: int, rows: int, cols: int, pixels: int, width: int) -> None:
        size = ((rows - 1) * width + cols) * 3
        with self._fresh():
            target = self._put(pixels, size)
            with self._grid(grid) as place:
                self._call("vq_to_pixels", place, top, left, rows, cols, target, width)
            self._get(target, size, pixels)

    @contextmanager
    def _grid(self, grid: Grid) -> Iterator[int]:
        size = 4 * grid.rows * grid.cols * grid.stride
        values = self._put(grid.values, size)
        yield self._put(_GRID(grid.rows, grid.cols, grid.channels, grid.stride, values))
        self._get(values, size, grid.values)

    def vq_tokens(self, level: Level, grid: Grid, tokens: int, threads: int) -> int:
        return self._looked_up("vq_tokens", level, grid, tokens, 1, threads)

    def vq_distances(self, level: Level, grid: Grid, distances: int, threads: int) -> int:
        return self._looked_up("vq_distances", level, grid, distances, level.codes, threads)

    def _looked_up(self, name: str, level: Level, grid: Grid, to: int, each: int, threads: int) -> int:
        size = 4 * grid.rows * grid.cols * each
        with self._fresh():
            made = self._room(size)
            with self._grid(grid) as place:
                wrong = self._call(name, self._level(level), place, made, threads)
            self._get(made, size, to)
        return int(wrong)

    def vq_add_codes(self, level: Level, tokens: int, stride: int, grid: Grid, first: bool) -> None:
        count = -(-grid.rows // stride) * -(-grid.cols // stride)
        with self._fresh(), self._grid(grid) as place:
            self._call("vq_add_codes", self._level(level), self._put(tokens, 4 * count), stride, place, int(first))

    def _level(self, level: Level) -> int:
        made = level.dimension - (level.lookup == vqcodec.native.levels.LOOKUPS["lifted"])
        width = -(-level.dimension // _PADDING) * _PADDING
        layer = Layer(kind=vqcodec.native.networks.CONVOLVE1, inputs=level.channels, outputs=width, factor=1)
        packed = int(self._call("vq_packed_size", self._put(layer)))
        codes = -(-level.codes // _PADDING) * _PADDING
        table = level.codes * vqcodec.native.networks.stride_of(level.channels)
        return self._put(
            _LEVEL(
                level.codes,
                level.dimension,
                level.channels,
                level.lookup,
                level.inverse_deviation,
                level.lift,
                self._put(level.project, 4 * packed),
                self._put(level.bias, 4 * width),
                self._put(level.mean, 4 * made),
                self._put(level.code_vectors, 8 * level.dimension * codes),
                self._put(level.table, 4 * table),
            )
        )

    # ---- the prior ----

    def vq_integers_size(self, outputs: int, inputs: int) -> int:
        return int(self._call("vq_integers_size", outputs, inputs))

    def vq_integers_pack(self, weight: int, outputs: int, inputs: int, to: int) -> None:
        size = self.vq_integers_size(outputs, inputs)
        with self._fresh():
            made = self._room(size)
            self._call("vq_integers_pack", self._put(weight, outputs * inputs), outputs, inputs, made)
            self._get(made, size, to)

    def vq_prior_workspace(self, prior: Any, grids: Any, first: int, count: int, threads: int) -> int:
        with self._fresh():
            places = self._prior_grids(grids, count)[0]
            size = int(self._call("vq_prior_workspace", self._prior(prior), places, first, count, threads))
        self._workspace = size
        return size

    def vq_prior_decode(self, prior: Any, grids: Any, first: int, count: int, workspace: int, threads: int) -> int:
        return self._coded("vq_prior_decode", prior, grids, first, count, threads)

    def vq_prior_encode(self, prior: Any, grids: Any, first: int, count: int, workspace: int, threads: int) -> int:
        return self._coded("vq_prior_encode", prior, grids, first, count, threads)

    def vq_prior_frequencies(self, *arguments: Any) -> int:
        raise NotImplementedError("the workspace of frequencies stays between calls, and memory here does not")

    def _coded(self, name: str, prior: Any, grids: Any, first: int, count: int, threads: int) -> int:
        with self._fresh():
            at, copies = self._prior_grids(grids, count)
            own = self._room(self._workspace)
            wrong = self._call(name, self._prior(prior), at, first, count, own, threads)
            self._coded_back(_PRIOR_GRID, at, grids, count, copies)
        return int(wrong)

    def _coded_back(self, kind: Any, at: int, grids: Any, count: int, copies: list[tuple[int, int]]) -> None:
        made = (kind * count).from_buffer_copy(
            bytes(self._memory.read(self._store, at, at + ctypes.sizeof(kind) * count))
        )
        for mine, its, (tokens, payload) in zip(grids, made, copies, strict=True):
            self._get(tokens, 4 * mine.rows * mine.cols, mine.tokens)
            if payload:
                self._get(payload, mine.payload_bytes, mine.payload)
            mine.payload_bytes = its.payload_bytes

    def _prior_grids(self, grids: Any, count: int) -> tuple[int, list[tuple[int, int]]]:
        """Where the grids lie, and the tokens and the payload of each."""
        made, copies = (_PRIOR_GRID * count)(), []
        for mine, its in zip(made, grids[:count], strict=True):
            size = 4 * its.rows * its.cols
            for name in ("rows", "cols", "pieces", "largest_piece", "window_rows", "window_cols", "payload_bytes"):
                setattr(mine, name, getattr(its, name))
            mine.starts = self._put(its.starts, 4 * (its.pieces + 1))
            for name in ("positions", "ranks", "spacings", "tokens"):
                setattr(mine, name, self._put(getattr(its, name), size))
            mine.payload = self._put(its.payload, its.payload_bytes) if its.payload else 0
            mine.coded, mine.filler = self._coded_places(its), its.filler
            copies.append((mine.tokens, mine.payload))
        return self._put(made), copies

    def _coded_places(self, grid: Any) -> int:
        return self._put(grid.coded, grid.rows * grid.cols) if grid.coded else 0

    def _prior(self, prior: Any) -> int:
        blocks = (_NATIVE._Block * prior.depth).from_address(prior.blocks)
        levels = (_NATIVE._Level * prior.level_count).from_address(prior.levels)
        return self._copied(
            prior,
            _PRIOR,
            blocks=lambda: self._all(blocks, _BLOCK, lambda block: {}),
            levels=lambda: self._all(levels, _PRIOR_LEVEL, self._level_parts),
        )

    def _level_parts(self, level: Any) -> dict[str, Callable[[], int]]:
        near = (Linear * level.around_count).from_address(level.near)
        parts: dict[str, Callable[[], int]] = {"near": lambda: self._all(near, _LINEAR, lambda linear: {})}
        if level.below:
            below = (Linear * 3).from_address(level.below)
            parts["below"] = lambda: self._all(below, _LINEAR, lambda linear: {})
        return parts

    # ---- the context network ----

    def vq_context_workspace(self, network: Any, grids: Any, first: int, count: int, threads: int) -> int:
        with self._fresh():
            places = self._context_grids(grids, count)[0]
            size = int(self._call("vq_context_workspace", self._network(network), places, first, count, threads))
        self._workspace = size
        return size

    def vq_context_decode(self, network: Any, grids: Any, first: int, count: int, workspace: int, threads: int) -> int:
        return self._context_coded("vq_context_decode", network, grids, first, count, threads)

    def vq_context_encode(self, network: Any, grids: Any, first: int, count: int, workspace: int, threads: int) -> int:
        return self._context_coded("vq_context_encode", network, grids, first, count, threads)

    def vq_context_begin(self, *arguments: Any) -> int:
        raise NotImplementedError("the workspace of frequencies stays between calls, and memory here does not")

    vq_context_frequencies = vq_context_begin

    def _context_coded(self, name: str, network: Any, grids: Any, first: int, count: int, threads: int) -> int:
        with self._fresh():
            at, copies = self._context_grids(grids, count)
            own = self._room(self._workspace)
            wrong = self._call(name, self._network(network), at, first, count, own, threads)
            self._coded_back(_CONTEXT_GRID, at, grids, count, copies)
        return int(wrong)

    def _context_grids(self, grids: Any, count: int) -> tuple[int, list[tuple[int, int]]]:
        """Where the grids lie, and the tokens and the payload of each."""
        copies = []
        for its in grids[:count]:
            payload = self._put(its.payload, its.payload_bytes) if its.payload else 0
            copies.append((self._put(its.tokens, 4 * its.rows * its.cols), payload))
        made = (_CONTEXT_GRID * count)(
            *(
                _CONTEXT_GRID(
                    its.rows, its.cols, tokens, payload, its.payload_bytes, self._coded_places(its), its.filler
                )
                for its, (tokens, payload) in zip(grids[:count], copies, strict=True)
            )
        )
        return self._put(made), copies

    def _network(self, network: Any) -> int:
        levels = (_CONTEXT._Level * network.level_count).from_address(network.levels)

        def parts(level: Any) -> dict[str, Callable[[], int]]:
            if not level.blocks:  # one that the network does not cover
                return {}
            blocks = (_CONTEXT._Block * network.block_count).from_address(level.blocks)
            near = (Linear * _CONTEXT._GROUPS_WITH_NEIGHBOURS).from_address(level.near)
            below = (ctypes.c_void_p * level.coarser).from_address(level.below) if level.coarser else ()
            return {
                "blocks": lambda: self._all(blocks, _CONTEXT_BLOCK, lambda block: {}),
                "near": lambda: self._all(near, _LINEAR, lambda linear: {}),
                "below": lambda: self._pointers(below),
            }

        return self._copied(network, _NETWORK, levels=lambda: self._all(levels, _CONTEXT_LEVEL, parts))

    def _pointers(self, places: Any) -> int:
        """Where the addresses of copies of arrays lie."""
        return self._put((ctypes.c_uint32 * len(places))(*(self._put(place, self.sizes[place]) for place in places)))


def _weights_of(layer: Layer) -> int:
    """Floats of a layer's weights as torch holds them."""
    networks = vqcodec.native.networks
    side = {networks.CONVOLVE3: 3, networks.PATCHES: layer.factor, networks.LAPPED: layer.factor + 2 * layer.lap}
    count: int = layer.inputs * layer.outputs * side.get(layer.kind, 1) ** 2
    return count * layer.factor**2 if layer.kind == networks.CONVOLVE1 else count
