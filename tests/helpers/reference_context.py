"""The context network of docs/format.md, 5.6, written from the text alone: position by position.

It imports nothing of vqcodec. Whole numbers are int64; single precision only where the text has it.
"""

from __future__ import annotations

from itertools import accumulate, product
from typing import Any

import numpy as np
from reference_decoder import RangeDecoder
from reference_prior import ReferencePrior

Array = Any
Place = tuple[int, int]

CORNERS = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
SIDES = [(-1, 0), (0, -1), (0, 1), (1, 0)]
ALL = [(-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1)]
#: rows and columns modulo 2, and offsets
GROUPS = [((0, 0), []), ((1, 1), CORNERS), ((0, 1), SIDES), ((1, 0), ALL)]


class ReferenceContext:
    """arrays: of entropy.safetensors. config: "context" in the card. prior: of the levels before `first`."""

    def __init__(self, arrays: dict[str, Array], config: dict[str, Any], prior: ReferencePrior | None = None) -> None:
        self.arrays, self.config, self.prior = arrays, config, prior

    def single(self, name: str) -> Array:
        return self.arrays[name].astype(np.float32)

    def whole(self, name: str) -> Array:
        return self.arrays[name].astype(np.int64)

    def linear(self, name: str, x: Array) -> Array:
        """x (in) whole numbers -> whole numbers (out)."""
        sums = (self.whole(f"{name}.weight") * x).sum(axis=1)
        scaled = sums.astype(np.float32) * self.single(f"{name}.scale")
        return np.rint(scaled + self.single(f"{name}.offset")).astype(np.int64)

    def decode_level(
        self,
        level: int,
        rows: int,
        cols: int,
        coarser: list[list[list[int]]],
        decoder: RangeDecoder,
        filled: dict[Place, int],
    ) -> list[int]:
        """All tokens in raster order; coarser: rows of tokens of each level before. filled: by place, tokens that take
        no bits."""
        if level < self.config["first"]:
            assert self.prior is not None
            return self.prior.decode_level(level, rows, cols, coarser, decoder, filled)
        x = {place: self.start(level, place, coarser) for place in product(range(rows), range(cols))}
        for block in range(self.config["blocks"]):
            x = self.block(f"context.{level}.blocks.{block}", x)
        known: dict[Place, int] = {}
        for number, ((odd_row, odd_col), offsets) in enumerate(GROUPS):
            for place in product(range(odd_row, rows, 2), range(odd_col, cols, 2)):
                around = [(place[0] + down, place[1] + right) for down, right in offsets]
                told = [known[other] if other in x else -1 for other in around]
                table = self.frequencies(level, number, x[place], told)
                if place in filled:
                    known[place] = filled[place]
                    continue
                known[place] = decoder.take(table, [0, *accumulate(table)]) if len(table) > 1 else 0
        return [known[place] for place in sorted(known)]

    def start(self, level: int, place: Place, coarser: list[list[list[int]]]) -> Array:
        if level == 0:
            return self.whole("context.0.start")
        summed = 0
        for below, grid in enumerate(coarser):
            step = self.config["factors"][below] // self.config["factors"][level]
            token = grid[place[0] // step][place[1] // step]
            summed = summed + self.whole(f"context.{level}.below.{below}")[token]
        return np.clip(summed, -127, 127)

    def block(self, name: str, x: dict[Place, Array]) -> dict[Place, Array]:
        """Of all positions."""
        outside, made = np.zeros(self.config["channels"], np.int64), {}
        for (row, col), own in x.items():
            around = [x.get((row + down, col + right), outside) for down, right in product((-1, 0, 1), repeat=2)]
            u = np.clip(self.linear(f"{name}.around", np.concatenate(around)), 0, 127)
            made[row, col] = np.clip(own + self.linear(f"{name}.point", u), -127, 127)
        return made

    def frequencies(self, level: int, group: int, h: Array, told: list[int]) -> list[int]:
        """told: the tokens at the offsets, -1 outside the grid."""
        name = f"context.{level}"
        if group:
            near = np.concatenate([self.whole(f"{name}.tokens")[token] for token in told])
            h = np.clip(h + self.linear(f"{name}.near.{group}", near), -127, 127)
        t = self.linear(f"{name}.codes", np.clip(self.linear(f"{name}.inner", h), 0, 127))
        table = self.whole("token_exponentials")
        e = table[np.minimum(t.max() - t, len(table) - 1)].astype(np.float64)
        made = 1 + np.floor(e * ((2**24 - len(t)) / e.sum())).astype(np.int64)
        made[t.argmax()] += 2**24 - made.sum()
        return [int(each) for each in made]
