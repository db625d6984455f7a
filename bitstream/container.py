"""Streams: header, boxes and one payload for each level, written and read as a whole."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from vqcodec.bitstream.boxes import Boxes, BoxType, box_section, decode_boxes, encode_boxes, split_boxes
from vqcodec.bitstream.coder import decode_levels, encode_levels
from vqcodec.bitstream.errors import (
    CorruptStreamError,
    LimitExceededError,
    TrailingDataError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from vqcodec.bitstream.header import Header, check_picture_size, read_header_fields
from vqcodec.bitstream.limits import MAX_PIXELS, MAX_STREAM_BYTES, MAX_TOKENS
from vqcodec.bitstream.model import StreamModel, expect_model
from vqcodec.bitstream.regions import (
    Part,
    RegionIndex,
    check_side,
    decode_regions,
    encode_regions,
    read_index,
    region_checksums,
    tokens_checksum,
)
from vqcodec.bitstream.tokens import TokenGrid, TokenPyramid
from vqcodec.bitstream.wire import Reader, encode_varint

StreamBytes: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says without its model. Sizes in bytes.

    ``box_bytes``: stored size by box type. ``payload_bytes``: of each whole level. ``total_bytes``: of all bytes given.
    ``complete``: False if the stream is cut off after the levels listed. ``region_side``: in pixels, of the regions
    that are coded by themselves; 0 if the picture is coded as a whole.
    """

    header: Header
    box_bytes: Mapping[int, int]
    payload_bytes: tuple[int, ...]
    total_bytes: int
    complete: bool
    region_side: int = 0


@dataclass(frozen=True)
class Stream:
    """A decoded stream. ``complete`` is False if it was cut off; its checksum could then not be checked."""

    header: Header
    boxes: Boxes
    tokens: TokenPyramid
    payload_bytes: tuple[int, ...]
    complete: bool

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of it, a line each."""
        if self.complete:
            return ()
        whole, all_levels = len(self.tokens), self.header.level_count
        text = f"the stream is cut off: {whole} of {all_levels} levels are whole, and its checksum could not be checked"
        return (text,)


@dataclass(frozen=True)
class _Parsed:
    """A stream cut into its parts, nothing decoded."""

    header: Header
    box_section: memoryview
    stored_boxes: Mapping[int, memoryview]
    payloads: tuple[memoryview, ...]
    complete: bool
    index: RegionIndex | None


def write_stream(
    tokens: TokenPyramid,
    *,
    model: StreamModel,
    width: int,
    height: int,
    entropy_id: int,
    boxes: Boxes | None = None,
    region_side: int = 0,
) -> bytes:
    """The stream of a picture of ``width`` x ``height`` pixels.

    ``tokens`` holds the first levels of ``model``, each of the shape and codebook size that the model gives it.
    ``region_side``: code squares of so many pixels by themselves, where the picture is larger; 0 for a picture coded as
    a whole. Raises `ValueError` for other tokens and sides, `LimitExceededError` if a size is over a limit of the
    format.

    Examples:
        >>> from vqcodec.bitstream import GridSpec, UniformModel
        >>> model = StreamModel(bytes.fromhex("601DE251"), "toy", (GridSpec(16, 2),), {0: UniformModel()})
        >>> tokens = TokenPyramid((TokenGrid([[1]], 2),))
        >>> write_stream(tokens, model=model, width=1, height=1, entropy_id=0).hex()  # the example of docs/format.md
        'f55601601de251000000fe4ebab90180'
    """
    has_regions = 0 < region_side < max(width, height)
    header = Header(model.model_id, width, height, len(tokens), entropy_id, has_boxes=bool(boxes) or has_regions)
    check_picture_size(width, height)
    if len(tokens) > len(model.grids):
        raise ValueError(f"model {model.name} has {len(model.grids)} levels; {len(tokens)} were given")
    for level, grid in enumerate(tokens.levels):
        shape, codebook_size = model.grid_shape(level, width, height), model.grids[level].codebook_size
        if grid.shape != shape or grid.codebook_size != codebook_size:
            raise ValueError(
                f"level {level} of model {model.name} is {shape} with K = {codebook_size} for this picture; "
                f"{grid.shape} with K = {grid.codebook_size} was given"
            )
    factors = [grid.downsampling_factor for grid in model.grids[: len(tokens)]]
    check_side(region_side, factors)
    _check_token_count(model, header)
    entropy_model = model.entropy_models.get(entropy_id)
    if entropy_model is None:
        raise ValueError(f"model {model.name} has no entropy model {entropy_id}")
    if not has_regions:
        section = encode_boxes(boxes or Boxes())
        return _joined(header, section, tokens.levels, encode_levels(tokens.levels, entropy_model))
    index, payloads = encode_regions(tokens.levels, factors, width, height, region_side, entropy_model)
    return _joined(header, encode_boxes(boxes or Boxes(), index.to_bytes()), tokens.levels, payloads)


def _joined(
    header: Header, section: bytes, levels: Sequence[TokenGrid], payloads: Sequence[bytes | memoryview]
) -> bytes:
    """The stream of these parts, with its checksum."""
    header = replace(header, checksum=_checksum(header, section, levels))
    stream = b"".join(
        [header.to_bytes(), section, *(part for each in payloads for part in (encode_varint(len(each)), each))]
    )
    _check_stream_size(len(stream))
    return stream


def stream_overhead(model: StreamModel, width: int, height: int, entropy_id: int, boxes: Boxes | None = None) -> int:
    """Bytes of a stream of such a picture before its first level: header and boxes."""
    header = Header(model.model_id, width, height, 1, entropy_id, has_boxes=bool(boxes))
    return header.size_bytes + (len(encode_boxes(boxes)) if boxes is not None else 0)


def truncated_sizes(data: StreamBytes, *, allow_partial: bool = False) -> tuple[int, ...]:
    """Bytes of the streams of the first 1, 2, ... levels of a stream. Raises a `StreamError` for what is none.

    With ``allow_partial`` a stream that is cut off counts as far as its levels are whole.

    Examples:
        >>> truncated_sizes(bytes.fromhex("f55601601de251000000fe4ebab90180"))
        (16,)
    """
    parsed = _parse(data, allow_partial=allow_partial)
    return tuple(
        parsed.header.size_bytes
        + len(_section_of_levels(parsed, count))
        + sum(len(encode_varint(len(payload))) + len(payload) for payload in parsed.payloads[:count])
        for count in range(1, len(parsed.payloads) + 1)
    )


def _section_of_levels(parsed: _Parsed, count: int, checksums: tuple[int, ...] = ()) -> bytes:
    """The box section of the stream of the first levels: as it is stored, but that an index is of these alone.

    checksums: of the regions' tokens on these levels; where only the size matters, none.
    """
    if parsed.index is None:
        return bytes(parsed.box_section)
    index = RegionIndex(parsed.index.side, checksums or parsed.index.checksums, parsed.index.lengths[:count])
    return box_section({**parsed.stored_boxes, BoxType.TILE_INDEX: index.to_bytes()})


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
        >>> from vqcodec.bitstream import GridSpec, UniformModel
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
    parsed = _parse(data, allow_partial=allow_partial)
    kept = stream.tokens.levels[:levels]
    header = stream.header
    checksums: tuple[int, ...] = ()
    if parsed.index is not None:
        factors = [grid.downsampling_factor for grid in find_model(header.model_id).grids[: len(kept)]]
        checksums = region_checksums(kept, factors, header.width, header.height, parsed.index.side)
    section = _section_of_levels(parsed, len(kept), checksums)
    return _joined(replace(header, level_count=len(kept)), section, kept, parsed.payloads[: len(kept)])


def read_header(data: StreamBytes, *, allow_partial: bool = True) -> StreamInfo:
    """What ``data`` says about itself, quickly and without its model; tokens and checksum are not looked at.

    With ``allow_partial`` a stream that is cut off after the boxes is described as far as it goes.
    Raises a `StreamError` for anything that is not a stream.

    Examples:
        >>> info = read_header(bytes.fromhex("f55601601de251000000fe4ebab90180"))
        >>> info.header.model_id.hex(), info.header.width, info.payload_bytes, info.complete
        ('601de251', 1, (1,), True)
    """
    parsed = _parse(data, allow_partial=allow_partial)
    return StreamInfo(
        header=parsed.header,
        box_bytes={kind: len(content) for kind, content in parsed.stored_boxes.items()},
        payload_bytes=tuple(len(payload) for payload in parsed.payloads),
        total_bytes=memoryview(data).nbytes,
        complete=parsed.complete,
        region_side=parsed.index.side if parsed.index else 0,
    )


def read_boxes(data: StreamBytes) -> Boxes:
    """The boxes of a stream, quickly and without its model; tokens and checksum are not looked at.

    The stream may be cut off after the boxes. Raises a `StreamError` for anything that is not a stream.

    Examples:
        >>> bool(read_boxes(bytes.fromhex("f55601601de251000000fe4ebab90180")))
        False
    """
    return decode_boxes(_parse(data, allow_partial=True).stored_boxes)


def read_stream(
    data: StreamBytes,
    find_model: Callable[[bytes], StreamModel],
    *,
    allow_partial: bool = False,
    max_pixels: int = MAX_PIXELS,
    wanted: Part | None = None,
) -> Stream:
    """Decode a stream. The same bytes give the same tokens, or an error, everywhere.

    ``find_model`` maps the model id (4 bytes) to the model and raises `UnknownModelError` if there is none. With
    ``allow_partial`` a stream that is cut off gives the levels that are whole, at least one. A picture of more than
    ``max_pixels`` pixels is refused. ``wanted``: rows and columns of pixels; of a stream with regions only those that
    have some of them are read, tokens elsewhere are 0, and the checksums of these regions are compared in the place of
    that of the stream. Raises a `StreamError` for every stream that cannot be decoded.

    Examples:
        >>> from vqcodec.bitstream import GridSpec, UniformModel
        >>> model = StreamModel(bytes.fromhex("601DE251"), "toy", (GridSpec(16, 2),), {0: UniformModel()})
        >>> stream = read_stream(bytes.fromhex("f55601601de251000000fe4ebab90180"), lambda model_id: model)
        >>> stream.tokens.levels[0].indices.tolist()
        [[1]]
    """
    parsed = _parse(data, allow_partial=allow_partial, max_pixels=max_pixels)
    header = parsed.header
    if not parsed.payloads:
        raise TruncatedStreamError("the stream ends before its first level does; fetch the whole file again")
    model = expect_model(header.model_id, find_model(header.model_id))
    if header.level_count > len(model.grids):
        raise CorruptStreamError(
            f"the stream has {header.level_count} levels, but model {model.name} has {len(model.grids)}; "
            "the file is damaged"
        )
    entropy_model = model.entropy_models.get(header.entropy_id)
    if entropy_model is None:
        raise UnsupportedVersionError(
            f"the stream uses entropy model {header.entropy_id}, which model {model.name} does not have here: "
            "install a newer vqcodec"
        )
    _check_token_count(model, header)

    boxes = decode_boxes(parsed.stored_boxes)
    grids = model.grids[: len(parsed.payloads)]
    shapes = [model.grid_shape(level, header.width, header.height) for level in range(len(grids))]
    codebook_sizes = [grid.codebook_size for grid in grids]
    if parsed.index is None:
        levels = decode_levels(parsed.payloads, entropy_model, shapes=shapes, codebook_sizes=codebook_sizes)
    else:
        levels = decode_regions(
            parsed.payloads,
            parsed.index,
            shapes=shapes,
            codebook_sizes=codebook_sizes,
            factors=[grid.downsampling_factor for grid in grids],
            size=(header.width, header.height),
            wanted=wanted,
            model=entropy_model,
        )
    is_whole = parsed.index is None or wanted is None
    if parsed.complete and is_whole and _checksum(header, parsed.box_section, levels) != header.checksum:
        raise CorruptStreamError(
            f"the checksum does not match: the file is damaged, or model {model.name} is not the one that wrote it"
        )
    return Stream(
        header=header,
        boxes=boxes,
        tokens=TokenPyramid(levels),
        payload_bytes=tuple(len(payload) for payload in parsed.payloads),
        complete=parsed.complete,
    )


def _parse(data: StreamBytes, *, allow_partial: bool, max_pixels: int = MAX_PIXELS) -> _Parsed:
    """Cut a stream into its parts. Allocates nothing that grows with what the stream claims."""
    reader = Reader(data)
    header = read_header_fields(reader)
    _check_stream_size(reader.remaining)
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
    index = stored_boxes.get(BoxType.TILE_INDEX)
    regions = index and read_index(index, header.width, header.height, header.level_count)
    return _Parsed(header, section, stored_boxes, tuple(payloads), complete, regions or None)


def _check_token_count(model: StreamModel, header: Header) -> None:
    """Raise `LimitExceededError` if all levels together have too many tokens."""
    count = 0
    for level in range(header.level_count):
        rows, cols = model.grid_shape(level, header.width, header.height)
        count += rows * cols
    if count > MAX_TOKENS:
        raise LimitExceededError(
            f"a picture of {header.width} x {header.height} pixels has {count} tokens with model {model.name}; "
            f"at most {MAX_TOKENS} are allowed: split the picture"
        )


def _check_stream_size(size: int) -> None:
    if size > MAX_STREAM_BYTES:
        raise LimitExceededError(f"the stream has {size} bytes; at most {MAX_STREAM_BYTES} are allowed")


def _checksum(header: Header, section: bytes | memoryview, levels: Sequence[TokenGrid]) -> int:
    """CRC-32 of the header without its checksum, the box section, and all tokens as little-endian uint32."""
    return tokens_checksum(levels, zlib.crc32(section, zlib.crc32(header.checked_bytes())))
