"""Bytes in and out: a cursor that refuses to read past the end, and varints in canonical LEB128."""

from __future__ import annotations

from typing import Final

from vqcodec.bitstream.errors import CorruptStreamError, TruncatedStreamError
from vqcodec.bitstream.limits import MAX_VARINT_BYTES

_VARINT_END: Final = 2**32


def encode_varint(value: int) -> bytes:
    """The canonical LEB128 bytes (1 to 5) of ``value``, which must be in [0, 2**32). Raises `ValueError` otherwise."""
    if not 0 <= value < _VARINT_END:
        raise ValueError(f"a varint holds 0 to {_VARINT_END - 1}, not {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Reader:
    """A cursor over bytes. Every read past the end raises `TruncatedStreamError`; nothing is copied."""

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._view = memoryview(data).cast("B")
        self.position = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._view) - self.position

    def take(self, count: int, what: str) -> memoryview:
        """The next ``count`` bytes; ``what`` names them in the error. Raises `TruncatedStreamError`."""
        if count > self.remaining:
            raise TruncatedStreamError(
                f"the stream ends in the {what}: {count} bytes needed at byte {self.position}, {self.remaining} there; "
                "fetch the whole file again"
            )
        start = self.position
        self.position += count
        return self._view[start : self.position]

    def byte(self, what: str) -> int:
        """The next byte, 0 to 255. Raises `TruncatedStreamError`."""
        return self.take(1, what)[0]

    def varint(self, what: str) -> int:
        """The next varint, 0 to 2**32 - 1. Raises `TruncatedStreamError`, or `CorruptStreamError` if not canonical."""
        value = 0
        for index in range(MAX_VARINT_BYTES):
            byte = self.byte(what)
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                if byte == 0 and index > 0:
                    raise CorruptStreamError(
                        f"the {what} is written with more bytes than it needs; the file is damaged"
                    )
                if value >= _VARINT_END:
                    break
                return value
        raise CorruptStreamError(f"the {what} is {_VARINT_END} or more; the file is damaged")

    def read_since(self, start: int) -> memoryview:
        """The bytes from position ``start`` up to the cursor."""
        return self._view[start : self.position]
