"""PNG files that every browser shows and Pillow refuses: chunks that do not hold the picture are left out instead."""

from __future__ import annotations

import io
import zlib
from typing import BinaryIO, Final

__all__ = ["LARGEST_CHUNK_TEXT", "mended_png"]

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_END: Final = b"\0\0\0\0IEND\xaeB`\x82"
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")
#: texts whose content is used, and which may be long
_USED_TEXTS: Final = (b"XML:com.adobe.xmp", b"Raw profile type exif", b"Raw profile type APP1")
#: bytes of a text that nobody looks at; Pillow's own limit of any that is compressed
_LARGEST_UNUSED_TEXT: Final = 1 << 20
#: bytes of a profile or an XMP packet once it is inflated; more in Pillow's place
LARGEST_CHUNK_TEXT: Final = 16 << 20


def mended_png(stream: BinaryIO) -> tuple[BinaryIO, list[str]]:
    """The file without chunks that are damaged or too large, and a line about each kind; itself where none is.

    Only chunks that a reader may ignore are left out. stream: can seek, and is left at its start.
    """
    total = stream.seek(0, io.SEEK_END)
    stream.seek(len(_SIGNATURE))
    kept: list[tuple[int, int]] = [(0, len(_SIGNATURE))]
    notes: list[str] = []
    text_bytes = 0
    end, dropped = b"", False
    while True:
        start = stream.tell()
        head = stream.read(8)
        if head[4:8] == _END[4:8] and start + len(_END) <= total:
            kept.append((start, start + len(_END)))
            break
        if len(head) < 8 or head[4:8] == _END[4:8]:  # Pillow says whether there are pixels enough
            end, dropped = _END, True
            notes.append("the end of the file is missing, but no part of the picture")
            break
        length, name = int.from_bytes(head[:4], "big"), head[4:]
        fault = ""
        if name[0] & 0x20 and length <= 4 * LARGEST_CHUNK_TEXT:  # ancillary
            body = stream.read(length)
            checksum = stream.read(4)
            if len(body) == length and len(checksum) == 4:
                fault = _fault(name, body, int.from_bytes(checksum, "big"))
                text_bytes += length if name in _TEXTS else 0
                if not fault and text_bytes > LARGEST_CHUNK_TEXT:
                    fault = f"text of more than {LARGEST_CHUNK_TEXT >> 20} MB in all was ignored"
        else:
            if name[0] & 0x20:
                fault = f"the chunk {name.decode('latin-1')} of {length} bytes is too large and was ignored"
            stream.seek(length + 4, io.SEEK_CUR)
        if fault:
            dropped = True
            notes.append(fault)
        else:
            kept.append((start, stream.tell()))
            if stream.tell() > total:
                break
    if not dropped:
        stream.seek(0)
        return stream, []
    mended = io.BytesIO()
    for start, after in kept:
        stream.seek(start)
        mended.write(stream.read(after - start))
    mended.write(end)
    mended.seek(0)
    return mended, list(dict.fromkeys(notes))


def _fault(name: bytes, body: bytes, checksum: int) -> str:
    """Why a chunk is left out; empty for a good one."""
    if zlib.crc32(body, zlib.crc32(name)) != checksum:
        return f"the chunk {name.decode('latin-1')} is damaged (wrong checksum) and was ignored"
    if name == b"iCCP":
        if _inflates_to_more(body.partition(b"\0")[2][1:], LARGEST_CHUNK_TEXT):
            return f"the ICC profile has more than {LARGEST_CHUNK_TEXT >> 20} MB and was ignored"
    elif name in _TEXTS:
        key, _, rest = body.partition(b"\0")
        limit = LARGEST_CHUNK_TEXT if key in _USED_TEXTS else _LARGEST_UNUSED_TEXT
        if name == b"zTXt":
            too_large = _inflates_to_more(rest[1:], limit)
        elif name == b"iTXt" and rest[:1] == b"\1":
            too_large = _inflates_to_more(rest[2:].partition(b"\0")[2].partition(b"\0")[2], limit)
        else:
            too_large = len(rest) > limit
        if too_large:
            return f"text of more than {limit >> 20} MB was ignored"
    return ""


def _inflates_to_more(data: bytes, limit: int) -> bool:
    """Whether zlib data becomes more than `limit` bytes; damaged data counts as small, and is Pillow's to judge."""
    inflater = zlib.decompressobj()
    total = 0
    try:
        while data and total <= limit:
            total += len(inflater.decompress(data, 1 << 20))
            data = inflater.unconsumed_tail
    except zlib.error:
        return False
    return total > limit
