"""Facts that Pillow does not tell of files made of boxes: AVIF, HEIC and JPEG 2000. And of PNG: colours by code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

__all__ = ["avif_bits", "colour_codes_of_boxes", "colour_codes_of_png", "jpeg_2000_bits"]

_HEAD_BYTES: Final = 1 << 20
#: box -> where the boxes in it begin
_PARENTS: Final = {b"meta": 4, b"iprp": 0, b"ipco": 0, b"jp2h": 0}


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and content of every box, those within `_PARENTS` too; stops where they do not fit."""
    at = 0
    while at + 8 <= len(data):
        size, kind, start = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], at + 8
        if size == 1:
            size, start = int.from_bytes(data[at + 8 : at + 16], "big"), at + 16
        end = len(data) if size == 0 else at + size
        if end < start:
            return
        content = data[start:end]
        yield kind, content
        if kind in _PARENTS:
            yield from _boxes(content[_PARENTS[kind] :])
        at = end


def _head(stream: BinaryIO) -> bytes:
    stream.seek(0)
    data = stream.read(_HEAD_BYTES)
    stream.seek(0)
    return data


def colour_codes_of_boxes(stream: BinaryIO) -> tuple[int, int] | None:
    """Of AVIF and HEIC, the codes of primaries and transfer (ITU-T H.273) of the first picture; None if not said."""
    for kind, content in _boxes(_head(stream)):
        if kind == b"colr" and content[:4] == b"nclx" and len(content) >= 8:
            return int.from_bytes(content[4:6], "big"), int.from_bytes(content[6:8], "big")
    return None


def avif_bits(stream: BinaryIO) -> int:
    """Bits a sample of the first picture: 8, 10 or 12."""
    for kind, content in _boxes(_head(stream)):
        if kind == b"av1C" and len(content) >= 3:
            return 8 if not content[2] & 0x40 else 12 if content[2] & 0x20 else 10
    return 8


def jpeg_2000_bits(stream: BinaryIO) -> int:
    """The most bits that a sample has, 8 where the file does not say."""
    data = _head(stream)
    at = data.find(b"\xff\x4f\xff\x51")  # the size marker at the start of the code
    if at < 0:
        return 8
    count = int.from_bytes(data[at + 40 : at + 42], "big")
    return max(((size & 0x7F) + 1 for size in data[at + 42 : at + 42 + 3 * count : 3]), default=8)


def colour_codes_of_png(stream: BinaryIO) -> tuple[int, int] | None:
    """The codes of primaries and transfer (ITU-T H.273) in the chunk cICP; None where there is none."""
    stream.seek(8)
    found = None
    while len(head := stream.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
        length = int.from_bytes(head[:4], "big")
        if head[4:] == b"cICP" and length == 4:
            codes = stream.read(4)
            found = (codes[0], codes[1]) if len(codes) == 4 else None
            stream.seek(4, 1)
        else:
            stream.seek(length + 4, 1)
    stream.seek(0)
    return found
