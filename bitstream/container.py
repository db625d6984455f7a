"""Streams: header, boxes and one payload for each level, written and read as a whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from vqcodec.bitstream.boxes import Boxes, BoxType, box_section, decode_boxes, stored_boxes
from vqcodec.bitstream.coder import decode_levels, encode_levels
from vqcodec.bitstream.entropy_models import CodedTokens
from vqcodec.bitstream.errors import (
    CorruptStreamError,
    LimitExceededError,
    TruncatedStreamError,
    UnsupportedVersionError,
)
from vqcodec.bitstream.header import Header, check_picture_size
from vqcodec.bitstream.layout import StreamBytes, joined_stream, parse_stream, stream_checksum
from vqcodec.bitstream.limits import MAX_PIXELS, MAX_TOKENS
from vqcodec.bitstream.model import StreamModel, expect_model
from vqcodec.bitstream.partial import PartialLevel, block_shape
from vqcodec.bitstream.regions import (
    Part,
    check_side,
    decode_regions,
    encode_regions,
)
from vqcodec.bitstream.tokens import TokenArray, TokenPyramid


@dataclass(frozen=True)
class StreamInfo:
    """What a stream says without its model. Sizes in bytes.

    ``box_bytes``: stored size by box type. ``payload_bytes``: of each whole level. ``total_bytes``: of all bytes given.
    ``complete``: False if the stream is cut off after the levels listed. ``region_side``: in pixels, of the regions
    that are coded by themselves; 0 if the picture is coded as a whole. ``blocks``: where the finest level has tokens,
    if not everywhere.
    """

    header: Header
    box_bytes: Mapping[int, int]
    payload_bytes: tuple[int, ...]
    total_bytes: int
    complete: bool
    region_side: int = 0
    blocks: PartialLevel | None = None


@dataclass(frozen=True)
class Stream:
    """A decoded stream. ``complete`` is False if it was cut off; its checksum could then not be checked.

    ``blocks``: where the finest level has tokens, if not everywhere; elsewhere its filler stands. ``coded``: the same,
    token by token.
    """

    header: Header
    boxes: Boxes
    tokens: TokenPyramid
    payload_bytes: tuple[int, ...]
    complete: bool
    blocks: PartialLevel | None = None
    coded: CodedTokens | None = None

    def grids(self, levels: int) -> list[TokenArray]:
        """The grids (rows, cols) of the first ``levels`` levels, or of all that there are, as networks take them.

        Of the stream's finest level, -1 stands where it has no token.
        """
        grids: list[TokenArray] = [grid.indices for grid in self.tokens.levels[:levels]]
        if self.coded is not None and len(grids) == len(self.tokens):
            grids[-1] = np.where(self.coded.mask, grids[-1].astype(np.int32), -1)
        return grids

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know of it, a line each."""
        if self.complete:
            return ()
        whole, all_levels = len(self.tokens), self.header.level_count
        text = f"the stream is cut off: {whole} of {all_levels} levels are whole, and its checksum could not be checked"
        return (text,)


def write_stream(
    tokens: TokenPyramid,
    *,
    model: StreamModel,
    width: int,
    height: int,
    entropy_id: int,
    boxes: Boxes | None = None,
    region_side: int = 0,
    blocks: PartialLevel | None = None,
) -> bytes:
    """The stream of a picture of ``width`` x ``height`` pixels.

    ``tokens`` holds the first levels of ``model``, each of the shape and codebook size that the model gives it.
    ``region_side``: code squares of so many pixels by themselves, where the picture is larger; 0 for a picture coded as
    a whole. ``blocks``: where the finest level has tokens, if not everywhere; the others are its filler. Raises
    `ValueError` for other tokens, sides and blocks, `LimitExceededError` if a size is over a limit of the format.

    Examples:
        >>> from vqcodec.bitstream import GridSpec, TokenGrid, UniformModel
        >>> model = StreamModel(bytes.fromhex("601DE251"), "toy", (GridSpec(16, 2),), {0: UniformModel()})
        >>> tokens = TokenPyramid((TokenGrid([[1]], 2),))
        >>> write_stream(tokens, model=model, width=1, height=1, entropy_id=0).hex()  # the example of docs/format.md
        'f55601601de251000000fe4ebab90180'
    """
    has_regions = 0 < region_side < max(width, height)
    has_boxes = bool(boxes) or has_regions or blocks is not None
    header = Header(model.model_id, width, height, len(tokens), entropy_id, has_boxes=has_boxes)
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
    coded = None
    stored = stored_boxes(boxes or Boxes())
    if blocks is not None:
        coded = _checked_blocks(blocks, tokens, factors[-1], width, height)
        stored[BoxType.PARTIAL_LEVEL] = blocks.to_bytes()
    if has_regions:
        index, payloads = encode_regions(tokens.levels, factors, width, height, region_side, entropy_model, coded)
        stored[BoxType.TILE_INDEX] = index.to_bytes()
    else:
        payloads = encode_levels(tokens.levels, entropy_model, coded)
    return joined_stream(header, box_section(stored), tokens.levels, payloads)


def _checked_blocks(blocks: PartialLevel, tokens: TokenPyramid, factor: int, width: int, height: int) -> CodedTokens:
    """Where the finest level has tokens. Raises `ValueError` for blocks and tokens that do not go together."""
    finest = tokens.levels[-1]
    if len(tokens) == 1:
        raise ValueError("the only level has tokens everywhere")
    if blocks.side % factor or blocks.coded.shape != block_shape(blocks.side, width, height):
        raise ValueError(
            f"{blocks.coded.shape} blocks of {blocks.side} pixels do not go with a picture of {width} x {height} "
            f"pixels and tokens of {factor}"
        )
    coded = blocks.tokens(factor, finest.shape)
    if (finest.indices[~coded.mask] != blocks.filler).any():
        raise ValueError(f"tokens outside the coded blocks are {blocks.filler}, others were given")
    return coded


def stream_overhead(
    model: StreamModel, width: int, height: int, entropy_id: int, stored: Mapping[int, bytes] | None = None
) -> int:
    """Bytes of a stream of such a picture before its first level: header and boxes.

    ``stored``: the boxes by type, as `stored_boxes` and `PartialLevel.to_bytes` give them.
    """
    section = box_section(stored or {})
    return Header(model.model_id, width, height, 1, entropy_id, has_boxes=bool(section)).size_bytes + len(section)


def read_header(data: StreamBytes, *, allow_partial: bool = True) -> StreamInfo:
    """What ``data`` says about itself, quickly and without its model; tokens and checksum are not looked at.

    With ``allow_partial`` a stream that is cut off after the boxes is described as far as it goes.
    Raises a `StreamError` for anything that is not a stream.

    Examples:
        >>> info = read_header(bytes.fromhex("f55601601de251000000fe4ebab90180"))
        >>> info.header.model_id.hex(), info.header.width, info.payload_bytes, info.complete
        ('601de251', 1, (1,), True)
    """
    parsed = parse_stream(data, allow_partial=allow_partial)
    return StreamInfo(
        header=parsed.header,
        box_bytes={kind: len(content) for kind, content in parsed.stored_boxes.items()},
        payload_bytes=tuple(len(payload) for payload in parsed.payloads),
        total_bytes=memoryview(data).nbytes,
        complete=parsed.complete,
        region_side=parsed.index.side if parsed.index else 0,
        blocks=parsed.blocks if parsed.complete else None,
    )


def read_boxes(data: StreamBytes) -> Boxes:
    """The boxes of a stream, quickly and without its model; tokens and checksum are not looked at.

    The stream may be cut off after the boxes. Raises a `StreamError` for anything that is not a stream.

    Examples:
        >>> bool(read_boxes(bytes.fromhex("f55601601de251000000fe4ebab90180")))
        False
    """
    return decode_boxes(parse_stream(data, allow_partial=True).stored_boxes)


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
    parsed = parse_stream(data, allow_partial=allow_partial, max_pixels=max_pixels)
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
    blocks = parsed.blocks if len(grids) == header.level_count else None
    if blocks is not None and len(grids) == 1:
        raise CorruptStreamError("the PARTIAL_LEVEL box is of a stream with one level; the file is damaged")
    if blocks is not None and blocks.filler >= codebook_sizes[-1]:
        raise CorruptStreamError(
            f"the PARTIAL_LEVEL box has token {blocks.filler} of {codebook_sizes[-1]}; the file is damaged"
        )
    coded = None if blocks is None else blocks.tokens(grids[-1].downsampling_factor, shapes[-1])
    if parsed.index is None:
        levels = decode_levels(
            parsed.payloads, entropy_model, shapes=shapes, codebook_sizes=codebook_sizes, coded=coded
        )
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
            coded=coded,
        )
    is_whole = parsed.index is None or wanted is None
    if parsed.complete and is_whole and stream_checksum(header, parsed.box_section, levels) != header.checksum:
        raise CorruptStreamError(
            f"the checksum does not match: the file is damaged, or model {model.name} is not the one that wrote it"
        )
    return Stream(
        header=header,
        boxes=boxes,
        tokens=TokenPyramid(levels),
        payload_bytes=tuple(len(payload) for payload in parsed.payloads),
        complete=parsed.complete,
        blocks=blocks,
        coded=coded,
    )


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
