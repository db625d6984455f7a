"""Entropy models that code whole levels by themselves: asked where they offer it, with the same streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from vqcodec.bitstream import CodingContext, CorruptStreamError, LevelModel, TokenGrid, UniformModel
from vqcodec.bitstream.coder import decode_level, decode_levels, encode_level, encode_levels
from vqcodec.bitstream.entropy_models import CodedTokens, WholeLevels

SIZES = (5, 300)
SHAPES = [(2, 3), (4, 6)]
LEVELS = tuple(
    TokenGrid(np.random.default_rng(size).integers(0, size, shape), size)
    for size, shape in zip(SIZES, SHAPES, strict=True)
)
PAYLOADS = encode_levels(LEVELS, UniformModel())


@dataclass
class Whole:
    """Knows the stream by heart."""

    asked: list[str] = field(default_factory=list)
    damaged: bool = False

    def encode(self, levels: Sequence[TokenGrid], first: int, coded: CodedTokens | None = None) -> Sequence[bytes]:
        self.asked.append(f"encode {first} to {len(levels)}" + (" in part" if coded else ""))
        return PAYLOADS[first : len(levels)]

    def decode(
        self, payloads: Sequence[bytes], coarser: Sequence[TokenGrid], coded: CodedTokens | None = None
    ) -> Sequence[npt.NDArray[np.integer]] | None:
        self.asked.append(f"decode {len(payloads)} after {len(coarser)}" + (" in part" if coded else ""))
        return None if self.damaged else [grid.indices for grid in LEVELS[len(coarser) :]][: len(payloads)]


class Offering(UniformModel):
    """The uniform model, which codes whole levels if it has any, and nothing else then."""

    def __init__(self, whole: Whole | None) -> None:
        self.whole = whole

    def whole_levels(self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]) -> WholeLevels | None:
        assert (list(shapes), tuple(codebook_sizes)) == (SHAPES[: len(shapes)], SIZES[: len(shapes)])
        return self.whole

    def begin_level(self, context: CodingContext) -> LevelModel:
        assert self.whole is None
        return super().begin_level(context)


def decoded(model: UniformModel, level: int) -> TokenGrid:
    return decode_level(
        PAYLOADS[level],
        model,
        level=level,
        shape=SHAPES[level],
        codebook_size=SIZES[level],
        coarser=LEVELS[:level],
    )


def test_whole_levels_are_asked_for_where_they_are_offered() -> None:
    whole = Whole()
    model = Offering(whole)
    assert encode_levels(LEVELS, model) == PAYLOADS
    assert encode_level(LEVELS[1], model, level=1, coarser=LEVELS[:1]) == PAYLOADS[1]
    assert decode_levels(PAYLOADS, model, shapes=SHAPES, codebook_sizes=SIZES) == LEVELS
    assert decoded(model, 1) == LEVELS[1]
    coded = CodedTokens(np.ones(SHAPES[1], bool), 0)
    assert encode_levels(LEVELS, model, coded) == PAYLOADS
    assert decode_levels(PAYLOADS, model, shapes=SHAPES, codebook_sizes=SIZES, coded=coded) == LEVELS
    assert whole.asked == [
        "encode 0 to 2",
        "encode 1 to 2",
        "decode 2 after 0",
        "decode 1 after 1",
        "encode 0 to 2 in part",
        "decode 2 after 0 in part",
    ]


def test_group_by_group_where_they_are_not() -> None:
    for model in (UniformModel(), Offering(None)):
        assert encode_levels(LEVELS, model) == PAYLOADS
        assert decode_levels(PAYLOADS, model, shapes=SHAPES, codebook_sizes=SIZES) == LEVELS
        assert decoded(model, 1) == LEVELS[1]


@pytest.mark.parametrize(
    ("whole", "payload", "message"),
    [
        (Whole(damaged=True), b"", "no output of the range coder"),
        (Whole(), b"\1\0", "level 0 ends in a zero byte"),
        (Whole(), b"\1" * 33, "level 0 has 33 payload bytes for 6 tokens"),
    ],
)
def test_damaged_payloads_are_refused(whole: Whole, payload: bytes, message: str) -> None:
    with pytest.raises(CorruptStreamError, match=message):
        decode_levels([payload, PAYLOADS[1]], Offering(whole), shapes=SHAPES, codebook_sizes=SIZES)
