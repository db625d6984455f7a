"""A finest level with tokens in some blocks only: what is written is read, and damage is told."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from bitstream_helpers import finder, make_model, random_tokens
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_decoder import decode_stream

from vqcodec.bitstream import (
    PRIOR_ID,
    STATIC_ID,
    UNIFORM_ID,
    Boxes,
    BoxType,
    CodingContext,
    CorruptStreamError,
    PartialLevel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UnsupportedVersionError,
    read_header,
    read_stream,
    truncated_sizes,
    truncated_stream,
    write_stream,
)
from vqcodec.bitstream.boxes import box_section, split_boxes
from vqcodec.bitstream.partial import block_shape, read_partial
from vqcodec.bitstream.wire import Reader

GRIDS = [(16, 30), (8, 12), (8, 300)]
WIDTH, HEIGHT, SIDE = 150, 70, 32


def with_filler(tokens: TokenPyramid, partial: PartialLevel, factor: int) -> TokenPyramid:
    """The same tokens, but the filler where the finest level has none."""
    finest = tokens.levels[-1]
    mask = partial.tokens(factor, finest.shape).mask
    indices = np.where(mask, finest.indices, partial.filler)
    return TokenPyramid((*tokens.levels[:-1], TokenGrid(indices, finest.codebook_size)))


def blocks(seed: int = 0, side: int = SIDE, filler: int = 7) -> PartialLevel:
    coded = np.random.default_rng(seed).random(block_shape(side, WIDTH, HEIGHT)) < 0.5
    coded.flat[0], coded.flat[-1] = True, False
    return PartialLevel(side, coded, filler)


def made(
    partial: PartialLevel, entropy_id: int = STATIC_ID, *, levels: int = 3, region_side: int = 0
) -> tuple[StreamModel, TokenPyramid, bytes]:
    model = make_model(GRIDS)
    tokens = with_filler(random_tokens(model, WIDTH, HEIGHT, levels, seed=3), partial, GRIDS[levels - 1][0])
    stream = write_stream(
        tokens,
        model=model,
        width=WIDTH,
        height=HEIGHT,
        entropy_id=entropy_id,
        boxes=Boxes(icc=b"profile"),
        region_side=region_side,
        blocks=partial,
    )
    return model, tokens, stream


@pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID, PRIOR_ID])
@pytest.mark.parametrize("region_side", [0, 64])
@pytest.mark.parametrize("levels", [2, 3])
def test_round_trip(entropy_id: int, region_side: int, levels: int) -> None:
    partial = blocks()
    model, tokens, stream = made(partial, entropy_id, levels=levels, region_side=region_side)
    read = read_stream(stream, finder(model))
    assert (read.tokens, read.blocks, read.boxes) == (tokens, partial, Boxes(icc=b"profile"))
    info = read_header(stream)
    assert info.blocks == partial
    assert info.box_bytes[BoxType.PARTIAL_LEVEL] == len(partial.to_bytes())


@pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID])
@pytest.mark.parametrize("region_side", [0, 64])
def test_the_reference_reads_it(entropy_id: int, region_side: int) -> None:
    model, tokens, stream = made(blocks(), entropy_id, region_side=region_side)
    static = model.entropy_models[STATIC_ID]
    tables = [
        static.begin_level(CodingContext(level, grid.shape, grid.codebook_size, (), grid.indices.astype(np.int32)))
        .frequencies(np.arange(1))[0]
        .tolist()
        for level, grid in enumerate(tokens.levels)
    ]
    assert decode_stream(stream, GRIDS, tables).levels == [grid.indices.tolist() for grid in tokens.levels]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000), st.sampled_from([8, 16, 24, 64, 120]), st.sampled_from([UNIFORM_ID, STATIC_ID, PRIOR_ID])
)
def test_any_blocks(seed: int, side: int, entropy_id: int) -> None:
    partial = blocks(seed, side)
    model, tokens, stream = made(partial, entropy_id)
    assert read_stream(stream, finder(model)).tokens == tokens


def test_tokens_that_are_not_there_take_no_bits() -> None:
    """With equal frequencies the payload is as long as the coded tokens ask for."""
    few, many = (PartialLevel(SIDE, np.arange(15).reshape(3, 5) < count, 7) for count in (1, 14))
    sizes = [read_header(made(partial, UNIFORM_ID)[2]).payload_bytes[-1] for partial in (few, many)]
    for size, partial in zip(sizes, (few, many), strict=True):
        tokens = int(partial.tokens(8, (9, 19)).mask.sum())
        assert 0 <= size - tokens * np.log2(300) / 8 <= 4


def test_a_part_is_read_as_with_the_rest() -> None:
    partial = blocks()
    model, tokens, stream = made(partial, region_side=64)
    read = read_stream(stream, finder(model), wanted=(slice(0, 20), slice(70, 80))).tokens.levels[-1]
    assert np.array_equal(read.indices[:8, 8:16], tokens.levels[-1].indices[:8, 8:16])
    assert not read.indices[:, :8].any()


@pytest.mark.parametrize("region_side", [0, 64])
def test_fewer_levels_have_no_blocks(region_side: int) -> None:
    model, tokens, stream = made(blocks(), region_side=region_side)
    shorter = truncated_stream(stream, finder(model), 2)
    assert len(shorter) == truncated_sizes(stream)[1]
    whole = write_stream(
        TokenPyramid(tokens.levels[:2]),
        model=model,
        width=WIDTH,
        height=HEIGHT,
        entropy_id=STATIC_ID,
        boxes=Boxes(icc=b"profile"),
        region_side=region_side,
    )
    assert shorter == whole
    assert truncated_stream(stream, finder(model), 3) == stream
    assert truncated_sizes(stream)[-1] == len(stream)


def test_without_other_boxes_fewer_levels_have_none() -> None:
    model, partial = make_model(GRIDS), blocks()
    tokens = with_filler(random_tokens(model, WIDTH, HEIGHT, 3, seed=3), partial, 8)
    plain = {"model": model, "width": WIDTH, "height": HEIGHT, "entropy_id": STATIC_ID}
    stream = write_stream(tokens, blocks=partial, **plain)
    shorter = truncated_stream(stream, finder(model), 1)
    assert shorter == write_stream(TokenPyramid(tokens.levels[:1]), **plain)
    assert len(shorter) == truncated_sizes(stream)[0]


def test_levels_of_a_stream_that_is_cut_off() -> None:
    model, tokens, stream = made(blocks())
    for cut in (len(stream) - 1, len(stream) - read_header(stream).payload_bytes[-1] - 1):
        read = read_stream(stream[:cut], finder(model), allow_partial=True)
        assert read.tokens.levels == tokens.levels[:2]
        assert read_header(stream[:cut]).blocks is None
        assert read.blocks is None


@pytest.mark.parametrize("coded", [np.ones((2, 2), bool), np.zeros((2, 2), bool), np.ones(3, bool)])
def test_all_blocks_or_none_is_no_part(coded: np.ndarray) -> None:
    with pytest.raises(ValueError, match="at least one has tokens, and not all"):
        PartialLevel(32, coded, 0)
    with pytest.raises(ValueError, match="blocks of 0 pixels"):
        PartialLevel(0, np.array([[True, False]]), 0)
    assert PartialLevel(32, np.array([[1, 0]]), 0).coded.dtype == bool


@pytest.mark.parametrize(
    ("partial", "message"),
    [
        (replace(blocks(), side=12), "do not go with a picture"),
        (PartialLevel(SIDE, np.array([[True, False]]), 7), "do not go with a picture"),
        (replace(blocks(), filler=8), "tokens outside the coded blocks are 8"),
    ],
)
def test_the_writer_refuses(partial: PartialLevel, message: str) -> None:
    model = make_model(GRIDS)
    tokens = with_filler(random_tokens(model, WIDTH, HEIGHT, 3, seed=3), blocks(), 8)
    with pytest.raises(ValueError, match=message):
        write_stream(tokens, model=model, width=WIDTH, height=HEIGHT, entropy_id=STATIC_ID, blocks=partial)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b"\x00\x07\x80\x00", "blocks of 0 pixels"),
        (b"\x20\x07\x80", "damaged"),
        (b"\x20\x07\x80\x00\x00", "1 bytes too many"),
        (b"\x20\x07\x80\x01", "more blocks than the picture"),
        (b"\x20\x07\xff\xfe", "at least one has tokens, and not all"),
        (b"\x20\x07\x00\x00", "at least one has tokens, and not all"),
    ],
)
def test_the_box_refuses(content: bytes, message: str) -> None:
    with pytest.raises(CorruptStreamError, match=message):
        read_partial(memoryview(content), WIDTH, HEIGHT)


def test_more_blocks_than_tokens_are_not_read() -> None:
    with pytest.raises(CorruptStreamError, match="16781312 blocks, more than a picture has tokens"):
        read_partial(memoryview(b"\x01\x00" + bytes(1 << 22)), 4097, 4096)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\x0c\x07", "do not hold whole tokens"), (b"\x20\xac\x02", "has token 300 of 300")],
)
def test_the_reader_refuses_what_the_model_does_not_have(content: bytes, message: str) -> None:
    model, _, stream = made(blocks())
    count = np.prod(block_shape(content[0], WIDTH, HEIGHT))
    content += b"\x80" + bytes(-(-int(count) // 8) - 1)
    with pytest.raises(CorruptStreamError, match=message):
        read_stream(with_box(stream, content), finder(model))


def test_the_only_level_has_tokens_everywhere() -> None:
    with pytest.raises(ValueError, match="the only level has tokens everywhere"):
        made(blocks(), levels=1)
    model, _, stream = made(blocks())
    alone = truncated_stream(stream, finder(model), 1)
    with pytest.raises(CorruptStreamError, match="of a stream with one level"):
        read_stream(with_box(alone, blocks().to_bytes()), finder(model))


def test_the_checksum_is_of_the_box_too() -> None:
    """With one code, other blocks leave all tokens as they are."""
    model = make_model([(16, 30), (8, 1)])
    tokens = TokenPyramid((random_tokens(model, 100, 40, 1, seed=3).levels[0], TokenGrid(np.zeros((5, 13), int), 1)))
    first, second = (PartialLevel(64, np.array(coded), 0) for coded in ([[True, False]], [[False, True]]))
    stream = write_stream(tokens, model=model, width=100, height=40, entropy_id=UNIFORM_ID, blocks=first)
    assert read_stream(stream, finder(model)).blocks == first
    with pytest.raises(CorruptStreamError, match="checksum"):
        read_stream(with_box(stream, second.to_bytes()), finder(model))


def test_large_blocks_take_no_more_than_the_picture() -> None:
    """Of 2^19 pixels on a picture that is one pixel high."""
    model = make_model([(16, 1), (8, 1)])
    width, partial = 1 << 20, PartialLevel(1 << 19, np.array([[True, False]]), 0)
    tokens = TokenPyramid((TokenGrid(np.zeros((1, width // 16), int), 1), TokenGrid(np.zeros((1, width // 8), int), 1)))
    stream = write_stream(tokens, model=model, width=width, height=1, entropy_id=UNIFORM_ID, blocks=partial)
    assert len(stream) < 40
    tracemalloc.start()
    read = read_stream(stream, finder(model))
    assert tracemalloc.get_traced_memory()[1] < 100 * width
    tracemalloc.stop()
    assert read.grids(2)[1][0, width // 16 - 1 : width // 16 + 1].tolist() == [0, -1]


def test_grids_as_networks_take_them() -> None:
    partial = blocks()
    model, tokens, stream = made(partial)
    read = read_stream(stream, finder(model))
    mask = partial.tokens(8, tokens.levels[-1].shape).mask
    finest = read.grids(3)[-1]
    assert np.array_equal(finest[mask], tokens.levels[-1].indices[mask])
    assert (finest[~mask] == -1).all()
    assert all(map(np.array_equal, read.grids(2), [grid.indices for grid in tokens.levels[:2]]))


def test_a_reader_of_before_says_that_it_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vqcodec.bitstream.boxes._READABLE", tuple(kind for kind in BoxType if kind < 6))
    with pytest.raises(UnsupportedVersionError, match="install a newer vqcodec"):
        read_header(made(blocks())[2])


def with_box(stream: bytes, content: bytes) -> bytes:
    """The same stream with another box of blocks."""
    header = read_header(stream).header.size_bytes
    reader = Reader(stream[header:])
    stored = dict(split_boxes(reader))
    rest = stream[header + reader.position :]
    return stream[:header] + box_section({**stored, BoxType.PARTIAL_LEVEL: content}) + rest
