"""JPEG files: are all of their pixels there? Pillow says nothing of most damage, and refuses one that lacks its end."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image

__all__ = ["with_end"]

_END: Final = b"\xff\xd9"
#: bits that a decoder that still waits for data takes for pixels; without markers
_FILLING: Final = np.random.default_rng(5).integers(0, 255, 4096, dtype=np.uint8).tobytes()
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN: Final = 0xDA
_PROGRESSIVE: Final = 0xC2


def with_end(data: bytes) -> bytes | None:
    """A file that lacks nothing but its last marker, with it; None for one that lacks pixels."""
    data = data.removesuffix(b"\xff") if not data.endswith(_END) else data[:-2]
    if not _scans_cover_all(data):
        return None
    whole = data + _END
    return whole if _pixels(whole) == _pixels(data + _FILLING + _END) else None


def _pixels(data: bytes) -> bytes | None:
    """Of a decoded file. None, which is like no other, where it does not decode."""
    try:
        with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
            pixels: bytes = image.tobytes()
            return pixels
    except (OSError, SyntaxError, ValueError):
        return None


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The markers that have a length, with what they hold."""
    at = 2
    while (at := data.find(b"\xff", at)) >= 0 and at + 4 <= len(data):
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or 0xD0 <= marker <= 0xD9:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, data[at + 4 : at + 2 + length]
        at += 2 + max(length, 2)


def _scans_cover_all(data: bytes) -> bool:
    """Whether the scans bring every bit of every coefficient: progressive files may be cut off between two scans."""
    progressive = False
    components: set[int] = set()
    #: component -> the lowest bit that is known of each of its 64 coefficients
    known: dict[int, list[int]] = {}
    for marker, body in _segments(data):
        if marker in _FRAMES and len(body) > 6:
            progressive = marker == _PROGRESSIVE
            components = {body[at] for at in range(6, len(body) - 2, 3)}
            known = {component: [64] * 64 for component in components}
        elif marker == _START_OF_SCAN and body and len(body) >= 4 + 2 * body[0]:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count]
            for component in {body[1 + 2 * each] for each in range(count)} & components:
                for coefficient in range(first if progressive else 0, (last if progressive else 63) + 1):
                    if coefficient < 64:
                        known[component][coefficient] = bits & 15 if progressive else 0
    return bool(components) and not any(bit for bits in known.values() for bit in bits)
