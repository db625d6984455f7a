"""EXIF blocks: TIFF structures that say how a picture is turned, how large it is printed, and who made it.

Nothing here trusts a block: every offset is compared with its length. Blocks are changed in place or at their end, so
that what lies at fixed places in them (maker notes) stays valid.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from PIL import Image

__all__ = [
    "EXIF_PREFIX",
    "MOST_DPI",
    "DamagedExifError",
    "checked_exif",
    "descriptive_tags",
    "exif_orientation",
    "exif_resolution",
    "tiff_with_exif",
    "upright_xmp",
    "with_resolution",
    "xmp_of",
    "xmp_orientation",
]

EXIF_PREFIX: Final = b"Exif\x00\x00"  # JPEG puts it before the TIFF structure that all files share
_ORIENTATION: Final = 0x0112
_RESOLUTION = _X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0x011A, 0x011B, 0x0128
_POINTERS: Final = (0x8769, 0x8825, 0xA005)  # to the directories of EXIF, GPS and interoperability
_EXIF_POINTERS: Final = _POINTERS[:2]
#: type of a value -> its bytes
_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_NUMBERS: Final = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I"}
#: bounds of what `checked_exif` walks through, far above what cameras write
_MOST_DIRECTORIES, _MOST_ENTRIES = 16, 10_000
#: dots per inch that anything is printed with, and readers and writers can hold
MOST_DPI: Final = 40_000
# What a TIFF file keeps of its tags as EXIF: they describe the picture; the other tags describe the file's layout.
_DESCRIPTIVE_TAGS: Final = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)


class DamagedExifError(ValueError):
    """An EXIF block that does not hold together; the message says where."""


@dataclass(frozen=True)
class _Entry:
    """tag, type and count of a value; place: of the entry in the block; value_place: of the value."""

    tag: int
    kind: int
    count: int
    place: int
    value_place: int


class _Block:
    """A block without "Exif" before it. Raises DamagedExifError for another header than that of a TIFF structure."""

    def __init__(self, data: bytes) -> None:
        orders: dict[bytes, Literal["little", "big"]] = {b"II*\0": "little", b"MM\0*": "big"}
        if data[:4] not in orders or len(data) < 8:
            raise DamagedExifError("its header is not that of a TIFF structure")
        self.data = data
        self.order: Literal["little", "big"] = orders[data[:4]]
        self._checked_entries = 0

    def number(self, place: int, size: int) -> int:
        """An unsigned number of so many bytes."""
        if place + size > len(self.data):
            raise DamagedExifError("it is cut off")
        return int.from_bytes(self.data[place : place + size], self.order)

    def packed(self, value: int, size: int) -> bytes:
        return value.to_bytes(size, self.order)

    def entries(self, place: int) -> Iterator[_Entry]:
        """Of the directory at `place`, those of a known type. Raises DamagedExifError where one does not fit."""
        for entry in range(place + 2, place + 2 + 12 * self.number(place, 2), 12):
            tag, kind, count = self.number(entry, 2), self.number(entry + 2, 2), self.number(entry + 4, 4)
            size = _SIZES.get(kind, 0) * count
            value_place = entry + 8 if size <= 4 else self.number(entry + 8, 4)
            self.number(entry + 8, 4)
            if kind in _SIZES:
                yield _Entry(tag, kind, count, entry, value_place)

    def first(self) -> int:
        """Where the first directory is."""
        return self.number(4, 4)

    def value(self, entry: _Entry) -> float | None:
        """The first number of a value; None for texts and the like, and for a value that lies outside."""
        size = _SIZES[entry.kind]
        if entry.count < 1 or entry.value_place + size > len(self.data):
            return None
        raw = self.data[entry.value_place : entry.value_place + size]
        order = "<" if self.order == "little" else ">"
        if entry.kind in (_RATIONAL, 10):
            above, below = struct.unpack(order + ("II" if entry.kind == _RATIONAL else "ii"), raw)
            return above / below if below else None
        return float(struct.unpack(order + _NUMBERS[entry.kind], raw)[0]) if entry.kind in _NUMBERS else None

    def check(self, place: int, seen: set[int]) -> None:
        """Walk a directory and those that it leads to. Raises DamagedExifError."""
        if place in seen:
            raise DamagedExifError("its directories lead in a circle")
        if len(seen) == _MOST_DIRECTORIES:
            raise DamagedExifError(f"it has more than {_MOST_DIRECTORIES} directories")
        seen.add(place)
        for entry in self.entries(place):
            self._checked_entries += 1
            if self._checked_entries > _MOST_ENTRIES:
                raise DamagedExifError(f"it has more than {_MOST_ENTRIES} entries")
            if entry.value_place + _SIZES[entry.kind] * entry.count > len(self.data):
                raise DamagedExifError(f"the value of tag {entry.tag} lies outside")
            if entry.tag in _POINTERS:
                if entry.kind not in (_LONG, 13) or entry.count != 1:
                    raise DamagedExifError(f"tag {entry.tag} leads nowhere")
                self.check(self.number(entry.value_place, 4), seen)


def exif_orientation(data: bytes) -> int | None:
    """1 to 8 as an EXIF block has it, whatever the type of the number; None where it has none, or is too damaged."""
    try:
        block = _Block(data.removeprefix(EXIF_PREFIX))
        for entry in block.entries(block.first()):
            if entry.tag == _ORIENTATION:
                value = block.value(entry)
                return int(value) if value is not None and value in range(1, 9) else None
    except DamagedExifError:
        return None
    return None


def checked_exif(data: bytes) -> bytes:
    """An EXIF block without "Exif" before it, of an upright picture: its orientation, if it has one, becomes 1.

    Raises DamagedExifError.
    """
    block = _Block(data.removeprefix(EXIF_PREFIX))
    first, seen = block.first(), set[int]()
    block.check(first, seen)
    upright = bytearray(block.data)
    for entry in block.entries(first):
        if entry.tag == _ORIENTATION:
            one = block.packed(_SHORT, 2) + block.packed(1, 4) + block.packed(1, 2) + b"\0\0"
            upright[entry.place + 2 : entry.place + 12] = one
    end = first + 2 + 12 * block.number(first, 2)
    try:  # a thumbnail may follow; programs that rewrite a file often leave a wrong pointer to it
        thumbnail = block.number(end, 4)
        if thumbnail:
            block.check(thumbnail, seen)
    except DamagedExifError:
        upright[end : end + 4] = bytes(len(upright[end : end + 4]))
    return bytes(upright)


def exif_resolution(data: bytes) -> tuple[float, float] | None:
    """Dots per inch from left to right and from top to bottom, where an EXIF block says so; 0 < dpi < 40,000."""
    try:
        block = _Block(data.removeprefix(EXIF_PREFIX))
        values = {entry.tag: block.value(entry) for entry in block.entries(block.first())}
    except DamagedExifError:
        return None
    inches = {2.0: 1.0, 3.0: 2.54}.get(values.get(_RESOLUTION_UNIT) or 2.0, 0.0)
    across, down = (inches * (values.get(tag) or 0) for tag in (_X_RESOLUTION, _Y_RESOLUTION))
    return (across, down) if 0 < across < MOST_DPI and 0 < down < MOST_DPI else None


def with_resolution(data: bytes | None, resolution: tuple[float, float]) -> bytes:
    """A checked block, or none, with these dots per inch, 0 < dpi < 40,000: a new first directory at its end."""
    block = _Block(data or b"MM\0*\0\0\0\0")
    old, following = {}, bytes(4)
    if data:
        first = block.first()
        old = {entry.tag: block.data[entry.place : entry.place + 12] for entry in block.entries(first)}
        end = first + 2 + 12 * block.number(first, 2)
        following = block.data[end : end + 4].ljust(4, b"\0")
    new = block.data + b"\0" * (len(block.data) % 2)
    for tag, dots in zip((_X_RESOLUTION, _Y_RESOLUTION), resolution, strict=True):
        old[tag] = b"".join(map(block.packed, (tag, _RATIONAL, 1, len(new)), (2, 2, 4, 4)))
        new += block.packed(round(dots * 100_000), 4) + block.packed(100_000, 4)
    old[_RESOLUTION_UNIT] = b"".join(map(block.packed, (_RESOLUTION_UNIT, _SHORT, 1, 2, 0), (2, 2, 4, 2, 2)))
    directory = block.packed(len(old), 2) + b"".join(old[tag] for tag in sorted(old)) + following
    return new[:4] + block.packed(len(new), 4) + new[8:] + directory


def tiff_with_exif(file: bytes, exif: bytes) -> bytes:
    """A TIFF file with what a checked block says of the picture: texts, resolution, and the EXIF and GPS directories.

    file: with one picture, as Pillow writes it; its first directory is written anew at its end.
    """
    target, source = _Block(file), _Block(exif.removeprefix(EXIF_PREFIX))
    out = bytearray(file)

    def append(data: bytes) -> bytes:
        """Where the data lies now, as 4 bytes."""
        out.extend(bytes(len(out) % 2))
        place = target.packed(len(out), 4)
        out.extend(data)
        return place

    def moved(entry: _Entry) -> bytes:
        """An entry as the file has it, its value written."""
        if entry.tag in _POINTERS:
            inner = source.entries(source.number(entry.value_place, 4))
            return b"".join(map(target.packed, (entry.tag, _LONG, 1), (2, 2, 4))) + append(directory(map(moved, inner)))
        unit = 4 if entry.kind in (_RATIONAL, 10) else _SIZES[entry.kind]
        value = source.data[entry.value_place : entry.value_place + _SIZES[entry.kind] * entry.count]
        if source.order != target.order:
            value = b"".join(value[at : at + unit][::-1] for at in range(0, len(value), unit))
        place = value.ljust(4, b"\0") if len(value) <= 4 else append(value)
        return b"".join(map(target.packed, (entry.tag, entry.kind, entry.count), (2, 2, 4))) + place

    def directory(entries: Iterable[bytes]) -> bytes:
        ordered = sorted(entries, key=lambda entry: int.from_bytes(entry[:2], target.order))
        return target.packed(len(ordered), 2) + b"".join(ordered) + bytes(4)

    own = {entry.tag: bytes(out[entry.place : entry.place + 12]) for entry in target.entries(target.first())}
    for entry in source.entries(source.first()):
        if entry.tag in _EXIF_POINTERS or entry.tag in (*_DESCRIPTIVE_TAGS, *_RESOLUTION):
            own[entry.tag] = moved(entry)
    out[4:8] = append(directory(own.values()))
    return bytes(out)


def descriptive_tags(tags: Image.Exif) -> Image.Exif:
    """Those of a TIFF file's tags that describe the picture, without the ones about strips, sizes and bits."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if isinstance(tags.get(tag), str):
            kept[tag] = tags[tag]
    for pointer in _EXIF_POINTERS:
        # directories within these are left out: Pillow writes none so deep
        directory = {tag: value for tag, value in tags.get_ifd(pointer).items() if not isinstance(value, dict)}
        directory.pop(_POINTERS[2], None)
        if directory:
            kept.get_ifd(pointer).update(directory)
            kept[pointer] = 0  # the place, which Pillow finds when it writes
    return kept


def xmp_of(info: dict[Any, Any]) -> bytes | None:
    """The XMP packet in what Pillow has of an image beside its pixels."""
    xmp = info.get("xmp") or info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    return xmp if isinstance(xmp, bytes) else None


def xmp_orientation(xmp: bytes) -> int | None:
    """1 to 8, where an XMP packet says so."""
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp)
    return int(found[1]) if found else None


def upright_xmp(xmp: bytes) -> bytes:
    """An XMP packet with its orientation set to 1."""
    return re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb"\g<1>1", xmp)
