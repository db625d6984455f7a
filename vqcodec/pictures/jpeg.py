"""JPEG files: are all of their pixels there? Pillow says nothing of damage, and refuses a file that lacks its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import simplejpeg

__all__ = ["jpeg_damage", "jpeg_pixels", "with_end", "without_oddities"]

_END: Final = b"\xff\xd9"
_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DAMAGE: Final = ("Corrupt JPEG data: ", "Premature end of JPEG file", "Inconsistent progression")
#: Exif and XMP, ICC, and Adobe's, which says what the samples are
_USED_APPLICATION_DATA: Final = {
    0xE1: (b"Exif\0", b"http://ns.adobe.com/xap/"),
    0xE2: (b"ICC_PROFILE\0",),
    0xEE: (b"Adobe",),
}
_COMMENT: Final = 0xFE
_START_OF_SCAN: Final = 0xDA
_PROGRESSIVE: Final = 0xC2


def with_end(data: bytes) -> bytes | None:
    """A file that lacks nothing but its last marker, with it; None for one that lacks pixels."""
    whole = (data.removesuffix(b"\xff") if not data.endswith(_END) else data[:-2]) + _END
    return whole if _scans_cover_all(whole) and not jpeg_damage(whole) else None


def jpeg_pixels(data: bytes) -> int:
    """As many as a file says that it has; 0 where it does not. Nothing is decoded."""
    for marker, body in _segments(data):
        if marker == _START_OF_SCAN:
            break
        if marker in _FRAMES and len(body) >= 5:
            return int.from_bytes(body[1:3], "big") * int.from_bytes(body[3:5], "big")
    return 0


def jpeg_damage(data: bytes) -> list[str]:
    """What libjpeg says of a file's coded data, as a line for a warning; or none.

    Data that is missing, left over or no code is found; bits that stand for another value of the same length cannot be:
    nothing in a JPEG file tells them apart. Decodes at an eighth of the sides, a quarter of the time of a whole one.
    """
    try:
        simplejpeg.decode_jpeg(data, min_height=1, min_width=1)
    except ValueError as error:
        said = " ".join(str(error).split())
        if said.startswith(_DAMAGE):  # not what it does not support, or finds unusual
            return [f"the JPEG data is damaged: libjpeg says {said.removeprefix(_DAMAGE[0])}"]
    return []


def without_oddities(data: bytes) -> bytes | None:
    """A file without what readers may leave aside, for one that Pillow refuses; None where libjpeg refuses it, too."""
    start = data.find(bytes((0xFF, _START_OF_SCAN)))
    if start < 0 or jpeg_damage(data):
        return None
    kept = [data[:2]]
    for marker, body in _segments(data[:start]):
        is_metadata = marker == _COMMENT or 0xE0 <= marker <= 0xEF
        if is_metadata and not body.startswith(_USED_APPLICATION_DATA.get(marker, ())):
            continue
        kept.append(bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body)
    return b"".join((*kept, data[start:]))


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
