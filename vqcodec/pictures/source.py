"""Decode with Pillow under our own limits and look at what only the decoder sees: raw bit depth, pages, EXIF.

Nothing is printed: what the reader has to say is collected in `Source.warnings`.
"""

from __future__ import annotations

import contextlib
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from PIL import Image

__all__ = [
    "EXIF_PREFIX",
    "ImageError",
    "Source",
    "TooManyPixelsError",
    "UnreadableImageError",
    "as_lines",
    "descriptive_tags",
    "pillow_rules",
    "read_source",
]

EXIF_PREFIX = b"Exif\x00\x00"  # JPEG puts it before the TIFF structure that all files share
_ORIENTATION = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What a TIFF file keeps of its tags as EXIF: they describe the picture; the other tags describe the file's layout.
_DESCRIPTIVE_TAGS = (0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x8298)
_EXIF_POINTERS = (0x8769, 0x8825)  # EXIF and GPS directories


class ImageError(ValueError):
    """A picture that cannot be read, converted or written. The message is one line with a remedy."""


class UnreadableImageError(ImageError):
    """The source is missing, empty, cut off, damaged or no picture at all."""


class TooManyPixelsError(ImageError):
    """The picture has more pixels than the limit in force."""


@dataclass
class Source:
    """A decoded Pillow image, upright, and what could only be seen of it before or while it was decoded."""

    image: Image.Image
    format: str = ""
    raw_mode: str = ""  # the layout of the samples in the file in Pillow's words, such as "RGB;16B"
    deep_ppm: bool = False  # a PPM or PGM file with more than 8 bits a sample
    white_is_zero: bool = False  # a TIFF file that stores gray inverted
    orientation: int = 1
    exif: bytes | None = None
    xmp: bytes | None = None
    icc: bytes | None = None
    warnings: list[str] = field(default_factory=list)


_pillow_lock = threading.RLock()


@contextlib.contextmanager
def pillow_rules(max_pixels: int) -> Iterator[list[warnings.WarningMessage]]:
    """Run Pillow's readers with our pixel limit and with its warnings collected instead of printed.

    Both are settings of the whole process: a lock lets one thread at a time change them, and they are put back.
    """
    with _pillow_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield caught
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            pixels = re.search(r"\d+", str(error))
            raise too_many_pixels(int(pixels[0]) if pixels else max_pixels + 1, max_pixels) from None
        finally:
            Image.MAX_IMAGE_PIXELS = before


def as_lines(caught: list[warnings.WarningMessage]) -> list[str]:
    """What Pillow warned about, one line each, without deprecations and the like."""
    told = [w.message for w in caught if issubclass(w.category, (UserWarning, RuntimeWarning))]
    return [f"Pillow says: {' '.join(str(message).split())}" for message in told]


def too_many_pixels(pixels: int, max_pixels: int) -> TooManyPixelsError:
    """The error that names the limit and how to raise it."""
    return TooManyPixelsError(
        f"the picture has {pixels} pixels, more than the limit of {max_pixels}: "
        f"allow it with --max-pixels {pixels} (max_pixels={pixels} in Python) if you trust it"
    )


def read_source(image: Image.Image, max_pixels: int) -> Source:
    """Check the size, decode, turn upright. Raises ImageError, or whatever Pillow raises on damaged data."""
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"the picture has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise too_many_pixels(width * height, max_pixels)
    source = Source(image, format=image.format or "", icc=image.info.get("icc_profile") or None)
    tiles = getattr(image, "tile", None)
    if tiles:
        arguments = tiles[0][3] if isinstance(tiles[0][3], tuple) else (tiles[0][3],)
        source.raw_mode = str(arguments[0])
        depths = [value for value in arguments[1:2] if isinstance(value, int)]
        source.deep_ppm = source.format == "PPM" and (source.raw_mode == "I;16B" or max(depths, default=0) > 255)
    source.white_is_zero = source.format == "TIFF" and getattr(image, "tag_v2", {}).get(262) == 0
    with pillow_rules(max_pixels) as caught:
        if source.format == "MPO":
            source.warnings.append("only the main picture of this file is kept (not its gain map, preview or 2nd view)")
        elif source.format != "PSD" and getattr(image, "is_animated", False):
            source.warnings.append("an animation or several pages: only the first one is kept")
        image.load()
        _read_metadata(source)
    source.warnings += as_lines(caught)
    if source.orientation in _TRANSPOSE:
        info = image.info
        source.image = image.transpose(_TRANSPOSE[source.orientation])
        source.image.info = info
    return source


def _read_metadata(source: Source) -> None:
    """Fill in orientation, EXIF and XMP of a decoded image."""
    image = source.image
    try:
        tags = image.getexif()
        orientation = tags.get(_ORIENTATION, 1)
        source.orientation = orientation if isinstance(orientation, int) else 1
        raw = image.info.get("exif")
        if raw:
            source.exif = _upright(raw.removeprefix(EXIF_PREFIX))
        elif described := descriptive_tags(tags):
            source.exif = described.tobytes().removeprefix(EXIF_PREFIX)
    except Exception:  # damaged EXIF raises nearly everything; the pixels are still good
        source.warnings.append("the EXIF data is damaged and was ignored")
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if isinstance(xmp, str):
        xmp = xmp.encode()
    if isinstance(xmp, bytes):
        source.xmp = re.sub(rb'(tiff:Orientation(?:="|>))[2-8]', rb"\g<1>1", xmp)


def _upright(exif: bytes) -> bytes:
    """EXIF with its orientation set to 1 in place, so that maker notes and offsets stay valid."""
    order: Literal["little", "big"] = "little" if exif[:2] == b"II" else "big"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(exif[offset : offset + size], order)

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * number(start, 2), 12):
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == 3 and entry + 12 <= len(exif):
            exif = exif[: entry + 8] + (1).to_bytes(2, order) + b"\x00\x00" + exif[entry + 12 :]
    return exif


def descriptive_tags(tags: Image.Exif) -> Image.Exif:
    """Those of a TIFF file's tags that describe the picture, without the ones about strips, sizes and bits."""
    kept = Image.Exif()
    for tag in _DESCRIPTIVE_TAGS:
        if isinstance(tags.get(tag), str):
            kept[tag] = tags[tag]
    for pointer in _EXIF_POINTERS:
        directory = tags.get_ifd(pointer)
        if directory:
            kept[pointer] = dict(directory)
    return kept
