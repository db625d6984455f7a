"""Decode with Pillow under our own limits and look at what only the decoder sees: raw bit depth, pages, EXIF.

Nothing is printed: what the reader has to say is collected in `Source.warnings`.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from PIL import Image, PngImagePlugin

from vqcodec.pictures.errors import ImageError, TooManyPixelsError, UnreadableImageError
from vqcodec.pictures.exif import (
    EXIF_PREFIX,
    MOST_DPI,
    DamagedExifError,
    checked_exif,
    descriptive_tags,
    exif_orientation,
    exif_resolution,
    upright_xmp,
    with_resolution,
    xmp_of,
    xmp_orientation,
)
from vqcodec.pictures.png import LARGEST_CHUNK_TEXT
from vqcodec.pictures.stated_colours import StatedColours, from_png
from vqcodec.pictures.tiff import TiffFile

__all__ = [
    "REDUCED",
    "ImageError",
    "Source",
    "TooManyPixelsError",
    "UnreadableImageError",
    "as_lines",
    "pillow_rules",
    "read_source",
]

#: the warning of samples of which only the 8 highest bits are used
REDUCED: Final = "more than 8 bits a sample: reduced to 8"
#: formats whose decoder gives a half, a quarter or an eighth of the sides for less work
_SCALED_FORMATS: Final = frozenset(("JPEG", "MPO"))
#: tags of TIFF files
_PHOTOMETRIC, _ORIENTATION = 262, 274
_LEAST_DPI: Final = 2  # readers say 1 where a file says nothing
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS: Final = frozenset((5, 6, 7, 8))


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
    colours: StatedColours | None = None  # where no profile says which they are
    warnings: list[str] = field(default_factory=list)
    damage: list[str] = field(default_factory=list)  # those of the warnings that are about damage
    sample_format: tuple[int, int] = (8, 1)  # of a TIFF file: bits, and 1 for unsigned, 2 for signed, 3 for floats
    full_size: tuple[int, int] | None = None  # (height, width), upright, where the image was decoded smaller

    def warn_of_damage(self, line: str) -> None:
        """A warning that says that something in the file is broken."""
        self.warnings.append(line)
        self.damage.append(line)

    def state_colours(self, colours: StatedColours | None) -> None:
        """They are these, whatever was said before; None for sRGB."""
        self.colours = colours
        if colours is not None and colours.warning:
            self.warnings.append(colours.warning)


_pillow_lock = threading.RLock()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else what it logs of damage is printed


@contextlib.contextmanager
def pillow_rules(max_pixels: int) -> Iterator[list[warnings.WarningMessage]]:
    """Run Pillow's readers with our limits of pixels and texts, and with its warnings collected instead of printed.

    All are settings of the whole process: a lock lets one thread at a time change them, and they are put back.
    """
    with _pillow_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = max_pixels, LARGEST_CHUNK_TEXT
        try:
            yield caught
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            pixels = re.search(r"\d+", str(error))
            raise too_many_pixels(int(pixels[0]) if pixels else max_pixels + 1, max_pixels) from None
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = before


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


def read_source(
    image: Image.Image,
    max_pixels: int,
    tiff: TiffFile | None = None,
    *,
    turn: bool = True,
    least_side: int | None = None,
) -> Source:
    """Check the size, decode, turn upright.

    tiff: the directories of a TIFF file. turn: False where the reader has done it. least_side: decode JPEG as small as
    leaves the shorter side so many pixels.
    Raises ImageError, or whatever Pillow raises on damaged data.
    """
    width, height = image.size
    if width * height == 0:
        raise ImageError(f"the picture has no pixels ({width} x {height})")
    if width * height > max_pixels:
        raise too_many_pixels(width * height, max_pixels)
    source = Source(image, format=image.format or "", icc=image.info.get("icc_profile") or None)
    if least_side is not None and source.format in _SCALED_FORMATS:
        image.draft(None, (least_side, least_side))
        if image.size != (width, height):
            source.full_size = height, width
    tiles = getattr(image, "tile", None)
    if tiles:
        arguments = tiles[0][3] if isinstance(tiles[0][3], tuple) else (tiles[0][3],)
        source.raw_mode = str(arguments[0])
        depths = [value for value in arguments[1:2] if isinstance(value, int)]
        source.deep_ppm = source.format == "PPM" and (source.raw_mode == "I;16B" or max(depths, default=0) > 255)
    if tiff is not None:
        source.sample_format = tiff.sample_format
        tiff.mend_order(image)
    tags = getattr(image, "tag_v2", {}) if source.format == "TIFF" else {}
    source.white_is_zero = tags.get(_PHOTOMETRIC) == 0
    if isinstance(stated := tags.get(_ORIENTATION), bytes) and len(stated) == 1:  # Pillow turns others by itself
        source.orientation = stated[0]
    with pillow_rules(max_pixels) as caught:
        if source.format == "MPO":
            source.warnings.append("only the main picture of this file is kept (not its gain map, preview or 2nd view)")
        elif source.format != "PSD" and getattr(image, "is_animated", False):
            source.warnings.append("an animation or several pages: only the first one is kept")
        image.load()
        _read_metadata(source)
        if tiff is not None:
            source.image = tiff.mended_pixels(image)
        if source.format == "GIF":
            source.image = _with_nothing_outside(image)
        if source.format == "PNG" and not source.icc:
            source.state_colours(from_png(image.info))
    for line in as_lines(caught):
        source.warn_of_damage(line)
    if turn and source.orientation in _TRANSPOSE:
        info = image.info
        source.image = source.image.transpose(_TRANSPOSE[source.orientation])
        source.image.info = info
        if source.full_size and source.orientation in _QUARTER_TURNS:
            source.full_size = source.full_size[1], source.full_size[0]
    return source


def _with_nothing_outside(image: Image.Image) -> Image.Image:
    """A GIF picture that is smaller than its canvas: as in browsers, nothing is around it."""
    box = getattr(image, "dispose_extent", None)
    if box is None or tuple(box) == (0, 0, *image.size):
        return image
    canvas = image.convert("RGBA")
    alpha = Image.new("L", image.size, 0)
    alpha.paste(canvas.getchannel("A").crop(box), box)
    canvas.putalpha(alpha)
    canvas.info = image.info
    return canvas


def _read_metadata(source: Source) -> None:
    """Fill in orientation, EXIF and XMP of a decoded image."""
    image = source.image
    xmp = xmp_of(image.info)
    if xmp is not None:
        source.xmp = upright_xmp(xmp)
    raw = image.info.get("exif") or _exif_as_text(source)
    try:
        if raw:
            source.exif = checked_exif(raw)
        elif source.format == "TIFF" and (described := descriptive_tags(image.getexif())):
            source.exif = checked_exif(described.tobytes())
    except DamagedExifError as error:
        source.warn_of_damage(f"the EXIF data is damaged ({error}) and was ignored")
    except Exception:  # of a TIFF file's own directories, whose damage raises nearly everything; the pixels are good
        source.warn_of_damage("the EXIF data is damaged and was ignored")
    dots = image.info.get("dpi")
    if dots is not None and (source.exif is None or exif_resolution(source.exif) is None):
        across, down = map(float, dots)
        if _LEAST_DPI <= across < MOST_DPI and _LEAST_DPI <= down < MOST_DPI:  # not so for NaN
            source.exif = with_resolution(source.exif, (across, down))
    if source.format != "TIFF":
        turned = exif_orientation(raw) if raw else None
        source.orientation = turned or xmp_orientation(xmp or b"") or 1


def _exif_as_text(source: Source) -> bytes | None:
    """The EXIF of a PNG file that has it as hexadecimal digits, as ImageMagick once wrote it."""
    text = source.image.info.get("Raw profile type exif") or source.image.info.get("Raw profile type APP1")
    if not isinstance(text, str):
        return None
    try:
        data = bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        source.warn_of_damage("the EXIF data is damaged (no hexadecimal digits) and was ignored")
        return None
    return data if data.startswith(EXIF_PREFIX) else None
