"""WebP files that browsers show and libwebp's whole-file reader refuses: the length in their first bytes is wrong."""

from __future__ import annotations

import io
from typing import BinaryIO, Final

__all__ = ["mended_webp"]

_HEAD: Final = 12  # "RIFF", the length of what follows, "WEBP"
_CHUNK_HEAD: Final = 8
_PICTURES: Final = (b"VP8 ", b"VP8L", b"ANMF")


def mended_webp(stream: BinaryIO) -> tuple[BinaryIO, list[str]]:
    """The file with the length that its chunks have, and a line about it; itself where the two agree.

    Itself, too, where no picture is whole: its reader says what is wrong. stream: can seek, and is left at its start.
    """
    stream.seek(0)
    head = stream.read(_HEAD)
    stated = int.from_bytes(head[4:8], "little")
    has_picture, end, total = False, _HEAD, stream.seek(0, io.SEEK_END)
    while end + _CHUNK_HEAD <= total:
        stream.seek(end)
        chunk = stream.read(_CHUNK_HEAD)
        after = end + _CHUNK_HEAD + int.from_bytes(chunk[4:], "little")
        if after > total or not chunk[:4].isascii() or not chunk[:4].decode().isprintable():
            break  # cut off, or what follows the picture
        has_picture |= chunk[:4] in _PICTURES
        end = min(after + after % 2, total)
    length = end - _CHUNK_HEAD
    stream.seek(0)
    if not has_picture or stated + stated % 2 == length:
        return stream, []
    mended = io.BytesIO(head[:4] + length.to_bytes(4, "little") + head[8:])
    mended.seek(_HEAD)
    stream.seek(_HEAD)
    mended.write(stream.read(end - _HEAD))
    mended.seek(0)
    return mended, [f"the file says that it has {stated + _CHUNK_HEAD} bytes, and has {end}: its end was taken for it"]
