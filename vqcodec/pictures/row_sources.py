"""Pictures that are read a few rows at a time, for those that are too large for memory: by libvips, where it is there.

Only what needs no more than its samples, as both libraries see it: 8 bits, gray or RGB in sRGB, opaque and upright, of
few kinds. `load_image` reads the rest.
"""

from __future__ import annotations

import importlib
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from PIL import Image

from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.box_files import colour_codes_of_png
from vqcodec.pictures.errors import ImageError, UnreadableImageError
from vqcodec.pictures.exif import xmp_of, xmp_orientation
from vqcodec.pictures.further_readers import is_there
from vqcodec.pictures.source import pillow_rules
from vqcodec.pictures.stated_colours import from_png

logging.getLogger("pyvips").addHandler(logging.NullHandler())  # else what it logs of damage is printed
_UPRIGHT: Final = 1
#: libvips' words for what makes a picture none that is read here, for samples of 8 bits, and for what they mean
_LEFT_ALONE: Final = ("orientation", "n-pages", "icc-profile-data")
_BYTES: Final = "uchar"
#: at a time: what libvips computes, it holds several times
_FETCHED_ROWS: Final = 64
_COLOURS: Final = {("srgb", 3), ("rgb", 3), ("b-w", 1)}
#: as Pillow calls them
_KINDS: Final = frozenset(("PNG", "JPEG", "TIFF", "WEBP", "PPM"))


class RowSource(Protocol):
    """A picture whose rows are asked for once, from the top."""

    width: int
    height: int

    def read(self, count: int) -> Pixels:
        """The next `count` rows, (count, width, 3) uint8. Raises UnreadableImageError."""


class VipsRows:
    """A `RowSource` on a file."""

    def __init__(self, path: Path, image: Any) -> None:
        import pyvips

        self.path, self.width, self.height = path, image.width, image.height
        # whose pixels are computed here: threads of libvips would ask a sequential reader for rows out of order
        self._region, self._bands, self._at = pyvips.Region.new(image), image.bands, 0

    def read(self, count: int) -> Pixels:
        """See `RowSource.read`."""
        import pyvips

        rows = np.empty((count, self.width, 3), np.uint8)
        try:
            for start in range(0, count, _FETCHED_ROWS):
                part = rows[start : start + _FETCHED_ROWS]
                fetched = self._region.fetch(0, self._at + start, self.width, len(part))
                part[:] = np.frombuffer(fetched, np.uint8).reshape(len(part), self.width, self._bands)
        except pyvips.Error as error:
            raise UnreadableImageError(
                f"{self.path}: the picture is damaged or cut off ({_first_line(error)}): get a whole copy of it"
            ) from error
        self._at += count
        return rows


def open_rows(path: Path, least_pixels: int, max_pixels: int) -> VipsRows | None:
    """A picture file of at least so many pixels by its rows, or None where it must be read as a whole, `load_image` has
    something to say of it, or libvips (the package pyvips) is not there."""
    if find_spec("pyvips") is None or not path.is_file() or not _is_large_and_plain(path, least_pixels, max_pixels):
        return None
    if is_there("HEIC"):
        # a libvips of the system brings its own libheif: loaded first, it would crash what reads HEIC
        importlib.import_module("pillow_heif")
    try:
        import pyvips
    except (ImportError, OSError):  # OSError: the package without the library
        return None
    try:
        image = pyvips.Image.new_from_file(str(path), access="sequential", fail_on="warning")
    except (
        pyvips.Error,
        UnicodeEncodeError,
    ):  # told by `load_image`; UnicodeEncodeError: a name that libvips cannot have
        return None
    if image.format != _BYTES or (image.interpretation, image.bands) not in _COLOURS:
        return None
    stated = {name: image.get(name) for name in _LEFT_ALONE if image.get_typeof(name)}
    if stated.get("orientation", _UPRIGHT) != _UPRIGHT or stated.get("n-pages", 1) > 1 or "icc-profile-data" in stated:
        return None
    return VipsRows(path, image)


def _is_large_and_plain(path: Path, least_pixels: int, max_pixels: int) -> bool:
    """What the head of the file says: to load libvips takes a third of a second, and it does not look at everything."""
    try:
        with pillow_rules(max_pixels), path.open("rb") as file, Image.open(file) as image:
            if image.width * image.height < least_pixels or image.format not in _KINDS:
                return False
            if image.format == "PNG" and (from_png(image.info) is not None or colour_codes_of_png(file) is not None):
                return False
            return (xmp_orientation(xmp_of(image.info) or b"") or _UPRIGHT) == _UPRIGHT
    except (ImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError):  # `load_image` says what it is
        return False


class RowWindow:
    """The rows of a source that are still looked at: those asked for begin farther and farther down."""

    def __init__(self, source: RowSource) -> None:
        self._source = source
        self._rows: Pixels = np.empty((0, source.width, 3), np.uint8)
        self._top = 0

    def rows(self, top: int, bottom: int) -> Pixels:
        """(bottom - top, width, 3), contiguous; bottom is at most the picture's height, top not above that before."""
        bottom = min(bottom, self._source.height)
        kept, end = self._rows[top - self._top :], self._top + len(self._rows)
        if bottom > end:
            self._rows = np.concatenate([kept, self._source.read(bottom - end)])
            self._top = top
            return self._rows
        return np.ascontiguousarray(kept[: bottom - top])


def _first_line(error: Exception) -> str:
    return str(getattr(error, "detail", error)).strip().splitlines()[0] if str(error).strip() else "no reason given"
