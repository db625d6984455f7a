"""What decoding gives: a whole picture, or one in bands of rows for those that are large."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from vqcodec.bitstream import Boxes, CorruptStreamError, Stream, read_header
from vqcodec.models.engine import Engine
from vqcodec.pictures.alpha import AlphaError, AlphaRows
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import LoadedImage
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
    """A picture, or an area of one, painted while it is iterated over, each time anew: never whole in memory.

    stream, levels: as in `DecodedStream`.

    Examples:
        >>> from vqcodec import Codec
        >>> stream = Codec.load().encode(np.zeros((32, 48, 3), np.uint8))
        >>> [band.shape for band in Codec.load().decode_in_bands(stream, crop=(8, 8, 20, 10))]
        [(10, 20, 3)]
    """

    stream: Stream
    levels: int
    area: Area
    rgb: Callable[[], Iterator[Pixels]]
    alpha_rows: AlphaRows | None

    @property
    def boxes(self) -> Boxes:
        """Colour profile and metadata."""
        return self.stream.boxes

    def __iter__(self) -> Iterator[Pixels]:
        """Rows (n, area.width, 3 or 4) uint8 from the top, the fourth channel being alpha."""
        if self.alpha_rows is None:
            yield from self.rgb()
            return
        alpha = _Rows(self.alpha_rows)
        alpha.skip(self.area.top)
        for band in self.rgb():
            yield np.dstack([band, alpha.take(len(band))[:, self.area.columns]])

    def whole(self) -> DecodedStream:
        """All of it."""
        boxes, pixels = self.stream.boxes, joined(self, self.area)
        image = LoadedImage(
            rgb=np.ascontiguousarray(pixels[:, :, :3]),
            alpha=None if self.alpha_rows is None else np.ascontiguousarray(pixels[:, :, 3]),
            icc=boxes.icc,
            exif=boxes.exif,
            xmp=boxes.xmp,
            warnings=self.stream.warnings,
        )
        return DecodedStream(image, self.stream, self.levels)


class _Rows:
    """Rows (n, width) that come as many at a time as one likes."""

    def __init__(self, bands: Iterable[Pixels]) -> None:
        self._bands, self._left = iter(bands), np.empty((0, 0), np.uint8)

    def take(self, count: int) -> Pixels:
        taken = []
        while count:
            if not len(self._left):
                self._left = next(self._bands)
            taken.append(self._left[:count])
            self._left = self._left[count:]
            count -= len(taken[-1])
        return np.concatenate(taken)

    def skip(self, count: int) -> None:
        while count > len(self._left):
            count -= len(self._left)
            self._left = next(self._bands)
        self._left = self._left[count:]


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
        alpha = None if boxes.alpha is None else AlphaRows(boxes.alpha, header.width, header.height)
        if alpha is not None:
            alpha.check()
    except AlphaError as error:
        raise CorruptStreamError(str(error)) from error
    tokens = stream.grids(levels)
    return PictureBands(stream, len(tokens), area, partial(engine.bands, tokens, area), alpha)
