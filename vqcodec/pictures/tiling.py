"""Large pictures in tiles: each tile with a halo as wide as the receptive field, so that the seams cannot be seen.

The networks have a finite receptive field and normalise each position by itself, so the inner part of a tile is what
the whole picture would give, up to float rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

import numpy as np

from vqcodec.pictures.arrays import Pixels

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


def spans(
    length: int, halo: int | None, tile: int | None = None, *, align: int = 1, part: slice | None = None
) -> list[Span]:
    """Cut `length` tokens, or a `part` of them, into nearly equal spans of about `tile`, with a halo of `halo` where
    there is room.

    Spans begin at multiples of `align`, inner and outer ones; so must `part`. Without a halo, None, there is one span.
    """
    start, stop = (0, length) if part is None else (part.start, part.stop)
    count = 1 if halo is None else max(1, round((stop - start) / (tile or TILE_TOKENS)))
    bounds = [start + number * (stop - start) // count // align * align for number in range(count)] + [stop]
    reach = length if halo is None else -(-halo // align) * align
    return [
        Span(slice(first, end), slice(max(0, first - reach), min(length, end + reach)))
        for first, end in pairwise(bounds)
    ]


def tiles(
    rows: int, cols: int, halo: int | None, tile: int | None = None, *, align: int = 1
) -> Iterator[tuple[Span, Span]]:
    """The (row, column) spans of every tile of a grid of rows x cols tokens, row by row; arguments as in `spans`."""
    for row_span in spans(rows, halo, tile, align=align):
        for col_span in spans(cols, halo, tile, align=align):
            yield row_span, col_span


@dataclass(frozen=True)
class Area:
    """A part of a picture, in pixels: its left upper corner, counted from 0, and its size.

    Examples:
        >>> Area(10, 0, 5, 2).columns
        slice(10, 15, None)
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def rows(self) -> slice:
        """Of the picture's pixels."""
        return slice(self.top, self.top + self.height)

    @property
    def columns(self) -> slice:
        """Of the picture's pixels."""
        return slice(self.left, self.left + self.width)

    def grown(self, margin: int) -> Area:
        """With so many pixels more on each side; they may lie beyond the picture."""
        return Area(self.left - margin, self.top - margin, self.width + 2 * margin, self.height + 2 * margin)

    def check_inside(self, width: int, height: int) -> Area:
        """Itself. Raises ValueError unless it has pixels, and all of them are pixels of such a picture."""
        if min(self.width, self.height) < 1 or min(self.left, self.top) < 0:
            raise ValueError(f"a part of {self.width} x {self.height} pixels at {self.left}, {self.top}")
        if self.left + self.width > width or self.top + self.height > height:
            raise ValueError(
                f"{self.width} x {self.height} pixels at {self.left}, {self.top} reach beyond the picture's "
                f"{width} x {height}"
            )
        return self


@dataclass(frozen=True)
class Tiling:
    """How a grid of rows x cols tokens, `factor` pixels a token, is cut. halo, tile, align: as in `spans`."""

    rows: int
    cols: int
    factor: int
    halo: int | None
    tile: int
    align: int

    def bands(self, area: Area, paint: Callable[[Span, Span, tuple[int, int], Pixels], None]) -> Iterator[Pixels]:
        """The pixels (n, area.width, 3) of an area, some rows at a time, from the top.

        paint: the spans of a tile, of which pixel of what the spans' outer parts decode to is the first one wanted
        (row, column), and the pixels to fill from there.
        """
        columns = self._spans(self.cols, area.columns)
        for row in self._spans(self.rows, area.rows):
            kept_rows, here = self._inside(row, area.rows)
            band = np.empty((here.stop - here.start, area.width, 3), np.uint8)
            for col in columns:
                kept_columns, there = self._inside(col, area.columns)
                to = slice(there.start - area.left, there.stop - area.left)
                paint(row, col, (kept_rows, kept_columns), band[:, to])
            yield band

    def _spans(self, length: int, pixels: slice) -> list[Span]:
        start = pixels.start // self.factor // self.align * self.align
        stop = min(length, -(-pixels.stop // self.factor // self.align) * self.align)
        cut = spans(length, self.halo, self.tile, align=self.align, part=slice(start, stop))
        return [span for span in cut if self._inside(span, pixels)[1].start < self._inside(span, pixels)[1].stop]

    def _inside(self, span: Span, pixels: slice) -> tuple[int, slice]:
        """Where the wanted pixels of a span begin in what it decodes to, and which of the picture they are."""
        inner = scaled(span.inner, self.factor)
        wanted = slice(max(inner.start, pixels.start), min(inner.stop, pixels.stop))
        return wanted.start - span.outer.start * self.factor, wanted


def joined(bands: Iterable[Pixels], area: Area) -> Pixels:
    """The pixels (area.height, area.width, channels) of all bands."""
    whole, at = np.empty((area.height, area.width, 0), np.uint8), 0
    for band in bands:
        if not at:
            whole = np.empty((area.height, area.width, band.shape[2]), np.uint8)
        whole[at : at + len(band)] = band
        at += len(band)
    return whole
