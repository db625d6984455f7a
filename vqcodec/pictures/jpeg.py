"""JPEG files: are all of their pixels there? Pillow says nothing of most damage, and refuses one that lacks its end."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Final

import numpy as np
from PIL import Image

__all__ = ["jpeg_damage", "with_end"]

_END: Final = b"\xff\xd9"
#: bits that a decoder that still waits for data takes for pixels; without markers
_FILLING: Final = np.random.default_rng(5).integers(1, 255, 256, dtype=np.uint8).tobytes()
_SCAN_END: Final = re.compile(rb"\xff[^\x00\xff]")
_RESTART: Final = re.compile(rb"\xff[\xd0-\xd7]")
_LEFT_OVER: Final = 16  # bytes
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_HUFFMAN_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2))
_RESTARTS: Final = range(0xD0, 0xD8)
_START_OF_SCAN: Final = 0xDA
_PROGRESSIVE: Final = 0xC2


def with_end(data: bytes) -> bytes | None:
    """A file that lacks nothing but its last marker, with it; None for one that lacks pixels."""
    data = data.removesuffix(b"\xff") if not data.endswith(_END) else data[:-2]
    if not _scans_cover_all(data):
        return None
    whole = data + _END
    return whole if _pixels(whole) == _pixels(data + _FILLING + _END) else None


def jpeg_damage(data: bytes) -> list[str]:
    """A line where a file that decodes has too little data for its pixels, too much, or in the wrong order; or none.

    Where data is missing, whatever stands behind it becomes pixels; where some is left over, other data in its place
    changes nothing. Files with arithmetic coding are not looked at: their data may end early. Of damage in the middle
    about half is found: often the decoder is back in step with as many blocks as there should be.
    """
    scans = _scans(data)
    if not scans:
        return []
    filled, at = b"", 0
    order_is_right = True
    for start, end in scans:
        restarts = [found.start() for found in _RESTART.finditer(data, start, end)]
        order_is_right &= all(data[place + 1] == 0xD0 + number % 8 for number, place in enumerate(restarts))
        for place in (*restarts, end):
            filled += data[at:place] + _FILLING
            at = place
    last = scans[-1][1]
    short = last - _LEFT_OVER
    while short > scans[-1][0] and (data[short - 1] == 0xFF or data[short] == 0xFF):
        short -= 1
    pixels = _pixels(data)
    if pixels is None:
        return []
    if not order_is_right or _pixels(filled + data[at:]) != pixels:
        return ["the JPEG data is damaged: a part of it is missing, and pixels are wrong"]
    rest = max(scans[-1][0], short)
    middle = (scans[-1][0] + last) // 2
    while middle > scans[-1][0] and (data[middle - 1] == 0xFF or data[middle] == 0xFF):
        middle -= 1
    if (
        last - scans[-1][0] > 4 * _LEFT_OVER
        and _pixels(data[:rest] + _FILLING + data[last:]) == pixels
        and _pixels(data[:middle] + _FILLING + data[last:]) != pixels  # in a flat picture all data may be alike
    ):
        return ["the JPEG data is damaged: there is more of it than pixels, some of which are wrong"]
    return []


def _scans(data: bytes) -> list[tuple[int, int]]:
    """Where the coded data of each scan starts and ends, up to the end of the picture; empty if that is not found."""
    scans: list[tuple[int, int]] = []
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == _END[1]:
            return scans
        if marker in _FRAMES and marker not in _HUFFMAN_FRAMES:
            return []
        at += 2 + max(int.from_bytes(data[at + 2 : at + 4], "big"), 2)
        if marker != _START_OF_SCAN:
            continue
        start = at
        while (found := _SCAN_END.search(data, at)) and data[found.start() + 1] in _RESTARTS:
            at = found.end()
        if found is None:
            return []
        at = found.start()
        scans.append((start, at))
    return scans if data[at : at + 2] == _END else []


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
