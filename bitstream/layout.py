"""How the parts of a stream lie: a stream cut into them, nothing decoded, and put together from them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from vqcodec.bitstream.boxes import BoxType, split_boxes
from vqcodec.bitstream.errors import LimitExceededError, TrailingDataError, TruncatedStreamError
from vqcodec.bitstream.header import Header, check_picture_size, read_header_fields
from vqcodec.bitstream.limits import MAX_PIXELS, MAX_STREAM_BYTES
from vqcodec.bitstream.partial import PartialLevel, read_partial
from vqcodec.bitstream.regions import RegionIndex, read_index, tokens_checksum
from vqcodec.bitstream.tokens import TokenGrid
from vqcodec.bitstream.wire import Reader, encode_varint

StreamBytes: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True)
class ParsedStream:
    """A stream cut into its parts, nothing decoded."""

    header: Header
    box_section: memoryview
    stored_boxes: Mapping[int, memoryview]
    payloads: tuple[memoryview, ...]
    complete: bool
    index: RegionIndex | None
    blocks: PartialLevel | None


def parse_stream(data: StreamBytes, *, allow_partial: bool, max_pixels: int = MAX_PIXELS) -> ParsedStream:
    """Cut a stream into its parts. Allocates nothing that grows with what the stream claims."""
    reader = Reader(data)
    header = read_header_fields(reader)
    _check_stream_size(memoryview(data).nbytes)
    check_picture_size(header.width, header.height, max_pixels)
    start = reader.position
    stored_boxes = split_boxes(reader) if header.has_boxes else {}
    section = reader.read_since(start)
    payloads: list[memoryview] = []
    complete = True
    try:
        for level in range(header.level_count):
            size = reader.varint(f"payload length of level {level}")
            payloads.append(reader.take(size, f"payload of level {level}"))
    except TruncatedStreamError:
        if not allow_partial:
            raise
        complete = False
    if complete and reader.remaining:
        raise TrailingDataError(
            f"{reader.remaining} bytes follow the end of the stream at byte {reader.position}: cut them off"
        )
    index, part = stored_boxes.get(BoxType.TILE_INDEX), stored_boxes.get(BoxType.PARTIAL_LEVEL)
    regions = index and read_index(index, header.width, header.height, header.level_count)
    blocks = part and read_partial(part, header.width, header.height)
    return ParsedStream(header, section, stored_boxes, tuple(payloads), complete, regions or None, blocks or None)


def joined_stream(
    header: Header, section: bytes, levels: Sequence[TokenGrid], payloads: Sequence[bytes | memoryview]
) -> bytes:
    """The stream of these parts, with its checksum."""
    header = replace(header, checksum=stream_checksum(header, section, levels))
    stream = b"".join(
        [header.to_bytes(), section, *(part for each in payloads for part in (encode_varint(len(each)), each))]
    )
    _check_stream_size(len(stream))
    return stream


def stream_checksum(header: Header, section: bytes | memoryview, levels: Sequence[TokenGrid]) -> int:
    """CRC-32 of the header without its checksum, the box section, and all tokens as little-endian uint32."""
    return tokens_checksum(levels, zlib.crc32(section, zlib.crc32(header.checked_bytes())))


def _check_stream_size(size: int) -> None:
    if size > MAX_STREAM_BYTES:
        raise LimitExceededError(f"the stream has {size} bytes; at most {MAX_STREAM_BYTES} are allowed")
