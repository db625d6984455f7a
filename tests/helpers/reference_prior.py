"""The prior of docs/format.md, 5.5, written from the text alone: token by token, for the order wavefront.

It imports nothing of vqcodec. Whole numbers are int64; single precision only where the text has it.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
from reference_decoder import RangeDecoder

Array = Any
F = np.float32
#: (rows down, columns right) of the tokens around
OFFSETS = ((-1, 0), (0, -1), (-1, -1), (-1, 1), (-2, 0), (0, -2), (-1, -2))


class ReferencePrior:
    """arrays: of entropy.safetensors. config: "prior" in the card."""

    def __init__(self, arrays: dict[str, Array], config: dict[str, Any]) -> None:
        self.arrays, self.config = arrays, config
        assert set(config["orders"]) == {"wavefront"}

    def single(self, name: str) -> Array:
        return self.arrays[name].astype(F)

    def whole(self, name: str) -> Array:
        return self.arrays[name].astype(np.int64)

    def linear(self, name: str, x: Array, inputs: slice = slice(None), *, with_offset: bool = True) -> Array:
        """x (in) whole numbers -> whole numbers (out)."""
        sums = (self.whole(f"{name}.weight")[:, inputs] * x).sum(axis=1)
        scaled = sums.astype(F) * self.single(f"{name}.scale")
        return np.rint(scaled + self.single(f"{name}.offset") if with_offset else scaled).astype(np.int64)

    def norm(self, x: Array, gain: str) -> Array:
        small = np.clip(x, -(2**20), 2**20).astype(np.float64)
        root = np.sqrt(max((small * small).sum() / len(x), 1.0))
        return clip(np.rint(x.astype(F) * F(np.float64(self.single(gain)[0]) / root)).astype(np.int64), 127)

    def decode_level(
        self,
        level: int,
        rows: int,
        cols: int,
        coarser: list[list[list[int]]],
        decoder: RangeDecoder,
        filled: dict[tuple[int, int], int],
    ) -> list[int]:
        """All tokens in raster order; coarser: rows of tokens of each level before. filled: by place, tokens that take
        no bits."""
        codes = self.config["codebook_sizes"][level]
        known: dict[tuple[int, int], int] = {}
        keys: list[dict[tuple[int, int], tuple[Array, Array]]] = [{} for _ in range(self.config["depth"])]
        for group in range(2 * rows + cols - 2):
            slots = [(r, group - 2 * r) for r in range(rows) if 0 <= group - 2 * r < cols]
            states = {slot: self.start(level, slot, known, coarser, rows, cols) for slot in slots}
            for number in range(self.config["depth"]):
                self.block(number, states, keys[number])
            for slot in slots:
                table = self.frequencies(level, states[slot])
                if slot in filled:
                    known[slot] = filled[slot]
                else:
                    known[slot] = decoder.take(table, [0, *accumulate(table)]) if codes > 1 else 0
        return [known[r, c] for r in range(rows) for c in range(cols)]

    def start(
        self,
        level: int,
        slot: tuple[int, int],
        known: dict[tuple[int, int], int],
        coarser: list[list[list[int]]],
        rows: int,
        cols: int,
    ) -> Array:
        row, col = slot
        h = self.whole(f"start.{level}") + self.whole("spacings")[0]
        vectors = self.whole(f"tokens.{level}")
        each = vectors.shape[1]
        for number, (down, right) in enumerate(OFFSETS):
            vector = vectors[known.get((row + down, col + right), -1)]
            inputs = slice(number * each, number * each + each)
            h = h + self.linear(f"near.{level}", vector, inputs, with_offset=not number)
        for kernel_row in range(3 if level else 0):
            r, parts = row + kernel_row - 1, []
            for c in (col - 1, col, col + 1):
                inside = 0 <= r < rows and 0 <= c < cols
                for below, grid in enumerate(coarser):
                    table = self.whole(f"tokens.{below}")
                    parts.append(table[grid[r][c]] if inside else np.zeros(table.shape[1], np.int64))
            h = h + self.linear(f"below.{level}.{kernel_row}", np.concatenate(parts))
        return h

    def block(
        self,
        number: int,
        states: dict[tuple[int, int], Array],
        keys: dict[tuple[int, int], tuple[Array, Array]],
    ) -> None:
        """All slots of a group through block `number`; keys: of the slots of this and earlier groups, for it."""
        name, heads, radius = f"blocks.{number}", self.config["heads"], self.config["radius"]
        queries = {}
        for slot, h in states.items():
            projected = clip(self.linear(f"{name}.into", self.norm(h, f"{name}.attention_gain")), 127)
            queries[slot], key, value = (part.reshape(heads, -1) for part in np.split(projected, 3))
            keys[slot] = key, value
        scales, relative = self.single(f"{name}.logit_scale"), self.single("relative")
        exponentials = self.whole("attention_exponentials")
        for slot, h in states.items():
            seen = [s for s in keys if abs(s[0] - slot[0]) <= radius and abs(s[1] - slot[1]) <= radius]
            place = [(s[0] - slot[0] + radius) * (2 * radius + 1) + s[1] - slot[1] + radius for s in seen]
            mixed = []
            for head in range(heads):
                sums = np.array([(queries[slot][head] * keys[s][0][head]).sum() for s in seen])
                a = sums.astype(F) * scales[head] + relative[head, place]
                p = exponentials[np.minimum((a.max() - a).astype(np.int64), len(exponentials) - 1)]
                summed = sum(each * keys[s][1][head] for each, s in zip(p, seen, strict=True))
                share = self.single(f"{name}.value_scale")[0] / F(p.sum())
                mixed.append(clip(np.rint(summed.astype(F) * share).astype(np.int64), 127))
            h = h + self.linear(f"{name}.out", np.concatenate(mixed))
            wide = clip(self.linear(f"{name}.widen", self.norm(h, f"{name}.mlp_gain")), 511)
            states[slot] = h + self.linear(f"{name}.narrow", self.whole(f"{name}.gelu")[511 + wide])

    def frequencies(self, level: int, h: Array) -> list[int]:
        t = self.linear(f"heads.{level}", self.norm(h, "head_gain"))
        table = self.whole("token_exponentials")
        e = table[np.minimum(t.max() - t, len(table) - 1)].astype(np.float64)
        made = 1 + np.floor(e * ((2**24 - len(t)) / e.sum())).astype(np.int64)
        made[t.argmax()] += 2**24 - made.sum()
        return [int(each) for each in made]


def clip(x: Array, limit: int) -> Array:
    return np.clip(x, -limit, limit)
