"""Calls of the core with all that they read, for this process, for WebAssembly, or for an emulated processor.

As a program: `python tests/helpers/native_program.py LIBRARY THREADS` runs `everything` and prints its `digests`.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vqcodec.native.library import Grid, Layer, Level, Library, load

CONVOLVE3, CONVOLVE1, PATCHES, GATHER, SPREAD, LAPPED, JOIN, SUM, DIFFERENCE = range(1, 10)
NORMALISED, SILU, ADDED, ZEROS = 1, 2, 4, 8
EUCLIDEAN, UNIT, LIFTED = range(3)
REGISTERS = 16


def padded(channels: int) -> int:
    """Floats of a position, where three channels are pixels."""
    return channels if channels == 3 else (channels + 15) // 16 * 16


def _with_pointers_of_4_bytes(kind: type[ctypes.Structure]) -> type[ctypes.Structure]:
    fields = [(name, ctypes.c_uint32 if of is ctypes.c_void_p else of) for name, of in kind._fields_]
    return type(f"{kind.__name__}32", (ctypes.Structure,), {"_fields_": fields})


GRID32, LEVEL32 = map(_with_pointers_of_4_bytes, (Grid, Level))


class Address(int):
    """An argument that is no number."""


@dataclass(frozen=True)
class Step:
    """A layer with weights as torch holds them; gain and shift only if it is normalised."""

    kind: int
    source: int
    to: int
    inputs: int
    outputs: int
    second: int = 0
    factor: int = 1
    lap: int = 0
    flags: int = 0

    @property
    def weight_shape(self) -> tuple[int, ...] | None:
        side = self.factor + 2 * self.lap
        return {
            CONVOLVE3: (self.outputs, self.inputs, 3, 3),
            CONVOLVE1: (self.outputs * self.factor**2, self.inputs, 1, 1),
            PATCHES: (self.outputs, self.inputs, self.factor, self.factor),
            LAPPED: (self.inputs, self.outputs, side, side),
        }.get(self.kind)

    def random_weights(self, random: np.random.Generator) -> dict[str, np.ndarray]:
        shape = self.weight_shape
        if shape is None:
            return {}
        biases = self.outputs * (self.factor**2 if self.kind == CONVOLVE1 else 1)
        inputs = self.inputs * (self.factor**2 if self.kind == PATCHES else 9 if self.kind == CONVOLVE3 else 1)
        weights = {"weight": random.normal(0, inputs**-0.5, shape), "bias": random.normal(0, 0.3, biases)}
        if self.flags & NORMALISED:
            weights |= {"gain": random.normal(1, 0.3, self.inputs), "shift": random.normal(0, 0.3, self.inputs)}
        return {name: values.astype(np.float32) for name, values in weights.items()}

    def spread_bias(self, bias: np.ndarray) -> np.ndarray:
        """The bias as the core reads it: by groups of f x f for a 1 x 1 convolution, padded."""
        if self.kind == LAPPED:
            return bias
        groups = bias.reshape(self.outputs, -1).T
        return np.pad(groups, ((0, 0), (0, padded(self.outputs) - self.outputs))).ravel()


class Program:
    """Calls and memory: arrays of this process or, with a `base`, an image of the memory that begins there."""

    def __init__(self, sizes: Library, base: int | None = None, pointer_bytes: int = 8) -> None:
        self.sizes, self.base = sizes, base
        self.calls: list[tuple[str, list[int]]] = []
        self.outputs: dict[str, tuple[Address, np.ndarray]] = {}
        self.image = bytearray()
        self._kept: list[np.ndarray] = []
        self.grid_type, self.level_type = (Grid, Level) if pointer_bytes == 8 else (GRID32, LEVEL32)

    def place(self, values: np.ndarray, output: str = "") -> Address:
        """Puts an array into memory; results are read from that of an `output`."""
        copy = np.array(values, order="C")
        if self.base is None:
            self._kept.append(copy)
            address = Address(copy.ctypes.data)
        else:
            self.image += bytes(-len(self.image) % 64)
            address = Address(self.base + len(self.image))
            self.image += copy.tobytes()
        if output:
            self.outputs[output] = address, copy
        return address

    def place_structures(self, structures: ctypes.Array[Any]) -> Address:
        return self.place(np.frombuffer(bytes(structures), np.uint8))

    def call(self, name: str, *arguments: int) -> None:
        self.calls.append((name, list(arguments)))

    def grid(self, values: np.ndarray, output: str = "") -> tuple[Address, Address]:
        """Address of a Grid of (rows, cols, channels), and of its values."""
        rows, cols, channels = values.shape
        stride = padded(channels)
        wide = np.zeros((rows, cols, stride), np.float32)
        wide[..., :channels] = values
        place = self.place(wide, output)
        return self.place_structures((self.grid_type * 1)(self.grid_type(rows, cols, channels, stride, place))), place

    def pack(self, layer: Layer, weight: np.ndarray, to: Address) -> None:
        self.call("vq_pack", self.place_structures((Layer * 1)(layer)), self.place(weight), to)

    def network(
        self,
        steps: list[Step],
        weights: list[dict[str, np.ndarray]],
        given: dict[int, tuple[int, int, int] | tuple[int, int, int, Address]],
        threads: int,
    ) -> dict[int, tuple[Address, Address]]:
        """Calls that run `steps`; given: the shapes of the registers that are there, some with memory.

        Returns (Grid, values) of all registers, whose values are outputs named "register N".
        """
        layers, floats = (Layer * len(steps))(), []
        at = 0
        for layer, step, tensors in zip(layers, steps, weights, strict=True):
            for name in ("kind", "source", "second", "to", "inputs", "outputs", "factor", "lap", "flags"):
                setattr(layer, name, getattr(step, name))
            size = self.sizes.vq_packed_size(layer)
            parts = [np.zeros(size, np.float32)]
            layer.weight, layer.bias = at, at + size
            if tensors:
                parts.append(step.spread_bias(tensors["bias"]))
            if "gain" in tensors:
                layer.gain = at + sum(map(len, parts))
                layer.shift = layer.gain + padded(step.inputs)
                parts += [np.pad(tensors[name], (0, -step.inputs % 16)) for name in ("gain", "shift")]
            floats += parts
            at += sum(map(len, parts))
        all_floats = np.concatenate([*floats, np.zeros(16, np.float32)])
        place = self.place(all_floats, "weights")
        for layer, tensors in zip(layers, weights, strict=True):
            if tensors:
                self.pack(layer, tensors["weight"], Address(place + 4 * layer.weight))

        shapes, needed = (Grid * REGISTERS)(), np.zeros(REGISTERS, np.int64)
        for register, shape in given.items():
            shapes[register] = Grid(*shape[:3], padded(shape[2]))
            needed[register] = shape[0] * shape[1] * padded(shape[2])
        known = (self.grid_type * REGISTERS)(*(self.grid_type(g.rows, g.cols, g.channels, g.stride) for g in shapes))
        pointer = ctypes.cast(needed.ctypes.data, ctypes.POINTER(ctypes.c_int64))
        workspace = self.sizes.vq_plan(layers, len(steps), shapes, pointer, threads)
        assert workspace >= 0, "layers and shapes do not fit"
        layers_at = self.place_structures(layers)
        planned = self.place(np.zeros(REGISTERS, np.int64), "floats of the registers")
        self.call("vq_plan", layers_at, len(steps), self.place_structures(known), planned, threads)

        values = {}
        for register in np.flatnonzero(needed):
            shape = given.get(register, ())
            fresh = np.full(needed[register], np.nan, np.float32)
            values[register] = shape[3] if len(shape) > 3 else self.place(fresh, f"register {register}")
            known[register].values = values[register]
        grids = self.place_structures(known)
        own = self.place(np.full(workspace, np.nan, np.float32))
        self.call("vq_run", layers_at, len(steps), place, grids, own, threads)
        size = ctypes.sizeof(self.grid_type)
        return {register: (Address(grids + size * register), place) for register, place in values.items()}

    def run(self, library: Library) -> list[int | None]:
        """What each call returns."""
        return [_call(library, name, arguments) for name, arguments in self.calls]

    def digests(self, results: list[int | None]) -> dict[str, Any]:
        """Results of the calls that have some, and a digest of every output."""
        made = {name: hashlib.sha256(array.tobytes()).hexdigest() for name, (_, array) in self.outputs.items()}
        return {"results": [result for result in results if result is not None], **made}

    def for_wasm(self, image: Path) -> str:
        """For run_wasm.mjs, which prints what `digests` would give; the memory is written to `image`."""
        image.write_bytes(self.image)
        outputs = {name: [address, array.nbytes] for name, (address, array) in self.outputs.items()}
        return json.dumps({"base": self.base, "image": str(image), "calls": self.calls, "outputs": outputs})

    def for_emulator(self, image: Path) -> str:
        """For run_image.c."""
        image.write_bytes(self.image)
        lines = [f"{name} {len(values)} {' '.join(map(str, values))}" for name, values in self.calls]
        return "\n".join([str(self.base), *lines, ""])

    def from_emulator(self, image: Path, printed: str) -> dict[str, Any]:
        """What `digests` would give, from what run_image.c has printed and left in the image."""
        made, base = image.read_bytes(), self.base or 0
        for address, array in self.outputs.values():
            array[...] = np.frombuffer(made, array.dtype, array.size, address - base).reshape(array.shape)
        kinds = [getattr(self.sizes, name).restype for name, _ in self.calls]
        returned = zip(kinds, printed.split(), strict=True)
        return self.digests([kind(int(value)).value if kind else None for kind, value in returned])


def _call(library: Library, name: str, arguments: list[int]) -> int | None:
    function = getattr(library, name)
    given = [
        ctypes.cast(ctypes.c_void_p(value), kind) if isinstance(value, Address) else value
        for value, kind in zip(arguments, function.argtypes, strict=True)
    ]
    return function(*given)


def everything(sizes: Library, threads: int, base: int | None = None, pointer_bytes: int = 8) -> Program:
    """Every kind of layer and of level, pixels in and pixels out, with odd sizes and channels that are padded."""
    program, random = Program(sizes, base, pointer_bytes), np.random.default_rng(11)
    rows, cols = 58, 74
    steps = [
        Step(PATCHES, 0, 1, 3, 20, factor=2, flags=SILU),
        Step(CONVOLVE3, 1, 2, 20, 24, flags=NORMALISED | SILU),
        Step(CONVOLVE3, 2, 3, 24, 20, second=1, flags=ADDED),
        Step(CONVOLVE3, 3, 4, 20, 33, flags=ZEROS),
        Step(CONVOLVE1, 4, 5, 33, 7, factor=2, flags=SILU),
        Step(GATHER, 0, 6, 3, 12, factor=2),
        Step(JOIN, 6, 7, 12, 32, second=1),
        Step(CONVOLVE1, 7, 8, 32, 12, second=6, flags=ADDED),
        Step(SPREAD, 8, 9, 12, 3, second=0, factor=2, flags=ADDED),
        Step(LAPPED, 7, 10, 32, 3, factor=2, lap=1),
        Step(DIFFERENCE, 9, 11, 3, 3, second=10),
        Step(SUM, 11, 13, 3, 3, second=12),
        Step(PATCHES, 5, 14, 7, 130, factor=2),
        Step(CONVOLVE3, 14, 15, 130, 9, flags=NORMALISED),
    ]
    picture = program.place(random.integers(0, 256, (rows + 3, cols - 5, 3), np.uint8))
    grid, pixels = program.grid(np.zeros((rows, cols, 3)), "from pixels")
    program.call("vq_from_pixels", picture, rows + 3, cols - 5, 16, 5, 4, grid)
    other = program.place(random.normal(size=(57, 71, 3)).astype(np.float32))
    given = {0: (rows, cols, 3, pixels), 12: (57, 71, 3, other)}
    registers = program.network(steps, [step.random_weights(random) for step in steps], given, threads)

    made = program.place(np.zeros((40, 50, 3), np.uint8), "to pixels")
    program.call("vq_to_pixels", registers[13][0], 1, 2, 37, 41, made, 50)
    latents = random.normal(size=(11, 13, 33)).astype(np.float32)
    latents[3, 4] = 0
    latents[5, 6, 7] = np.nan
    grid, _ = program.grid(latents)
    for name, shape in LEVELS.items():
        level, _ = random_level(program, random, *shape)
        tokens = program.place(np.zeros((11, 13), np.int32), f"tokens, {name}")
        distances = program.place(np.zeros((11, 13, shape[0]), np.float32), f"distances, {name}")
        program.call("vq_distances", level, grid, distances, threads)
        program.call("vq_tokens", level, grid, tokens, threads)
        back, _ = program.grid(random.normal(size=(11, 13, 33)).astype(np.float32), f"codes, {name}")
        program.call("vq_add_codes", level, tokens, 1, back, 1)
        program.call("vq_add_codes", level, tokens, 2, back, 0)
    return program


#: name -> codes, dimensions, how they are looked up
LEVELS = {"euclidean": (37, 5, EUCLIDEAN), "unit": (64, 8, UNIT), "lifted": (50, 17, LIFTED)}
INVERSE_DEVIATION, LIFT = 1.7, 0.6


def random_level(
    program: Program, random: np.random.Generator, codes: int, dimension: int, lookup: int
) -> tuple[Address, dict[str, Any]]:
    """A Level for latents of 33 channels, and what it is made of; two of the codes are the same."""
    made, width = dimension - (lookup == LIFTED), padded(max(dimension, 5))
    vectors = random.normal(size=(dimension, codes))
    vectors[:, 9] = vectors[:, 3]
    parts = {
        "project": random.normal(0, 0.2, (made, 33)).astype(np.float32),
        "bias": random.normal(size=made).astype(np.float32),
        "mean": random.normal(size=made).astype(np.float32),
        "codes": (vectors / np.linalg.norm(vectors, axis=0)).astype(np.float32).astype(np.float64).T,
        "table": random.normal(0, 0.3, (codes, 33)).astype(np.float32),
    }
    weights = program.place(np.zeros(width * 33, np.float32))
    program.pack(Layer(kind=CONVOLVE1, inputs=33, outputs=made, factor=1), parts["project"], weights)
    level = program.level_type(
        codes,
        dimension,
        33,
        lookup,
        INVERSE_DEVIATION,
        LIFT,
        weights,
        program.place(np.pad(parts["bias"], (0, width - made))),
        program.place(parts["mean"]),
        program.place(np.pad(parts["codes"].T, ((0, 0), (0, -codes % 16)), constant_values=np.inf)),
        program.place(np.pad(parts["table"], ((0, 0), (0, 15)))),
    )
    return program.place_structures((program.level_type * 1)(level)), parts


def digests(library: Library, threads: int) -> dict[str, Any]:
    """What a library makes of `everything`."""
    program = everything(library, threads)
    return program.digests(program.run(library))


if __name__ == "__main__":
    print(json.dumps(digests(load(Path(sys.argv[1])), int(sys.argv[2]))))
