"""The bytes of a stream, wherever they are."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from vqcodec.bitstream.errors import LimitExceededError
from vqcodec.bitstream.limits import MAX_STREAM_BYTES

#: read at a time
_PIECE_BYTES: Final = 1 << 20
#: bytes, a path, or a binary file, which is read from where it stands
StreamLike: TypeAlias = "bytes | bytearray | memoryview | str | Path | BinaryIO"


def stream_bytes(stream: StreamLike, *, mapped: bool = False) -> bytes | bytearray | memoryview:
    """Its bytes. Raises OSError for a file that cannot be read, LimitExceededError for more than a stream can have.

    mapped: of a path, read only what is looked at, when it is looked at.
    """
    if isinstance(stream, bytes | bytearray | memoryview):
        return stream
    if isinstance(stream, str | Path):
        with open(stream, "rb") as file:
            size = os.fstat(file.fileno()).st_size if mapped else 0
            if 0 < size <= MAX_STREAM_BYTES:
                return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ))
            return stream_bytes(file)
    data = read_up_to(stream, MAX_STREAM_BYTES + 1)
    if len(data) > MAX_STREAM_BYTES:
        raise LimitExceededError(f"the stream has more than {MAX_STREAM_BYTES} bytes, the most there can be")
    return data


def read_up_to(stream: BinaryIO, most: int) -> bytes:
    """The next `most` bytes, or all that are left.

    In pieces: a pipe without a buffer gives some at a time, and Python takes the memory of all that it is asked for.
    """
    parts = []
    while most > 0 and (part := stream.read(min(most, _PIECE_BYTES))):
        parts.append(part)
        most -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
