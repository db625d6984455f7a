"""The header in bytes, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.bitstream import Header
from vqcodec.bitstream.header import read_header_fields
from vqcodec.bitstream.wire import Reader


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
    ("changes", "message"),
    [
        ({"model_id": b"abc"}, "a model id has 4 bytes, not 3"),
        ({"width": 0}, "at least 1 x 1, not 0 x"),
        ({"height": -1}, "at least 1 x 1, not 1 x -1"),
        ({"level_count": 0}, "0 levels with entropy model 0 do not fit"),
        ({"level_count": 17}, "17 levels with entropy model 0 do not fit"),
        ({"entropy_id": 16}, "entropy model 16 do not fit"),
        ({"checksum": 2**32}, "not 4294967296"),
        ({"version": 2}, "this is version 1 of the format, not 2"),
    ],
)
def test_header_refuses(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        header(**changes)
