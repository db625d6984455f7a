"""Fewer levels of a stream, whose payloads and boxes stay as they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from vqcodec.bitstream.boxes import BoxType, box_section
from vqcodec.bitstream.container import read_stream
from vqcodec.bitstream.layout import ParsedStream, StreamBytes, joined_stream, parse_stream
from vqcodec.bitstream.limits import MAX_PIXELS
from vqcodec.bitstream.model import StreamModel
from vqcodec.bitstream.regions import RegionIndex, region_checksums
from vqcodec.bitstream.wire import encode_varint


def truncated_sizes(data: StreamBytes, *, allow_partial: bool = False) -> tuple[int, ...]:
    """Bytes of the streams of the first 1, 2, ... levels of a stream. Raises a `StreamError` for what is none.

    With ``allow_partial`` a stream that is cut off counts as far as its levels are whole.

    Examples:
        >>> truncated_sizes(bytes.fromhex("f55601601de251000000fe4ebab90180"))
        (16,)
    """
    parsed = parse_stream(data, allow_partial=allow_partial)
    return tuple(
        parsed.header.size_bytes
        + len(_section_of_levels(parsed, count))
        + sum(len(encode_varint(len(payload))) + len(payload) for payload in parsed.payloads[:count])
        for count in range(1, len(parsed.payloads) + 1)
    )


def truncated_stream(
    data: StreamBytes,
    find_model: Callable[[bytes], StreamModel],
    levels: int,
    *,
    allow_partial: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> bytes:
    """The stream of the first ``levels`` levels of a stream, or of all that it has. Payloads and boxes stay the same.

    Decodes the stream: the checksum is one of tokens, and damage must not get a new one. That of a stream that is cut
    off, with ``allow_partial``, cannot be checked. Raises as `read_stream` does, and `ValueError` for no levels.

    Examples:
        >>> from vqcodec.bitstream import GridSpec, TokenGrid, TokenPyramid, UniformModel, read_header, write_stream
        >>> model = StreamModel(bytes(4), "toy", (GridSpec(32, 4), GridSpec(16, 4)), {0: UniformModel()})
        >>> tokens = TokenPyramid((TokenGrid([[1]], 4), TokenGrid([[0, 2], [3, 1]], 4)))
        >>> data = write_stream(tokens, model=model, width=32, height=32, entropy_id=0)
        >>> small = truncated_stream(data, lambda model_id: model, levels=1)
        >>> len(small) == truncated_sizes(data)[0], read_header(small).header.level_count
        (True, 1)
    """
    if levels < 1:
        raise ValueError(f"{levels} levels: a stream has 1 or more")
    stream = read_stream(data, find_model, allow_partial=allow_partial, max_pixels=max_pixels)
    parsed = parse_stream(data, allow_partial=allow_partial)
    kept = stream.tokens.levels[:levels]
    header = stream.header
    checksums: tuple[int, ...] = ()
    if parsed.index is not None:
        factors = [grid.downsampling_factor for grid in find_model(header.model_id).grids[: len(kept)]]
        checksums = region_checksums(kept, factors, header.width, header.height, parsed.index.side)
    section = _section_of_levels(parsed, len(kept), checksums)
    header = replace(header, level_count=len(kept), has_boxes=bool(section))
    return joined_stream(header, section, kept, parsed.payloads[: len(kept)])


def _section_of_levels(parsed: ParsedStream, count: int, checksums: tuple[int, ...] = ()) -> bytes:
    """The box section of the stream of the first levels: as it is stored, but that an index is of these alone, and that
    blocks of a level that is left out are, too.

    checksums: of the regions' tokens on these levels; where only the size matters, none.
    """
    stored: dict[int, bytes | memoryview] = dict(parsed.stored_boxes)
    if count < parsed.header.level_count:
        stored.pop(BoxType.PARTIAL_LEVEL, None)
    if parsed.index is not None:
        index = RegionIndex(parsed.index.side, checksums or parsed.index.checksums, parsed.index.lengths[:count])
        stored[BoxType.TILE_INDEX] = index.to_bytes()
    return box_section(stored)
