"""Varints: canonical, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.bitstream import CorruptStreamError, TruncatedStreamError
from vqcodec.bitstream.wire import Reader, encode_varint


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
