"""A second decoder of ``.vq`` streams, written from docs/format.md alone: pure Python, slow, no constriction.

It imports nothing of vqcodec. That it agrees with the package on the golden streams shows that docs/format.md is enough
to write a decoder. It decodes table entropy models only and does not look into the boxes.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise

TOTAL_BITS = 24
MASK = 2**64 - 1


@dataclass(frozen=True)
class ReferenceStream:
    """``levels``: for each level the rows of tokens."""

    model_id: bytes
    width: int
    height: int
    entropy_id: int
    levels: list[list[list[int]]]


class Cursor:
    """Reads bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self.data, self.position = data, 0

    def take(self, count: int) -> bytes:
        assert self.position + count <= len(self.data)
        self.position += count
        return self.data[self.position - count : self.position]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value


def uniform_table(codebook_size: int) -> list[int]:
    """Frequencies of the uniform model."""
    bounds = [i * 2**TOTAL_BITS // codebook_size for i in range(codebook_size + 1)]
    return [high - low for low, high in pairwise(bounds)]


def decode_payload(payload: bytes, table: list[int], count: int) -> list[int]:
    """``count`` tokens from one payload, with one table of frequencies."""
    if len(table) == 1:
        return [0] * count
    starts = [0, *accumulate(table)]
    assert starts[-1] == 2**TOTAL_BITS
    words = iter(payload[i : i + 4].ljust(4, b"\0") for i in range(0, len(payload), 4))

    def next_word() -> int:
        return int.from_bytes(next(words, b"\0\0\0\0"), "big")

    span = MASK
    offset = next_word() << 32
    offset |= next_word()
    tokens = []
    for _ in range(count):
        scale = span >> TOTAL_BITS
        target = offset // scale
        assert target < 2**TOTAL_BITS, "no output of the encoder"
        token = bisect_right(starts, target) - 1
        offset -= scale * starts[token]
        span = scale * table[token]
        if span < 2**32:
            span <<= 32
            offset = offset << 32 | next_word()
        tokens.append(token)
    return tokens


def decode_stream(
    data: bytes, grids: list[tuple[int, int]], static_tables: list[list[int]] | None = None
) -> ReferenceStream:
    """Decode a whole stream. ``grids``: (f, K) of each level; ``static_tables``: the tables of the static model."""
    cursor = Cursor(data)
    assert cursor.take(2) == b"\xf5V"
    version = cursor.take(1)[0]
    assert version & 0x7F == 1
    model_id = cursor.take(4)
    width, height = cursor.varint() + 1, cursor.varint() + 1
    coding = cursor.take(1)[0]
    level_count, entropy_id = (coding & 15) + 1, coding >> 4
    checksum = zlib.crc32(data[: cursor.position])
    stored_checksum = int.from_bytes(cursor.take(4), "little")
    if version & 0x80:
        start = cursor.position
        cursor.take(cursor.varint())
        checksum = zlib.crc32(data[start : cursor.position], checksum)
    levels = []
    for level in range(level_count):
        factor, codebook_size = grids[level]
        rows, cols = (height + factor - 1) // factor, (width + factor - 1) // factor
        if entropy_id == 1:
            assert static_tables is not None
            table = static_tables[level]
        else:
            assert entropy_id == 0
            table = uniform_table(codebook_size)
        tokens = decode_payload(cursor.take(cursor.varint()), table, rows * cols)
        for token in tokens:
            checksum = zlib.crc32(token.to_bytes(4, "little"), checksum)
        levels.append([tokens[row * cols : (row + 1) * cols] for row in range(rows)])
    assert cursor.position == len(data)
    assert checksum == stored_checksum
    return ReferenceStream(model_id, width, height, entropy_id, levels)
