"""Regions: every part of a picture is read alone as it is read with the rest, and damage is told."""

from __future__ import annotations

import numpy as np
import pytest
from bitstream_helpers import finder, make_model, random_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.bitstream import (
    PRIOR_ID,
    STATIC_ID,
    UNIFORM_ID,
    Boxes,
    BoxType,
    CorruptStreamError,
    StreamModel,
    read_header,
    read_stream,
    truncated_sizes,
    truncated_stream,
    write_stream,
)
from vqcodec.bitstream.boxes import box_section, split_boxes
from vqcodec.bitstream.regions import RegionIndex, parts, read_index
from vqcodec.bitstream.wire import Reader

GRIDS = [(16, 30), (8, 12), (8, 5)]
WIDTH, HEIGHT, SIDE = 150, 70, 32


def made(
    entropy_id: int = STATIC_ID, *, side: int = SIDE, boxes: Boxes | None = None, levels: int = 3
) -> tuple[StreamModel, bytes]:
    model = make_model(GRIDS)
    tokens = random_tokens(model, WIDTH, HEIGHT, levels, seed=3)
    stream = write_stream(
        tokens, model=model, width=WIDTH, height=HEIGHT, entropy_id=entropy_id, boxes=boxes, region_side=side
    )
    return model, stream


@pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID, PRIOR_ID])
@pytest.mark.parametrize("side", [16, 32, 48, 112, 144])
def test_round_trip(entropy_id: int, side: int) -> None:
    model, stream = made(entropy_id, side=side, boxes=Boxes(icc=b"profile"))
    read = read_stream(stream, finder(model))
    assert read.tokens == random_tokens(model, WIDTH, HEIGHT, 3, seed=3)
    assert read.boxes == Boxes(icc=b"profile")
    info = read_header(stream)
    assert info.region_side == side
    assert sum(info.payload_bytes) + info.box_bytes[BoxType.TILE_INDEX] < len(stream)


@pytest.mark.parametrize("side", [0, 160, 1024])
def test_one_region_is_no_index(side: int) -> None:
    assert made(side=side)[1] == made(side=0)[1]
    assert read_header(made(side=side)[1]).region_side == 0


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from([STATIC_ID, PRIOR_ID]))
def test_a_part_is_read_as_with_the_rest(data: st.DataObject, entropy_id: int) -> None:
    model, stream = made(entropy_id)
    whole = read_stream(stream, finder(model)).tokens
    top, left = data.draw(st.integers(-40, HEIGHT - 1)), data.draw(st.integers(-40, WIDTH - 1))
    bottom, right = data.draw(st.integers(max(1, top + 1), 200)), data.draw(st.integers(max(1, left + 1), 200))
    read = read_stream(stream, finder(model), wanted=(slice(top, bottom), slice(left, right))).tokens
    for grid, all_of_it, (factor, _) in zip(read.levels, whole.levels, GRIDS, strict=True):
        known = np.zeros(grid.shape, bool)
        for rows, columns in parts(WIDTH, HEIGHT, SIDE):
            if rows.start < bottom and top < rows.stop and columns.start < right and left < columns.stop:
                known[
                    rows.start // factor : -(-rows.stop // factor), columns.start // factor : -(-columns.stop // factor)
                ] = True
        assert np.array_equal(grid.indices, np.where(known, all_of_it.indices, 0))


def test_damage_elsewhere_is_not_read() -> None:
    model, stream = made()
    damaged = bytearray(stream)
    damaged[-index_of(stream).lengths[-1][-1]] ^= 0x5A  # the first byte of the last region's last level
    wanted = slice(0, 10), slice(0, 10)
    assert read_stream(damaged, finder(model), wanted=wanted).tokens.levels[0].indices[0, 0] >= 0
    with pytest.raises(CorruptStreamError, match="checksum"):
        read_stream(damaged, finder(model))
    with pytest.raises(CorruptStreamError, match="checksum of region 14"):
        read_stream(damaged, finder(model), wanted=(slice(60, 70), slice(140, 150)))


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_truncation_makes_the_stream_of_fewer_levels(levels: int) -> None:
    model, stream = made(PRIOR_ID, boxes=Boxes(xmp=b"x"))
    assert truncated_stream(stream, finder(model), levels) == made(PRIOR_ID, boxes=Boxes(xmp=b"x"), levels=levels)[1]
    assert truncated_sizes(stream)[levels - 1] == len(truncated_stream(stream, finder(model), levels))


def test_whole_levels_of_a_stream_that_is_cut_off() -> None:
    model, stream = made()
    whole = read_stream(stream, finder(model)).tokens
    cut = read_stream(stream[:-2], finder(model), allow_partial=True)
    assert not cut.complete
    assert cut.tokens.levels == whole.levels[:2]
    part = read_stream(stream[:-2], finder(model), allow_partial=True, wanted=(slice(0, 1), slice(0, 1)))
    assert np.array_equal(part.tokens.levels[1].indices[:4, :4], whole.levels[1].indices[:4, :4])


@pytest.mark.parametrize("side", [-16, 8, 24, 100])
def test_sides_that_hold_no_whole_tokens(side: int) -> None:
    with pytest.raises(ValueError, match="their side is a multiple of 16"):
        made(side=side)


def with_index(stream: bytes, index: bytes) -> bytes:
    """With another index; the checksum stays as it was."""
    start = read_header(stream).header.size_bytes
    reader = Reader(stream[start:])
    boxes = split_boxes(reader)
    return stream[:start] + box_section({**boxes, BoxType.TILE_INDEX: index}) + stream[start + reader.position :]


def index_of(stream: bytes) -> RegionIndex:
    boxes = split_boxes(Reader(stream[read_header(stream).header.size_bytes :]))
    return read_index(boxes[BoxType.TILE_INDEX], WIDTH, HEIGHT, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: b"", "TILE_INDEX box is empty"),
        (lambda index: b"\0" + index.to_bytes()[1:], "regions of 0 pixels"),
        (lambda index: b"\x96\1" + index.to_bytes()[1:], "regions of 150 pixels"),
        (lambda index: b"\1" + index.to_bytes()[1:], "too short for 10500 regions"),
        (lambda index: index.to_bytes()[:-1], "damaged"),
        (lambda index: index.to_bytes() + b"\1", "1 bytes too many"),
        (lambda index: RegionIndex(SIDE, index.checksums, ((0,) * 15, *index.lengths[1:])).to_bytes(), "add up"),
        (lambda index: RegionIndex(33, index.checksums, index.lengths).to_bytes(), "no whole tokens|whole tokens"),
        (lambda index: RegionIndex(SIDE, (7, *index.checksums[1:]), index.lengths).to_bytes(), "region 0"),
    ],
)
def test_damaged_indices(change: object, message: str) -> None:
    model, stream = made()
    assert callable(change)
    damaged = with_index(stream, change(index_of(stream)))
    with pytest.raises(CorruptStreamError, match=message):
        read_stream(damaged, finder(model))


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_any_index_is_read_or_refused(content: bytes) -> None:
    model, stream = made()
    with pytest.raises(CorruptStreamError):
        read_stream(with_index(stream, content), finder(model))
