"""Tokens, frequencies, header, varints, boxes: the parts by themselves."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

import vqcodec.bitstream as bitstream
from vqcodec.bitstream import (
    Boxes,
    BoxType,
    CodingContext,
    CorruptStreamError,
    GridSpec,
    Header,
    LimitExceededError,
    StaticModel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    TruncatedStreamError,
    UniformModel,
    UnsupportedVersionError,
    quantise_frequencies,
)
from vqcodec.bitstream import limits as limits_module
from vqcodec.bitstream.boxes import decode_boxes, encode_boxes, split_boxes
from vqcodec.bitstream.frequencies import uniform_frequencies
from vqcodec.bitstream.header import read_header_fields
from vqcodec.bitstream.wire import Reader, encode_varint


def test_public_names_exist_and_are_sorted() -> None:
    assert all(hasattr(bitstream, name) for name in bitstream.__all__)
    assert len(set(bitstream.__all__)) == len(bitstream.__all__)


def test_import_loads_no_torch() -> None:
    code = "import sys, vqcodec.bitstream; sys.exit('torch' in sys.modules or 'PIL' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("codebook_size", "dtype"), [(1, "u1"), (256, "u1"), (257, "u2"), (65_536, "u2"), (65_537, "u4")]
)
def test_token_grid_keeps_a_read_only_copy(codebook_size: int, dtype: str) -> None:
    values = np.zeros((2, 3), dtype=np.int64)
    grid = TokenGrid(values, codebook_size)
    values[0, 0] = codebook_size - 1
    assert grid.indices.dtype == np.dtype(dtype)
    assert not grid.indices.any()
    assert grid.shape == (2, 3)
    with pytest.raises(ValueError, match="read-only"):
        grid.indices[0, 0] = 0


def test_token_grid_compares_by_value() -> None:
    one = TokenGrid(np.array([[1, 2]], dtype=np.int32), 300)
    same = TokenGrid(np.array([[1, 2]], dtype=np.uint8), 300)
    assert one == same
    assert hash(one) == hash(same)
    assert one != TokenGrid(np.array([[1, 3]]), 300)
    assert one != TokenGrid(np.array([[1, 2]]), 301)
    assert one != TokenGrid(np.array([[1], [2]]), 300)
    assert one != "tokens"
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    ("indices", "codebook_size", "message"),
    [
        ([[4]], 4, "outside"),
        ([[-1]], 4, "outside"),
        ([1], 4, "rows, cols"),
        ([[]], 4, "integers"),
        (np.zeros((0, 4), dtype=int), 4, "rows, cols"),
        ([[1.0]], 4, "integers"),
        ([[0]], 0, "codebook"),
        ([[0]], 2**18 + 1, "codebook"),
    ],
)
def test_token_grid_refuses(indices: npt.NDArray[np.int64], codebook_size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TokenGrid(indices, codebook_size)


def test_pyramid_truncates() -> None:
    grids = tuple(TokenGrid(np.full((1, level + 1), level), 9) for level in range(3))
    pyramid = TokenPyramid(grids)
    assert pyramid.truncated(2) == TokenPyramid(grids[:2])
    assert (len(pyramid), pyramid.token_count) == (3, 6)
    for levels in (0, 4):
        with pytest.raises(ValueError, match="levels"):
            pyramid.truncated(levels)
    for count in (0, 17):
        with pytest.raises(ValueError, match="levels"):
            TokenPyramid(grids[:1] * count)


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=200), st.integers(8, 24))
def test_quantised_frequencies_sum_exactly(counts: list[int], total_bits: int) -> None:
    frequencies = quantise_frequencies(counts, total_bits)
    assert frequencies.sum() == 2**total_bits
    assert frequencies.min() >= 1
    total, free = sum(counts), 2**total_bits - len(counts)
    if total:
        assert all(abs(int(f) - 1 - c * free / total) < 1 for f, c in zip(frequencies, counts, strict=True))


def test_quantised_frequencies_by_hand() -> None:
    assert quantise_frequencies([0, 0, 0], 4).tolist() == [6, 5, 5]
    assert quantise_frequencies([[3, 1, 0], [0, 0, 7]], 4).tolist() == [[11, 4, 1], [1, 1, 14]]
    assert quantise_frequencies([5]).tolist() == [2**24]


@pytest.mark.parametrize(
    ("counts", "total_bits"), [([-1, 2], 24), ([1.5], 24), ([], 24), ([1, 1, 1], 1), ([2**39], 24), ([2**38] * 2, 24)]
)
def test_quantise_frequencies_refuses(counts: list[int], total_bits: int) -> None:
    with pytest.raises(ValueError, match=r"counts|fit"):
        quantise_frequencies(counts, total_bits)


def test_uniform_frequencies_refuses() -> None:
    with pytest.raises(ValueError, match="codebook"):
        uniform_frequencies(0)


@pytest.mark.parametrize("tables", [[], [[2**24 - 1]], [[0, 2**24]], [[[2**24]]], [[2.0**24]], [[]]])
def test_static_model_refuses(tables: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="table"):
        StaticModel(tables)


def test_static_model_refuses_a_level_it_was_not_made_for() -> None:
    model = StaticModel([[2**23, 2**23]])
    known = np.full((1, 1), -1, dtype=np.int32)
    with pytest.raises(ValueError, match="has 1 levels; level 1 was asked for"):
        model.begin_level(CodingContext(1, (1, 1), 2, (), known))
    with pytest.raises(ValueError, match="codebook has 3"):
        model.begin_level(CodingContext(0, (1, 1), 3, (), known))


@given(st.integers(0, 2**32 - 1))
def test_varint_round_trips(value: int) -> None:
    data = encode_varint(value)
    assert Reader(data).varint("number") == value
    assert len(data) == max(1, -(-value.bit_length() // 7))
    for cut in range(len(data)):
        with pytest.raises(TruncatedStreamError):
            Reader(data[:cut]).varint("number")


@pytest.mark.parametrize("data", ["8000", "ff00", "ffffffff10", "ffffffffff01", "808080808000"])
def test_varint_refuses(data: str) -> None:
    with pytest.raises(CorruptStreamError):
        Reader(bytes.fromhex(data)).varint("number")
    with pytest.raises(ValueError, match="varint"):
        encode_varint(2**32)


def header(**changes: object) -> Header:
    values: dict[str, object] = {
        "model_id": b"abcd",
        "width": 1,
        "height": 1,
        "level_count": 1,
        "entropy_id": 0,
        "checksum": 0,
    }
    return Header(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("width", "height", "size_bytes"),
    [(1, 1, 14), (128, 128, 14), (129, 128, 15), (768, 512, 16), (16_384, 16_384, 16), (16_385, 1, 16), (2**20, 1, 16)],
)
def test_header_size(width: int, height: int, size_bytes: int) -> None:
    assert header(width=width, height=height, level_count=16, entropy_id=15).size_bytes == size_bytes


@given(
    st.builds(
        Header,
        model_id=st.binary(min_size=4, max_size=4),
        width=st.integers(1, 2**20),
        height=st.integers(1, 2**20),
        level_count=st.integers(1, 16),
        entropy_id=st.integers(0, 15),
        has_boxes=st.booleans(),
        checksum=st.integers(0, 2**32 - 1),
    )
)
def test_header_round_trips(value: Header) -> None:
    assert read_header_fields(Reader(value.to_bytes())) == value
    assert value.to_bytes()[:-4] == value.checked_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"model_id": b"abc"},
        {"width": 0},
        {"height": -1},
        {"level_count": 0},
        {"level_count": 17},
        {"entropy_id": 16},
        {"checksum": 2**32},
        {"version": 2},
    ],
)
def test_header_refuses(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        header(**changes)


def read_boxes(data: bytes) -> Boxes:
    return decode_boxes(split_boxes(Reader(data)))


@given(*[st.none() | st.binary(min_size=1, max_size=50)] * 4)
def test_boxes_round_trip(icc: bytes | None, exif: bytes | None, xmp: bytes | None, alpha: bytes | None) -> None:
    boxes = Boxes(icc, exif, xmp, alpha)
    data = encode_boxes(boxes)
    assert bool(data) == bool(boxes)
    if data:
        assert read_boxes(data) == boxes


def box(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + encode_varint(len(content)) + content


def section(*boxes: bytes) -> bytes:
    return encode_varint(len(b"".join(boxes))) + b"".join(boxes)


FRAME = zstandard.compress(b"profile")
NO_SIZE = zstandard.ZstdCompressor(write_content_size=False).compress(b"profile")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (section(box(2, FRAME), box(1, FRAME)), CorruptStreamError, "out of order"),
        (section(box(1, FRAME), box(1, FRAME)), CorruptStreamError, "twice"),
        (section(), CorruptStreamError, "empty"),
        (section(box(4, b"")), CorruptStreamError, "empty"),
        (section(b"\x04\x05abc"), CorruptStreamError, "does not fit"),
        (section(b"\x04"), CorruptStreamError, "does not fit"),
        (section(box(6, b"?")), UnsupportedVersionError, "type 6"),
        (section(box(BoxType.TILE_INDEX, b"?")), UnsupportedVersionError, "type 5"),
        (section(box(1, b"no frame")), CorruptStreamError, "no zstd frame"),
        (section(box(1, FRAME + b"x")), CorruptStreamError, "no zstd frame"),
        (section(box(1, FRAME[:-1])), CorruptStreamError, "no zstd frame"),
        (section(box(1, NO_SIZE)), CorruptStreamError, "state its size"),
        (section(box(1, zstandard.compress(b""))), CorruptStreamError, "state its size"),
        (section(box(4, b"abc"))[:-1], TruncatedStreamError, "box section"),
        (section(box(1, zstandard.compress(bytes(2**24 + 1)))), LimitExceededError, "decompresses"),
        (encode_varint(2**28 + 1), LimitExceededError, "boxes have"),
    ],
)
def test_boxes_refuse(data: bytes, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        read_boxes(data)


def test_unknown_ancillary_boxes_are_skipped() -> None:
    data = section(box(1, FRAME), box(0x81, b""), box(0xFF, b"whatever"))
    assert read_boxes(data) == Boxes(icc=b"profile")


def test_boxes_writer_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="empty EXIF"):
        Boxes(exif=b"")
    with pytest.raises(LimitExceededError, match="XMP"):
        encode_boxes(Boxes(xmp=bytes(limits_module.MAX_METADATA_BYTES + 1)))
    monkeypatch.setattr("vqcodec.bitstream.boxes.MAX_BOX_SECTION_BYTES", 10)
    with pytest.raises(LimitExceededError, match="boxes have"):
        encode_boxes(Boxes(alpha=bytes(9)))
    assert len(encode_boxes(Boxes(alpha=bytes(8)))) == 11


@pytest.mark.parametrize(
    "make",
    [
        lambda: GridSpec(0, 2),
        lambda: GridSpec(1, 2**18 + 1),
        lambda: StreamModel(b"abc", "m", (GridSpec(1, 2),), {}),
        lambda: StreamModel(b"abcd", "m", (), {}),
        lambda: StreamModel(b"abcd", "m", (GridSpec(1, 2),), {1: UniformModel()}),
    ],
)
def test_stream_model_refuses(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        make()


def test_grid_shape_rounds_up() -> None:
    model = StreamModel(b"abcd", "m", (GridSpec(16, 2), GridSpec(5, 2)), {0: UniformModel()})
    assert model.grid_shape(0, 17, 16) == (1, 2)
    assert model.grid_shape(1, 26, 1) == (1, 6)
    assert pickle.loads(pickle.dumps(model)).grids == model.grids
