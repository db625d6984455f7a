"""Boxes: optional side data after the header (colour profile, EXIF, XMP, alpha). Absent boxes cost nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import zstandard

from vqcodec.bitstream.errors import CorruptStreamError, LimitExceededError, StreamError, UnsupportedVersionError
from vqcodec.bitstream.limits import MAX_BOX_SECTION_BYTES, MAX_METADATA_BYTES
from vqcodec.bitstream.wire import Reader, encode_varint

_ANCILLARY_FLAG: Final = 0x80
_ZSTD_LEVEL: Final = 19


class BoxType(IntEnum):
    """The types of format version 1. Two are no side data: TILE_INDEX, which `vqcodec.bitstream.regions` makes and
    reads, and PARTIAL_LEVEL, which `vqcodec.bitstream.partial` does."""

    ICC = 1
    EXIF = 2
    XMP = 3
    ALPHA = 4
    TILE_INDEX = 5
    PARTIAL_LEVEL = 6


_COMPRESSED: Final = (BoxType.ICC, BoxType.EXIF, BoxType.XMP)
_SIDE_DATA: Final = (*_COMPRESSED, BoxType.ALPHA)
_READABLE: Final = tuple(BoxType)


@dataclass(frozen=True)
class Boxes:
    """Side data; None where absent, never empty. Raises `ValueError` for empty bytes.

    ``icc``, ``exif`` and ``xmp``: as an image file holds them, not compressed, at most ``2**24`` bytes each.
    ``alpha``: bytes that the pixel layer makes and reads; this package only carries them.

    Examples:
        >>> bool(Boxes()), bool(Boxes(icc=b"profile"))
        (False, True)
    """

    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    alpha: bytes | None = None

    def __post_init__(self) -> None:
        for kind in _SIDE_DATA:
            if self.content(kind) == b"":
                raise ValueError(f"an empty {kind.name} box is not stored: pass None")

    def content(self, kind: BoxType) -> bytes | None:
        """The bytes of one readable type."""
        content: bytes | None = getattr(self, kind.name.lower())
        return content

    def __bool__(self) -> bool:
        return any(self.content(kind) is not None for kind in _SIDE_DATA)


def stored_boxes(boxes: Boxes) -> dict[int, bytes]:
    """The boxes by type, with their content as it is stored. Raises `LimitExceededError`."""
    stored: dict[int, bytes] = {}
    for kind in _SIDE_DATA:
        content = boxes.content(kind)
        if content is not None and kind in _COMPRESSED:
            if len(content) > MAX_METADATA_BYTES:
                raise LimitExceededError(
                    f"the {kind.name} data has {len(content)} bytes; at most {MAX_METADATA_BYTES} are allowed: drop it"
                )
            content = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(content)
        if content is not None:
            stored[kind] = content
    return stored


def box_section(stored: Mapping[int, bytes | memoryview]) -> bytes:
    """The box section: its length as varint, then the boxes. Empty if there are none. Raises `LimitExceededError`.

    ``stored``: boxes by type, with their content as it is stored.
    """
    size = sum(len(content) for content in stored.values())  # at once: what is too large is not put together first
    if size > MAX_BOX_SECTION_BYTES:
        raise _section_too_large(size)
    section = b"".join(
        bytes([kind]) + encode_varint(len(content)) + content for kind, content in sorted(stored.items())
    )
    if len(section) > MAX_BOX_SECTION_BYTES:
        raise _section_too_large(len(section))
    return encode_varint(len(section)) + section if section else b""


def split_boxes(reader: Reader) -> Mapping[int, memoryview]:
    """The boxes at the cursor by type, as stored. Reads no content. Raises a `StreamError` for a wrong section."""
    size = reader.varint("length of the box section")
    if size > MAX_BOX_SECTION_BYTES:
        raise _section_too_large(size)
    section = Reader(reader.take(size, "box section"))
    stored: dict[int, memoryview] = {}
    while section.remaining:
        try:
            kind = section.byte("type of a box")
            content = section.take(section.varint("length of a box"), "content of a box")
        except StreamError as error:
            raise CorruptStreamError("a box does not fit into the box section; the file is damaged") from error
        if kind not in _READABLE and not kind & _ANCILLARY_FLAG:
            raise UnsupportedVersionError(
                f"the stream has a box of type {kind}, which it cannot be read without: install a newer vqcodec"
            )
        if stored and kind <= max(stored):
            raise CorruptStreamError(f"box type {kind} comes twice or out of order; the file is damaged")
        if len(content) == 0 and kind in _READABLE:
            raise CorruptStreamError(f"the {BoxType(kind).name} box is empty; the file is damaged")
        stored[kind] = content
    if not stored:
        raise CorruptStreamError("the box section is empty; the file is damaged")
    return stored


def decode_boxes(stored: Mapping[int, memoryview]) -> Boxes:
    """The content of the boxes; ancillary types that this reader does not have are left out. Raises a `StreamError`."""
    content: dict[str, bytes] = {}
    for kind in _SIDE_DATA:
        if kind in stored:
            raw = bytes(stored[kind])
            content[kind.name.lower()] = _decompress(raw, kind) if kind in _COMPRESSED else raw
    return Boxes(**content)


def _decompress(raw: bytes, kind: BoxType) -> bytes:
    """One zstd frame that states its size, which is checked before anything is allocated."""
    try:
        size = zstandard.frame_content_size(raw)
        if size > MAX_METADATA_BYTES:
            raise LimitExceededError(
                f"the {kind.name} box decompresses to {size} bytes; at most {MAX_METADATA_BYTES} are allowed: "
                "write the file without it"
            )
        if size > 0:
            return zstandard.ZstdDecompressor().decompress(raw, max_output_size=size, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptStreamError(f"the {kind.name} box is no zstd frame; the file is damaged") from error
    raise CorruptStreamError(f"the {kind.name} box does not state its size; the file is damaged")


def _section_too_large(size: int) -> LimitExceededError:
    return LimitExceededError(
        f"the boxes have {size} bytes; at most {MAX_BOX_SECTION_BYTES} are allowed: leave out metadata or alpha"
    )
