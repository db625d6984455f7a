"""Whole streams: round trips, and every way in which a stream can be wrong."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import time
import tracemalloc
import zlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from bitstream_helpers import MODEL_ID, ToyPrior, finder, make_model, random_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.bitstream import (
    PRIOR_ID,
    STATIC_ID,
    UNIFORM_ID,
    Boxes,
    CorruptStreamError,
    GridSpec,
    Header,
    LimitExceededError,
    NotAStreamError,
    StaticModel,
    Stream,
    StreamError,
    StreamModel,
    TokenPyramid,
    TrailingDataError,
    TruncatedStreamError,
    UniformModel,
    UnknownModelError,
    UnsupportedVersionError,
    WrongModelError,
    expect_model,
    read_header,
    read_stream,
    write_stream,
)
from vqcodec.bitstream.source import stream_bytes

BOXES = Boxes(icc=b"profile", exif=b"Exif", alpha=b"\1\2\3")


def write(tokens: TokenPyramid, model: StreamModel, width: int, height: int, entropy_id: int = 0) -> bytes:
    return write_stream(tokens, model=model, width=width, height=height, entropy_id=entropy_id)


grid_lists = st.lists(
    st.tuples(st.integers(1, 40), st.integers(1, 40) | st.sampled_from([256, 1000, 1024, 65_536, 70_000])),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(
    grids=grid_lists,
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    levels=st.integers(1, 4),
    entropy_id=st.sampled_from([UNIFORM_ID, STATIC_ID]),
    boxes=st.sampled_from([None, Boxes(), BOXES]),
    seed=st.integers(0, 2**32 - 1),
)
def test_tables_round_trip(
    grids: list[tuple[int, int]], width: int, height: int, levels: int, entropy_id: int, boxes: Boxes | None, seed: int
) -> None:
    model = make_model(grids, seed=seed)
    tokens = random_tokens(model, width, height, min(levels, len(grids)), seed=seed)
    data = write_stream(tokens, model=model, width=width, height=height, entropy_id=entropy_id, boxes=boxes)
    for given_data in (data, bytearray(data), memoryview(data)):
        stream = read_stream(given_data, finder(model))
        assert stream.tokens == tokens
        assert stream.boxes == (boxes or Boxes())
        assert stream.complete
        assert (stream.header.width, stream.header.height) == (width, height)
    info = read_header(data)
    assert info.header == stream.header
    assert info.payload_bytes == stream.payload_bytes
    assert info.total_bytes == len(data)
    assert info.complete
    assert sorted(info.box_bytes) == ([1, 2, 4] if boxes else [])


@settings(max_examples=60, deadline=None)
@given(
    grids=st.lists(st.tuples(st.integers(8, 40), st.integers(1, 50)), min_size=1, max_size=4),
    width=st.integers(1, 90),
    height=st.integers(1, 90),
    seed=st.integers(0, 2**32 - 1),
)
def test_autoregressive_prior_round_trips(grids: list[tuple[int, int]], width: int, height: int, seed: int) -> None:
    model = make_model(grids, seed=seed)
    tokens = random_tokens(model, width, height, len(grids), seed=seed)
    data = write(tokens, model, width, height, PRIOR_ID)
    assert read_stream(data, finder(model)).tokens == tokens


def sample(entropy_id: int = STATIC_ID, boxes: Boxes | None = None) -> tuple[bytes, StreamModel, TokenPyramid]:
    """A stream of three levels for a picture of 100 x 80."""
    model = make_model([(32, 50), (16, 1000), (16, 7)])
    tokens = random_tokens(model, 100, 80, 3)
    data = write_stream(tokens, model=model, width=100, height=80, entropy_id=entropy_id, boxes=boxes)
    return data, model, tokens


@pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID, PRIOR_ID])
@pytest.mark.parametrize("boxes", [None, BOXES])
def test_every_truncation(entropy_id: int, boxes: Boxes | None) -> None:
    data, model, tokens = sample(entropy_id, boxes)
    sizes = read_header(data).payload_bytes
    level_ends = [len(data)]
    for size in reversed(sizes[1:]):
        level_ends.insert(0, level_ends[0] - size - (1 if size < 128 else 2))
    for end in range(len(data)):
        with pytest.raises(TruncatedStreamError):
            read_stream(data[:end], finder(model))
        whole = sum(level_end <= end for level_end in level_ends)
        if whole == 0:
            with pytest.raises(TruncatedStreamError):
                read_stream(data[:end], finder(model), allow_partial=True)
        else:
            stream = read_stream(data[:end], finder(model), allow_partial=True)
            assert not stream.complete
            assert stream.tokens == tokens.truncated(whole)
            assert stream.boxes == (boxes or Boxes())
            info = read_header(data[:end])
            assert not info.complete
            assert info.payload_bytes == sizes[:whole]
            with pytest.raises(TruncatedStreamError):
                read_header(data[:end], allow_partial=False)
    assert read_stream(data, finder(model), allow_partial=True).complete


def assert_change_is_harmless(changed: bytes, model: StreamModel, original: Stream) -> None:
    """``changed`` must raise a StreamError or give the very same picture size, boxes and tokens."""
    try:
        stream = read_stream(changed, finder(model))
    except StreamError:
        return
    assert stream.tokens == original.tokens
    assert stream.boxes == original.boxes
    assert stream.header == original.header


@pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID])
def test_every_change_of_one_byte_of_a_small_stream(entropy_id: int) -> None:
    model = make_model([(16, 7), (16, 5)])
    tokens = random_tokens(model, 33, 40, 2)
    data = write_stream(
        tokens, model=model, width=33, height=40, entropy_id=entropy_id, boxes=Boxes(icc=b"i", alpha=b"a")
    )
    original = read_stream(data, finder(model))
    for position in range(len(data)):
        for value in range(256):
            if value != data[position]:
                changed = data[:position] + bytes([value]) + data[position + 1 :]
                assert_change_is_harmless(changed, model, original)


@pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID, PRIOR_ID])
def test_changes_of_one_byte_of_larger_streams(entropy_id: int) -> None:
    data, model, _ = sample(entropy_id, BOXES)
    original = read_stream(data, finder(model))
    rng = np.random.default_rng(0)
    for position in range(len(data)):
        for difference in {1, 128, *rng.integers(1, 256, size=4).tolist()}:
            changed = data[:position] + bytes([data[position] ^ difference]) + data[position + 1 :]
            assert_change_is_harmless(changed, model, original)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([b"", b"\xf5V", b"\xf5V\x01" + MODEL_ID, b"\xf5V\x81" + MODEL_ID]))
def test_garbage_raises_a_stream_error(garbage: bytes, start: bytes) -> None:
    model = make_model([(16, 40)])
    for allow_partial in (False, True):
        with pytest.raises(StreamError):
            read_stream(start + garbage, finder(model), allow_partial=allow_partial, max_pixels=10**6)


def test_not_a_stream() -> None:
    for data in (b"\x89PNG\r\n\x1a\n", b"{}", b"\xf5W\1", b"\xf6"):
        with pytest.raises(NotAStreamError, match=r"not a \.vq stream"):
            read_header(data)
    for data in (b"", b"\xf5"):
        with pytest.raises(TruncatedStreamError):
            read_header(data)


def test_unsupported_version() -> None:
    data, _, _ = sample()
    for version in (0, 2, 0x7F, 0x82):
        with pytest.raises(UnsupportedVersionError, match=f"version {version & 0x7F}"):
            read_header(data[:2] + bytes([version]) + data[3:])


def test_entropy_model_that_is_not_there() -> None:
    data, model, _ = sample(PRIOR_ID)
    with pytest.raises(UnsupportedVersionError, match="entropy model 2"):
        read_stream(data, lambda _: replace(model, entropy_models={0: UniformModel()}))


def test_trailing_data() -> None:
    data, model, _ = sample()
    with pytest.raises(TrailingDataError, match="3 bytes"):
        read_stream(data + b"\0\0\0", finder(model), allow_partial=True)
    with pytest.raises(TrailingDataError):
        read_header(data + data)


def test_unknown_and_wrong_model() -> None:
    data, model, _ = sample()
    with pytest.raises(UnknownModelError, match="0badcafe"):
        read_stream(data, finder())
    other = replace(model, model_id=b"\1\2\3\4", name="other")
    with pytest.raises(WrongModelError, match=r"0badcafe.*other \(01020304\)"):
        read_stream(data, lambda _: other)
    assert expect_model(MODEL_ID, model) is model


def test_corrupt_stream() -> None:
    data, model, tokens = sample()
    size = read_header(data).header.size_bytes
    changed = data[: size - 1] + bytes([data[size - 1] ^ 1]) + data[size:]
    with pytest.raises(CorruptStreamError, match="checksum"):
        read_stream(changed, finder(model))
    with pytest.raises(CorruptStreamError, match="3 levels, but model test has 1"):
        read_stream(data, lambda _: replace(model, grids=model.grids[:1]))
    retrained = replace(model, entropy_models={1: StaticModel([[2**24 // 50 + (k < 16) for k in range(50)]] * 3)})
    with pytest.raises(StreamError):
        read_stream(write(tokens.truncated(1), model, 100, 80, STATIC_ID), lambda _: retrained)


def test_another_size_with_the_same_grid_is_an_error() -> None:
    data, model, _ = sample()
    assert data[7] == 99
    with pytest.raises(CorruptStreamError, match="checksum"):
        read_stream(data[:7] + bytes([98]) + data[8:], finder(model))


def hostile(width: int, height: int, body: bytes = b"\0", level_count: int = 1) -> bytes:
    """A stream of uniform tokens with a checksum that is right for no tokens."""
    header = Header(MODEL_ID, width, height, level_count, 0)
    return replace(header, checksum=zlib.crc32(header.checked_bytes())).to_bytes() + body


@pytest.mark.parametrize(
    ("width", "height", "factor", "message"),
    [
        (2**20 + 1, 1, 16, "a side has at most"),
        (2**20, 2**11, 16, "at most 1073741824"),
        (2**16, 2**12, 1, "at most 16777216"),
    ],
)
def test_limits_are_checked_before_allocation(width: int, height: int, factor: int, message: str) -> None:
    model = make_model([(factor, 1024)])
    data = hostile(width, height)
    tracemalloc.start()
    try:
        with pytest.raises(LimitExceededError, match=message):
            read_stream(data, finder(model))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_hostile_size_within_the_limits_is_refused_soon() -> None:
    """16384 x 16384 with an empty payload: a million probable tokens, then the checksum."""
    model = make_model([(16, 1024)])
    start = time.perf_counter()
    with pytest.raises(CorruptStreamError, match="checksum"):
        read_stream(hostile(16_384, 16_384), finder(model))
    assert time.perf_counter() - start < 3


def test_max_pixels() -> None:
    data, model, _ = sample()
    with pytest.raises(LimitExceededError, match="raise max_pixels"):
        read_stream(data, finder(model), max_pixels=7999)
    assert read_stream(data, finder(model), max_pixels=8000).complete
    assert read_header(data).complete


def test_stream_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data, model, tokens = sample()
    monkeypatch.setattr("vqcodec.bitstream.layout.MAX_STREAM_BYTES", 40)
    with pytest.raises(LimitExceededError, match="at most 40"):
        read_header(data)
    monkeypatch.setattr("vqcodec.bitstream.layout.MAX_STREAM_BYTES", len(data) - 1)  # the header counts, too
    with pytest.raises(LimitExceededError, match="at most"):
        read_header(data)
    monkeypatch.setattr("vqcodec.bitstream.layout.MAX_STREAM_BYTES", 40)
    with pytest.raises(LimitExceededError, match="at most 40"):
        write(tokens, model, 100, 80)


def test_payload_length_beyond_the_data() -> None:
    model = make_model([(16, 1024)])
    for allow_partial in (False, True):
        with pytest.raises(TruncatedStreamError):
            read_stream(hostile(16, 16, b"\xff\xff\xff\xff\x0f"), finder(model), allow_partial=allow_partial)


def test_writer_refuses_what_does_not_fit() -> None:
    _, model, tokens = sample()
    with pytest.raises(ValueError, match="level 0"):
        write(tokens, model, 200, 80)
    with pytest.raises(ValueError, match="K = 50 was given"):
        write(tokens, make_model([(32, 51)] * 3), 100, 80)
    with pytest.raises(ValueError, match="has 2 levels; 3 were given"):
        write(tokens, replace(model, grids=model.grids[:2]), 100, 80)
    with pytest.raises(ValueError, match="entropy model 9"):
        write(tokens, model, 100, 80, 9)
    with pytest.raises(LimitExceededError, match="split"):
        write(tokens, model, 2**20 + 1, 80)
    with pytest.raises(ValueError, match="at least 1 x 1"):
        write(tokens, model, 0, 80)


def test_header_of_the_largest_ordinary_picture_is_16_bytes() -> None:
    model = make_model([(16_384, 1024)])
    data = write(random_tokens(model, 16_384, 16_384, 1), model, 16_384, 16_384)
    assert len(data) - sum(read_header(data).payload_bytes) - 1 == 16


def test_groups_follow_each_other() -> None:
    """The toy prior asserts that what it looks at is known; without the right order it could not run."""
    model = make_model([(16, 9), (8, 9)])
    tokens = random_tokens(model, 200, 150, 2)
    assert isinstance(model.entropy_models[PRIOR_ID], ToyPrior)
    assert read_stream(write(tokens, model, 200, 150, PRIOR_ID), finder(model)).tokens == tokens


# ---- models, and the package ----


def test_import_loads_no_torch() -> None:
    code = "import sys, vqcodec.bitstream; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GridSpec(0, 2), "f = 0 with K = 2 is outside"),
        (lambda: GridSpec(1, 2**18 + 1), "f = 1 with K = 262145 is outside"),
        (lambda: StreamModel(b"abc", "m", (GridSpec(1, 2),), {}), "a model id has 4 bytes, not 3"),
        (lambda: StreamModel(b"abcd", "m", (), {}), "1 to 16 levels, not 0"),
        (lambda: StreamModel(b"abcd", "m", (GridSpec(1, 2),), {1: UniformModel()}), "uniform has id 0, not 1"),
    ],
)
def test_stream_model_refuses(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_grid_shape_rounds_up() -> None:
    model = StreamModel(b"abcd", "m", (GridSpec(16, 2), GridSpec(5, 2)), {0: UniformModel()})
    assert model.grid_shape(0, 17, 16) == (1, 2)
    assert model.grid_shape(1, 26, 1) == (1, 6)
    assert pickle.loads(pickle.dumps(model)).grids == model.grids


def test_a_stream_that_comes_in_pieces_is_read_to_its_end() -> None:
    class Pipe(io.RawIOBase):
        """Gives as much as a pipe has, not as much as it is asked for."""

        def __init__(self) -> None:
            self.left = [b"one ", b"stream", b""]

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:
            part = self.left.pop(0)
            buffer[: len(part)] = part
            return len(part)

    assert stream_bytes(Pipe()) == b"one stream"
