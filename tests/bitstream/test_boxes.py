"""Boxes in bytes: colour profile, Exif, XMP and alpha, and what is none."""

from __future__ import annotations

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.bitstream import (
    Boxes,
    CorruptStreamError,
    LimitExceededError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from vqcodec.bitstream import limits as limits_module
from vqcodec.bitstream.boxes import box_section, decode_boxes, split_boxes, stored_boxes
from vqcodec.bitstream.wire import Reader, encode_varint


def read_boxes(data: bytes) -> Boxes:
    return decode_boxes(split_boxes(Reader(data)))


@given(*[st.none() | st.binary(min_size=1, max_size=50)] * 4)
def test_boxes_round_trip(icc: bytes | None, exif: bytes | None, xmp: bytes | None, alpha: bytes | None) -> None:
    boxes = Boxes(icc, exif, xmp, alpha)
    data = box_section(stored_boxes(boxes))
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
        (section(box(7, b"?")), UnsupportedVersionError, "type 7"),
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
        stored_boxes(Boxes(xmp=bytes(limits_module.MAX_METADATA_BYTES + 1)))
    monkeypatch.setattr("vqcodec.bitstream.boxes.MAX_BOX_SECTION_BYTES", 10)
    with pytest.raises(LimitExceededError, match="boxes have"):
        box_section(stored_boxes(Boxes(alpha=bytes(9))))
    assert len(box_section(stored_boxes(Boxes(alpha=bytes(8))))) == 11
