"""A second decoder of ``.vq`` streams, written from docs/format.md alone: pure Python, slow, no constriction.

It imports nothing of vqcodec. That it agrees with the package on the golden streams shows that docs/format.md is enough
to write a decoder. It does not look into the boxes. The prior is in `reference_prior`, pixels in `reference_pixels`.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_prior import ReferencePrior

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


class RangeDecoder:
    """5.2: reads one token after the other from a payload."""

    def __init__(self, payload: bytes) -> None:
        self.words = iter(payload[i : i + 4].ljust(4, b"\0") for i in range(0, len(payload), 4))
        self.span = MASK
        self.offset = self.next_word() << 32
        self.offset |= self.next_word()

    def next_word(self) -> int:
        return int.from_bytes(next(self.words, b"\0\0\0\0"), "big")

    def take(self, table: list[int], starts: list[int]) -> int:
        """A token with these frequencies, and their sums so far."""
        scale = self.span >> TOTAL_BITS
        target = self.offset // scale
        assert target < 2**TOTAL_BITS, "no output of the encoder"
        token = bisect_right(starts, target) - 1
        self.offset -= scale * starts[token]
        self.span = scale * table[token]
        if self.span < 2**32:
            self.span <<= 32
            self.offset = self.offset << 32 | self.next_word()
        return token


def decode_payload(payload: bytes, table: list[int], count: int) -> list[int]:
    """``count`` tokens from one payload, with one table of frequencies."""
    if len(table) == 1:
        return [0] * count
    starts = [0, *accumulate(table)]
    assert starts[-1] == 2**TOTAL_BITS
    decoder = RangeDecoder(payload)
    return [decoder.take(table, starts) for _ in range(count)]


def decode_stream(
    data: bytes,
    grids: list[tuple[int, int]],
    static_tables: list[list[int]] | None = None,
    prior: ReferencePrior | None = None,
) -> ReferenceStream:
    """Decode a whole stream. ``grids``: (f, K) of each level; ``static_tables``: the tables of the static model;
    ``prior``: of the prior."""
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
        payload = cursor.take(cursor.varint())
        if entropy_id == 2:
            assert prior is not None
            tokens = prior.decode_level(level, rows, cols, levels, RangeDecoder(payload))
        elif entropy_id == 1:
            assert static_tables is not None
            tokens = decode_payload(payload, static_tables[level], rows * cols)
        else:
            assert entropy_id == 0
            tokens = decode_payload(payload, uniform_table(codebook_size), rows * cols)
        for token in tokens:
            checksum = zlib.crc32(token.to_bytes(4, "little"), checksum)
        levels.append([tokens[row * cols : (row + 1) * cols] for row in range(rows)])
    assert cursor.position == len(data)
    assert checksum == stored_checksum
    return ReferenceStream(model_id, width, height, entropy_id, levels)
