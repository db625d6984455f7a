"""Large pictures in tiles: each tile with a halo as wide as the receptive field, so that the seams cannot be seen.

The networks have a finite receptive field and normalise each position by itself, so the inner part of a tile is what
the whole picture would give, up to float rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

#: side of a tile, in tokens; a picture of up to this and a half is not cut
TILE_TOKENS: Final = 96


@dataclass(frozen=True)
class Span:
    """Along one axis, in tokens: `inner` is kept; `outer` is computed and contains it."""

    inner: slice
    outer: slice

    @property
    def kept(self) -> slice:
        """`inner`, counted from the start of `outer`."""
        return slice(self.inner.start - self.outer.start, self.inner.stop - self.outer.start)


def scaled(span: slice, factor: int) -> slice:
    """A span of tokens as the span of the pixels that they cover, `factor` a token."""
    return slice(span.start * factor, span.stop * factor)


def reduced(span: slice, stride: int | Fraction) -> slice:
    """From positions of the latent to tokens of a level of this stride."""
    return slice(span.start // stride, -(-span.stop // stride))


def spans(length: int, halo: int | None, tile: int | None = None, *, align: int = 1) -> list[Span]:
    """Cut `length` tokens into nearly equal spans of about `tile`, with a halo of `halo` where there is room.

    Spans begin at multiples of `align`, inner and outer ones. Without a halo, None, there is one span.
    """
    count = 1 if halo is None else max(1, round(length / (tile or TILE_TOKENS)))
    bounds = [number * length // count // align * align for number in range(count)] + [length]
    reach = -(-(halo or 0) // align) * align
    return [
        Span(slice(start, stop), slice(max(0, start - reach), min(length, stop + reach)))
        for start, stop in pairwise(bounds)
    ]


def tiles(
    rows: int, cols: int, halo: int | None, tile: int | None = None, *, align: int = 1
) -> Iterator[tuple[Span, Span]]:
    """The (row, column) spans of every tile of a grid of rows x cols tokens, row by row; arguments as in `spans`."""
    for row_span in spans(rows, halo, tile, align=align):
        for col_span in spans(cols, halo, tile, align=align):
            yield row_span, col_span
