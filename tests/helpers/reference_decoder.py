"""A second decoder of ``.vq`` streams, written from docs/format.md alone: pure Python, slow, no constriction.

It imports nothing of vqcodec. That it agrees with the package on the golden streams shows that docs/format.md is enough
to write a decoder. Of the boxes it looks into the index of regions alone. The prior is in `reference_prior`, pixels in
`reference_pixels`, the context network in `reference_context`.
"""

from __future__ import annotations

import zlib
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reference_context import ReferenceContext
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


def decode_payload(
    payload: bytes, table: list[int], rows: int, cols: int, filled: dict[tuple[int, int], int]
) -> list[int]:
    """The tokens from one payload, with one table of frequencies."""
    starts = [0, *accumulate(table)]
    assert starts[-1] == 2**TOTAL_BITS
    decoder = RangeDecoder(payload)
    places = [(row, col) for row in range(rows) for col in range(cols)]
    if len(table) == 1:
        return [0] * len(places)
    return [filled[place] if place in filled else decoder.take(table, starts) for place in places]


def filled_places(box: bytes, width: int, height: int, factor: int) -> dict[tuple[int, int], int]:
    """3.2: by place, the tokens of the finest level that take no bits."""
    cursor = Cursor(box)
    side, filler = cursor.varint(), cursor.varint()
    assert side % factor == 0
    blocks = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    bits = cursor.take((len(blocks) + 7) // 8)
    assert cursor.position == len(box)
    empty = {block for n, block in enumerate(blocks) if not bits[n // 8] >> (7 - n % 8) & 1}
    assert 0 < len(empty) < len(blocks)
    return {
        (row, col): filler
        for row in range((height + factor - 1) // factor)
        for col in range((width + factor - 1) // factor)
        if (row * factor // side * side, col * factor // side * side) in empty
    }


def decode_stream(
    data: bytes,
    grids: list[tuple[int, int]],
    static_tables: list[list[int]] | None = None,
    prior: ReferencePrior | ReferenceContext | None = None,
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
    index = blocks = None
    if version & 0x80:
        start = cursor.position
        section = Cursor(cursor.take(cursor.varint()))
        checksum = zlib.crc32(data[start : cursor.position], checksum)
        while section.position < len(section.data):
            kind, content = section.take(1)[0], section.take(section.varint())
            index = content if kind == 5 else index
            blocks = content if kind == 6 else blocks
    payloads = [cursor.take(cursor.varint()) for _ in range(level_count)]
    assert cursor.position == len(data)
    tables = static_tables if entropy_id == 1 else [uniform_table(size) for _, size in grids]

    last = level_count - 1
    all_filled = {} if blocks is None else filled_places(blocks, width, height, grids[last][0])

    def decode_picture(
        width: int, height: int, payloads: list[bytes], top: int = 0, left: int = 0
    ) -> list[list[list[int]]]:
        """5: the levels of a picture, or of a region at a place in it."""
        levels: list[list[list[int]]] = []
        for level, payload in enumerate(payloads):
            factor = grids[level][0]
            rows, cols = (height + factor - 1) // factor, (width + factor - 1) // factor
            filled = all_filled if level == last else {}
            filled = {(row - top // factor, col - left // factor): token for (row, col), token in filled.items()}
            if entropy_id == 2:
                assert prior is not None
                tokens = prior.decode_level(level, rows, cols, levels, RangeDecoder(payload), filled)
            else:
                assert tables is not None
                tokens = decode_payload(payload, tables[level], rows, cols, filled)
            levels.append([tokens[row * cols : (row + 1) * cols] for row in range(rows)])
        return levels

    if index is None:
        levels = decode_picture(width, height, payloads)
    else:
        levels = decode_regions(index, width, height, payloads, [factor for factor, _ in grids], decode_picture)
    assert tokens_checksum(levels, checksum) == stored_checksum
    return ReferenceStream(model_id, width, height, entropy_id, levels)


def tokens_checksum(levels: list[list[list[int]]], checksum: int = 0) -> int:
    """4: of tokens, coarse to fine, row by row."""
    for token in (token for level in levels for row in level for token in row):
        checksum = zlib.crc32(token.to_bytes(4, "little"), checksum)
    return checksum


def decode_regions(
    index: bytes,
    width: int,
    height: int,
    payloads: list[bytes],
    factors: list[int],
    decode_picture: Callable[[int, int, list[bytes], int, int], list[list[list[int]]]],
) -> list[list[list[int]]]:
    """3.1: the levels of a picture in regions."""
    box, places = Cursor(index), [Cursor(payload) for payload in payloads]
    side = box.varint()
    corners = [(top, left) for top in range(0, height, side) for left in range(0, width, side)]
    assert len(corners) > 1
    checksums = [int.from_bytes(box.take(4), "little") for _ in corners]
    lengths = [[box.varint() for _ in corners] for _ in payloads]
    assert box.position == len(index)
    levels: list[list[list[int]]] = [
        [[-1] * ((width + factor - 1) // factor) for _ in range((height + factor - 1) // factor)]
        for factor, _ in zip(factors, payloads, strict=False)
    ]
    for number, (top, left) in enumerate(corners):
        parts = [place.take(lengths[level][number]) for level, place in enumerate(places)]
        region = decode_picture(min(side, width - left), min(side, height - top), parts, top, left)
        assert tokens_checksum(region) == checksums[number]
        for level, rows in enumerate(region):
            assert side % factors[level] == 0
            for row, tokens in enumerate(rows, top // factors[level]):
                column = left // factors[level]
                levels[level][row][column : column + len(tokens)] = tokens
    assert all(place.position == len(place.data) for place in places)
    return levels
