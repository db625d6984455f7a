"""Regions: squares of a picture whose tokens are coded by themselves, so that a part can be read without the rest.

A stream with regions has a TILE_INDEX box: where the payload of each region lies, and a checksum of its tokens.
docs/format.md, section 3.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vqcodec.bitstream.coder import decode_levels, encode_levels
from vqcodec.bitstream.entropy_models import CodedTokens, EntropyModel
from vqcodec.bitstream.errors import CorruptStreamError, StreamError
from vqcodec.bitstream.limits import MAX_SIDE_PIXELS
from vqcodec.bitstream.tokens import TokenGrid
from vqcodec.bitstream.wire import Reader, encode_varint

#: rows and columns of pixels
Part: TypeAlias = tuple[slice, slice]

_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class RegionIndex:
    """What a TILE_INDEX box says.

    ``side``: of the squares, in pixels. ``checksums``: of each region's tokens, in raster order. ``lengths``: bytes of
    the payloads, for each level those of all regions in the same order.
    """

    side: int
    checksums: tuple[int, ...]
    lengths: tuple[tuple[int, ...], ...]

    def to_bytes(self) -> bytes:
        """The content of the box."""
        content = bytearray(encode_varint(self.side))
        for checksum in self.checksums:
            content += checksum.to_bytes(_CHECKSUM_BYTES, "little")
        for level in self.lengths:
            for length in level:
                content += encode_varint(length)
        return bytes(content)


def read_index(content: memoryview, width: int, height: int, levels: int) -> RegionIndex:
    """What the box of a picture of ``width`` x ``height`` pixels says. Raises `CorruptStreamError`."""
    reader = Reader(content)
    try:
        side = reader.varint("side of the regions")
        if not 1 <= side < max(width, height):
            raise CorruptStreamError(f"regions of {side} pixels do not cut a picture of {width} x {height}")
        count = -(-width // side) * -(-height // side)
        if count * (_CHECKSUM_BYTES + levels) > reader.remaining:
            raise CorruptStreamError(f"the index is too short for {count} regions")
        checksums = tuple(
            int.from_bytes(reader.take(_CHECKSUM_BYTES, "checksum of a region"), "little") for _ in range(count)
        )
        lengths = tuple(
            tuple(reader.varint("length of a region's payload") for _ in range(count)) for _ in range(levels)
        )
    except StreamError as error:
        raise CorruptStreamError(f"the TILE_INDEX box is damaged: {error}") from error
    if reader.remaining:
        raise CorruptStreamError(f"the TILE_INDEX box has {reader.remaining} bytes too many; the file is damaged")
    return RegionIndex(side, checksums, lengths)


def check_side(side: int, factors: Sequence[int]) -> None:
    """Raises `ValueError` unless regions of ``side`` pixels, or none for 0, hold whole tokens of all levels."""
    if not 0 <= side <= MAX_SIDE_PIXELS or any(side % factor for factor in factors):
        raise ValueError(f"regions of {side} pixels: their side is a multiple of {max(factors)}, such as 1024")


def encode_regions(
    levels: tuple[TokenGrid, ...],
    factors: Sequence[int],
    width: int,
    height: int,
    side: int,
    model: EntropyModel,
    coded: CodedTokens | None = None,
) -> tuple[RegionIndex, list[bytes]]:
    """The index of a picture's tokens, and the payload of each level: those of its regions, one after the other.

    ``factors``: pixels a token, each way, by level, of which ``side`` is a multiple. ``coded``: where the last level
    has tokens, if not everywhere.
    """
    payloads: list[list[bytes]] = [[] for _ in levels]
    for part in parts(width, height, side):
        region = encode_levels(_cut(levels, factors, part), model, _coded_of(coded, part, factors[-1]))
        for all_of_level, payload in zip(payloads, region, strict=True):
            all_of_level.append(payload)
    lengths = tuple(tuple(map(len, all_of_level)) for all_of_level in payloads)
    index = RegionIndex(side, region_checksums(levels, factors, width, height, side), lengths)
    return index, [b"".join(all_of_level) for all_of_level in payloads]


def decode_regions(
    payloads: Sequence[memoryview],
    index: RegionIndex,
    *,
    shapes: Sequence[tuple[int, int]],
    codebook_sizes: Sequence[int],
    factors: Sequence[int],
    size: tuple[int, int],
    wanted: Part | None,
    model: EntropyModel,
    coded: CodedTokens | None = None,
) -> tuple[TokenGrid, ...]:
    """The tokens of the levels whose payloads are there; 0 in regions that ``wanted`` has no pixel of.

    ``size``: width and height of the picture. ``coded``: of the last of these levels, where it has tokens if not
    everywhere. The checksums of regions are compared where all levels are there. Raises
    `CorruptStreamError`.
    """
    width, height = size
    for level, (payload, lengths) in enumerate(zip(payloads, index.lengths, strict=False)):
        if sum(lengths) != len(payload):
            raise CorruptStreamError(f"the regions of level {level} do not add up to its payload; the file is damaged")
    if any(index.side % factor for factor in factors):
        raise CorruptStreamError(f"regions of {index.side} pixels do not hold whole tokens; the file is damaged")
    levels = [np.zeros(shape, np.int32) for shape in shapes]
    starts = [0] * len(payloads)
    for number, part in enumerate(parts(width, height, index.side)):
        ends = [start + lengths[number] for start, lengths in zip(starts, index.lengths, strict=False)]
        if wanted is None or _meet(part, wanted):
            places = [_tokens_of(part, factor) for factor in factors]
            grids = decode_levels(
                [payload[start:end] for payload, start, end in zip(payloads, starts, ends, strict=True)],
                model,
                shapes=[levels[level][place].shape for level, place in enumerate(places)],
                codebook_sizes=codebook_sizes,
                coded=_coded_of(coded, part, factors[-1]),
            )
            if len(grids) == len(index.lengths) and tokens_checksum(grids) != index.checksums[number]:
                raise CorruptStreamError(
                    f"the checksum of region {number} does not match: the file is damaged, or written with another "
                    "model"
                )
            for tokens, place, grid in zip(levels, places, grids, strict=True):
                tokens[place] = grid.indices
        starts = ends
    return tuple(TokenGrid(tokens, codes) for tokens, codes in zip(levels, codebook_sizes, strict=True))


def parts(width: int, height: int, side: int) -> Iterator[Part]:
    """The regions of a picture in raster order; those at the right and at the bottom may be smaller."""
    for top in range(0, height, side):
        for left in range(0, width, side):
            yield slice(top, min(height, top + side)), slice(left, min(width, left + side))


def region_checksums(
    levels: Sequence[TokenGrid], factors: Sequence[int], width: int, height: int, side: int
) -> tuple[int, ...]:
    """Of the tokens of each region of a picture, in raster order."""
    return tuple(tokens_checksum(_cut(levels, factors, part)) for part in parts(width, height, side))


def tokens_checksum(levels: Sequence[TokenGrid], start: int = 0) -> int:
    """CRC-32 of all tokens, coarse to fine, as little-endian uint32, going on from ``start``."""
    for grid in levels:
        start = zlib.crc32(grid.indices.astype("<u4").tobytes(), start)
    return start


def _tokens_of(part: Part, factor: int) -> Part:
    rows, columns = (slice(span.start // factor, -(-span.stop // factor)) for span in part)
    return rows, columns


def _cut(levels: Sequence[TokenGrid], factors: Sequence[int], part: Part) -> tuple[TokenGrid, ...]:
    return tuple(
        TokenGrid(grid.indices[_tokens_of(part, factor)], grid.codebook_size)
        for grid, factor in zip(levels, factors, strict=True)
    )


def _coded_of(coded: CodedTokens | None, part: Part, factor: int) -> CodedTokens | None:
    if coded is None:
        return None
    return CodedTokens(np.ascontiguousarray(coded.mask[_tokens_of(part, factor)]), coded.filler)


def _meet(part: Part, other: Part) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(part, other, strict=True))
