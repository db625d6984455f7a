"""Tiles cover a picture exactly once, and their halos stay inside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.pictures.tiling import TILE_TOKENS, Area, Span, Tiling, joined, scaled, spans, tiles


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 40), st.integers(1, 200))
def test_spans_cover_a_length_exactly_once(length: int, halo: int, tile: int) -> None:
    made = spans(length, halo, tile)
    assert [place for span in made for place in range(span.inner.start, span.inner.stop)] == list(range(length))
    for span in made:
        assert span.outer.start == max(0, span.inner.start - halo)
        assert span.outer.stop == min(length, span.inner.stop + halo)
        outer = range(length)[span.outer]
        assert outer[span.kept] == range(length)[span.inner]
    sizes = [span.inner.stop - span.inner.start for span in made]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= 1.5 * tile + 1
    assert len(made) == 1 or min(sizes) >= tile // 2


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 1000), st.integers(0, 40), st.integers(20, 200), st.integers(1, 8))
def test_spans_begin_at_multiples_and_still_have_their_halo(length: int, halo: int, tile: int, align: int) -> None:
    made = spans(length, halo, tile, align=align)
    assert [place for span in made for place in range(span.inner.start, span.inner.stop)] == list(range(length))
    for span in made:
        assert span.inner.start % align == span.outer.start % align == 0
        assert span.outer.start <= max(0, span.inner.start - halo)
        assert span.outer.stop >= min(length, span.inner.stop + halo)
        assert span.outer.stop <= length


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9), st.integers(1, 20))
def test_tiles_cover_a_grid_exactly_once(rows: int, cols: int, halo: int, tile: int) -> None:
    times = np.zeros((rows, cols), int)
    for row, col in tiles(rows, cols, halo, tile):
        times[row.inner, col.inner] += 1
    assert (times == 1).all()


@pytest.mark.parametrize(("length", "count"), [(1, 1), (TILE_TOKENS, 1), (143, 1), (145, 2), (192, 2), (300, 3)])
def test_a_picture_is_cut_only_when_it_is_large(length: int, count: int) -> None:
    assert len(spans(length, 4)) == count


def test_scaled_is_in_pixels() -> None:
    assert scaled(slice(3, 5), 16) == slice(48, 80)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(1, 300), st.integers(1, 300), st.sampled_from([1, 2, 4]), st.sampled_from([1, 3, 16]))
def test_bands_are_the_pixels_of_an_area(data: st.DataObject, width: int, height: int, align: int, tile: int) -> None:
    factor = data.draw(st.sampled_from([4, 16]))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    area = Area(left, top, data.draw(st.integers(1, width - left)), data.draw(st.integers(1, height - top)))
    rows, cols = -(-height // factor), -(-width // factor)
    picture = np.random.default_rng(0).integers(0, 256, (rows * factor, cols * factor, 3), np.uint8)

    def paint(row: Span, col: Span, kept: tuple[int, int], target: np.ndarray) -> None:
        outer = picture[scaled(row.outer, factor), scaled(col.outer, factor)]
        target[:] = outer[kept[0] : kept[0] + target.shape[0], kept[1] : kept[1] + target.shape[1]]

    bands = list(Tiling(rows, cols, factor, 1, tile, align).bands(area, paint))
    assert all(len(band) for band in bands)
    assert np.array_equal(joined(bands, area), picture[area.rows, area.columns])
