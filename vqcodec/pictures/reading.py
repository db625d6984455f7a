"""Picture files read: any of them, safely, from anywhere; one clear line for everything that goes wrong."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from PIL import Image, UnidentifiedImageError

from vqcodec.bitstream.source import read_up_to
from vqcodec.pictures.box_files import avif_bits, colour_codes_of_boxes, colour_codes_of_png, jpeg_2000_bits
from vqcodec.pictures.conversion import (
    DEFAULT_MAX_PIXELS,
    AlphaPolicy,
    IccPolicy,
    LoadedImage,
    MetadataPolicy,
    check_policies,
    convert_source,
)
from vqcodec.pictures.errors import ImageError, UnreadableImageError
from vqcodec.pictures.further_readers import READERS
from vqcodec.pictures.jpeg import jpeg_damage, jpeg_pixels, with_end, without_oddities
from vqcodec.pictures.kinds import FileKind, kind_of, unread_jpeg, what_it_may_be
from vqcodec.pictures.libtiff import libtiff_messages
from vqcodec.pictures.png import mended_png
from vqcodec.pictures.source import REDUCED, Source, as_lines, pillow_rules, read_source, too_many_pixels
from vqcodec.pictures.stated_colours import from_codes
from vqcodec.pictures.tiff import TiffFile
from vqcodec.pictures.webp import mended_webp

__all__ = ["ImageSource", "largest_file", "load_image"]

ImageSource: TypeAlias = "str | Path | BinaryIO | bytes"

# Readers that run other programs (EPS starts Ghostscript) or only recognise a file without decoding it.
_REFUSED_FORMATS: Final = frozenset({"EPS", "WMF", "MPEG", "GRIB", "HDF5", "BUFR"})
#: the most that a file has beside its pixels: metadata, previews, second pictures
_BESIDE_PIXELS: Final = 64 << 20
_BYTES_A_PIXEL: Final = 8  # RGBA with 16 bits a sample, not compressed


@dataclass
class _Opened:
    """A file while it is read. look_for_damage: that Pillow does not see; least_side: as `load_image` has it; damage:
    what was found and left out."""

    stream: BinaryIO
    kind: FileKind
    look_for_damage: bool = True
    least_side: int | None = None
    damage: list[str] = field(default_factory=list)

    def decode(self, max_pixels: int) -> Source:
        """Through Pillow or a further package. Raises ImageError, or whatever they raise on damaged data."""
        if self.kind.name in READERS:
            decoded = READERS[self.kind.name](self.stream, max_pixels)
            if self.kind.name == "HEIC":
                self._add_facts(decoded)
            return decoded
        tiff = self.kind.tiff or TiffFile((), False)
        tiff.check_first_picture()
        if self.kind.name == "JPEG" and (reason := unread_jpeg(self.stream)):
            raise UnreadableImageError(reason)
        if self.kind.name == "PNG":
            self.stream, notes = mended_png(self.stream)
            self.damage += notes
        elif self.kind.name == "WebP":
            self.stream, notes = mended_webp(self.stream)
            self.damage += notes
        try:
            decoded = self._through_pillow(tiff, max_pixels)
            self._add_facts(decoded)
            if self.kind.name == "JPEG" and self.look_for_damage:
                self.stream.seek(0)
                self.damage += jpeg_damage(self.stream.read())
            return decoded
        except OSError as error:
            if self.kind.name != "JPEG" or not self._mend_jpeg(error, max_pixels):
                raise
        return self._through_pillow(tiff, max_pixels)

    def _mend_jpeg(self, error: OSError, max_pixels: int) -> bool:
        """Whether there is a way to read what Pillow refused, maybe before it saw the size."""
        self.stream.seek(0)
        data = self.stream.read()
        if (pixels := jpeg_pixels(data)) > max_pixels:
            raise too_many_pixels(pixels, max_pixels)
        if isinstance(error, UnidentifiedImageError):
            mended, note = without_oddities(data), "what stands before its pixels is damaged and was ignored"
        elif "truncated" in str(error):
            mended, note = with_end(data), "the end of the file is missing, but no part of the picture"
        else:
            return False
        if mended is None:
            return False
        self.stream = io.BytesIO(mended)
        self.damage.append(note)
        return True

    def _add_facts(self, decoded: Source) -> None:
        """What the file says and its reader does not: colours by code, and how many bits there were."""
        if self.kind.name == "PNG":
            codes = colour_codes_of_png(self.stream)
            if codes is not None:  # they go before a profile
                decoded.icc = None
                decoded.state_colours(from_codes(*codes))
        elif self.kind.name in ("AVIF", "HEIC"):
            codes = colour_codes_of_boxes(self.stream)
            if codes is not None and decoded.icc is None:
                decoded.state_colours(from_codes(*codes))
        bits = {"AVIF": avif_bits, "JPEG2000": jpeg_2000_bits}.get(decoded.format)
        if bits is not None and bits(self.stream) > 8:
            decoded.warnings.append(REDUCED)

    def _through_pillow(self, tiff: TiffFile, max_pixels: int) -> Source:
        if self.kind.name != "TIFF":
            return self._decoded(tiff, max_pixels)
        try:
            with pillow_rules(max_pixels), libtiff_messages() as messages:  # the rules let one thread in at a time
                decoded = self._decoded(tiff, max_pixels)
        except OSError as error:
            said = "; ".join(messages.lines())
            if not said or isinstance(error, UnidentifiedImageError):
                raise
            raise OSError(said) from error
        for line in messages.lines():
            decoded.warn_of_damage(line)
        decoded.warnings += [f"libtiff says: {line}" for line in messages.warnings]
        return decoded

    def _decoded(self, tiff: TiffFile, max_pixels: int) -> Source:
        self.stream.seek(0)
        with pillow_rules(max_pixels) as caught, tiff.reader():
            image = Image.open(self.stream)
            if image.format == "VQ":  # with the plugin of vqcodec.pillow: coding it once more would only lose
                raise UnreadableImageError("a .vq stream already: decode it, or give the picture that it is of")
            if image.format in _REFUSED_FORMATS:
                raise UnreadableImageError(f"{image.format} files are not read: convert it to PNG or JPEG first")
            decoded = read_source(image, max_pixels, self.kind.tiff, least_side=self.least_side)
        for line in as_lines(caught):
            decoded.warn_of_damage(line)
        return decoded


def load_image(
    source: ImageSource,
    *,
    icc: IccPolicy = "srgb",
    alpha: AlphaPolicy = "keep",
    metadata: MetadataPolicy = "drop",
    max_pixels: int = DEFAULT_MAX_PIXELS,
    look_for_damage: bool = True,
    least_side: int | None = None,
) -> LoadedImage:
    """Read the first picture of a file, upright, as 8-bit sRGB. Safe to call from several threads.

    Args:
        source: a path (of a pipe, too), the bytes of a file, or a binary stream (read from where it stands to its end).
        icc: "srgb" converts the pixels to sRGB; "keep" leaves RGB pixels and returns their profile.
        alpha: "keep" returns the alpha channel as it is, to the last bit; "drop" forgets it without compositing.
        metadata: "keep" returns EXIF and XMP; "drop" keeps small streams small (orientation is applied either way).
        max_pixels: largest width * height, in pixels; checked before anything is decoded.
        look_for_damage: warn of JPEG data that libjpeg finds damaged; takes a quarter longer.
        least_side: for small copies: JPEG files are decoded to the least of 1/1, 1/2, 1/4 and 1/8 of their sides that
            leaves both so many pixels, which takes less work; others in full. None: all in full.

    Raises:
        UnreadableImageError: missing, a folder, not readable, empty, cut off, damaged, or no picture.
        TooManyPixelsError: more than `max_pixels`.
        ImageError: pixels of a kind that cannot be converted, or a misspelt option.
        Each message is one line that names the file.
    """
    check_policies(icc, alpha, metadata)
    name, stream = _open_source(source, max_pixels)
    with stream:
        file = _Opened(stream, kind_of(stream), look_for_damage, least_side)
        try:
            decoded = file.decode(max_pixels)
            for line in file.damage:
                decoded.warn_of_damage(line)
            return convert_source(decoded, icc=icc, alpha=alpha, metadata=metadata)
        except MemoryError:
            raise
        except ImageError as error:
            raise type(error)(f"{name}: {error}") from error.__cause__
        except UnidentifiedImageError:
            raise UnreadableImageError(f"{name}: {what_it_may_be(stream, file.kind)}") from None
        except Exception as error:  # Pillow's readers raise nearly everything on damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreadableImageError(
                f"{name}: the picture is damaged or cut off ({reason}): get a whole copy of it"
            ) from error


def largest_file(max_pixels: int) -> int:
    """How many bytes are read of a file that cannot seek: more than any of so many pixels needs."""
    return _BESIDE_PIXELS + _BYTES_A_PIXEL * max_pixels


def _open_source(source: ImageSource, max_pixels: int) -> tuple[str, BinaryIO]:
    """The name for messages, and a seekable stream that is ours to close."""
    if isinstance(source, (str, Path)):
        name, path = str(source), Path(source)
        try:
            if path.is_dir():
                raise UnreadableImageError(f"{name}: is a folder: name a picture file")
            stream: BinaryIO = path.open("rb")
            if not stream.seekable():  # a pipe
                with stream as pipe:
                    stream = _in_memory(name, pipe, max_pixels)
        except FileNotFoundError:
            raise UnreadableImageError(f"{name}: no such file: check the name") from None
        except (OSError, ValueError) as error:
            if isinstance(error, ImageError):
                raise
            reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
            raise UnreadableImageError(f"{name}: cannot be opened ({reason}): check the name and its rights") from error
    elif isinstance(source, bytes):
        name, stream = "image data", io.BytesIO(source)
    else:
        name = str(getattr(source, "name", "image data"))
        stream = _in_memory(name, source, max_pixels)
    if not stream.read(1):
        stream.close()
        raise UnreadableImageError(f"{name}: is empty (0 bytes): get a whole copy of it")
    stream.seek(0)
    return name, stream


def _in_memory(name: str, stream: BinaryIO, max_pixels: int) -> BinaryIO:
    """All of what cannot seek, or stands somewhere in its middle. Raises UnreadableImageError for too much."""
    most = largest_file(max_pixels)
    data = read_up_to(stream, most + 1)
    if len(data) > most:
        raise UnreadableImageError(
            f"{name}: has more than {most >> 20} MB, more than a picture of {max_pixels} pixels needs: check it, or "
            "raise --max-pixels"
        )
    return io.BytesIO(data)


def stated_size(source: bytes | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> tuple[int, int]:
    """(width, height) that a file of a type of Pillow's says of itself; nothing is decoded. Raises ImageError."""
    with pillow_rules(max_pixels):
        try:
            with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
                return image.width, image.height
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise UnreadableImageError(f"no picture that can be read ({error})") from error
