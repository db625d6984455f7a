"""What decoding gives: a whole picture, or one in bands of rows for those that are large."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from vqcodec.bitstream import Boxes, CorruptStreamError, Stream, read_header
from vqcodec.models.engine import Engine
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import AlphaError, LoadedImage, unpack_alpha
from vqcodec.pictures.tiling import Area, joined

#: left, top, width and height of a part of a picture, in pixels
Crop: TypeAlias = tuple[int, int, int, int]


@dataclass(frozen=True)
class DecodedStream:
    """image: the picture with its alpha, profile and metadata. stream: header, tokens and sizes.

    levels: how many levels the picture was made from. image.warnings says what could not be had.

    Examples:
        >>> from vqcodec import Codec
        >>> stream = Codec.load().encode(np.zeros((32, 48, 3), np.uint8), levels=2)
        >>> Codec.load().decode_stream(stream).levels
        2
    """

    image: LoadedImage
    stream: Stream
    levels: int


@dataclass(frozen=True)
class PictureBands:
    """A picture, or an area of one, painted while it is iterated over: never whole in memory, but for its alpha.

    stream, levels: as in `DecodedStream`. alpha: (area.height, area.width) uint8, or None.

    Examples:
        >>> from vqcodec import Codec
        >>> stream = Codec.load().encode(np.zeros((32, 48, 3), np.uint8))
        >>> [band.shape for band in Codec.load().decode_in_bands(stream, crop=(8, 8, 20, 10))]
        [(10, 20, 3)]
    """

    stream: Stream
    levels: int
    area: Area
    alpha: Pixels | None
    rgb: Iterator[Pixels]

    @property
    def boxes(self) -> Boxes:
        """Colour profile and metadata."""
        return self.stream.boxes

    @property
    def channels(self) -> int:
        """3, or 4 with alpha."""
        return 3 if self.alpha is None else 4

    def __iter__(self) -> Iterator[Pixels]:
        """Rows (n, area.width, channels) uint8 from the top."""
        row = 0
        for band in self.rgb:
            if self.alpha is None:
                yield band
            else:
                yield np.dstack([band, self.alpha[row : row + len(band)]])
            row += len(band)

    def whole(self) -> DecodedStream:
        """All of it."""
        boxes = self.stream.boxes
        image = LoadedImage(
            rgb=joined(self.rgb, self.area),
            alpha=self.alpha,
            icc=boxes.icc,
            exif=boxes.exif,
            xmp=boxes.xmp,
            warnings=self.stream.warnings,
        )
        return DecodedStream(image, self.stream, self.levels)


def area_of(data: bytes | bytearray | memoryview, crop: Crop) -> Area:
    """The part of a stream's picture. Raises a StreamError, and ValueError for one beyond the picture."""
    header = read_header(data).header
    return Area(*crop).check_inside(header.width, header.height)


def bands_of(read: Callable[..., Stream], engine: Engine, levels: int, area: Area | None) -> PictureBands:
    """An area of a picture, or all of it, from the first levels.

    read: the stream, from which part of the pixels is wanted. Raises what it raises, and CorruptStreamError for alpha.
    """
    reach = engine.decoder_radius
    wanted = area.grown(reach) if area and reach is not None else None
    stream = read(wanted=wanted and (wanted.rows, wanted.columns))
    header, boxes = stream.header, stream.boxes
    area = area or Area(0, 0, header.width, header.height)
    try:  # before the networks: damage is told at once
        alpha = None if boxes.alpha is None else unpack_alpha(boxes.alpha, header.width, header.height)
    except AlphaError as error:
        raise CorruptStreamError(str(error)) from error
    tokens = [grid.indices for grid in stream.tokens.levels[:levels]]
    shown = None if alpha is None else alpha[area.rows, area.columns]
    return PictureBands(stream, len(tokens), area, shown, engine.bands(tokens, area))
