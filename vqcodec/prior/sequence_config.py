"""The shape of a prior that is a plain sequence model, as other projects publish them. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final, Literal

KINDS: Final = ("taming", "llamagen")


@dataclass(frozen=True)
class SequenceConfig:
    """A transformer over the tokens of one level, one after the other, after a first token that says the class.

    kind: "taming", the GPT of taming-transformers with learned positions, or "llamagen", with positions by rotation.
    codes: K. factor: pixels a token, each way. hidden: width of the MLP. positions: tokens that it can hold, the first
    one with them for "taming"; a square grid for "llamagen". classes: how many, 0 for none. order: the place in raster
    order of each token of the sequence, () for raster order itself. base: of the rotations. kv_heads: of keys and
    values, which heads share. Raises ValueError.
    """

    kind: Literal["taming", "llamagen"]
    codes: int
    factor: int
    width: int
    depth: int
    heads: int
    hidden: int
    positions: int
    classes: int = 0
    order: tuple[int, ...] = ()
    base: float = 10000.0
    kv_heads: int = 0

    #: as of `PriorConfig`: it is told nothing but the class, of one level
    condition = None
    levels = 1

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"prior {self.kind!r}: there are {', '.join(KINDS)}")
        counts = (self.codes, self.factor, self.width, self.depth, self.heads, self.hidden, self.positions)
        if min(counts) < 1 or self.width % self.heads or self.heads % (self.kv_heads or self.heads):
            raise ValueError(f"a prior of impossible shape: {counts}, {self.kv_heads or self.heads} heads of keys")
        if min(self.classes, self.kv_heads) < 0:
            raise ValueError(f"{self.classes} classes, {self.kv_heads} heads of keys: take 0 or more")
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError("the order of a prior must name each place once")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SequenceConfig:
        """From `to_dict`, or what JSON makes of it. Raises TypeError for unknown names."""
        return cls(**values | {"order": tuple(values.get("order", ()))})

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """(K,)."""
        return (self.codes,)

    @property
    def factors(self) -> tuple[int, ...]:
        """(f,)."""
        return (self.factor,)

    def refusal(self, rows: int, cols: int) -> str:
        """Why it cannot predict a grid of this size, in words; "" where it can."""
        side = int(self.positions**0.5)
        if self.kind == "llamagen" and (rows, cols) != (side, side):
            return f"it knows pictures of {side * self.factor} x {side * self.factor} pixels only"
        if self.order and rows * cols != len(self.order):
            return f"its order is one of {len(self.order)} tokens, not of {rows} x {cols}"
        if rows * cols > self.positions:
            return f"{rows} x {cols} tokens are more than the {self.positions} that it can hold"
        return ""
