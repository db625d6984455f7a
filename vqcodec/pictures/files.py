"""Picture files: open any of them safely, write the common ones; one clear line for everything that goes wrong."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from PIL import Image, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo

from vqcodec.pictures.conversion import (
    DEFAULT_MAX_PIXELS,
    AlphaPolicy,
    IccPolicy,
    LoadedImage,
    MetadataPolicy,
    check_policies,
    convert_source,
    from_pil,
    icc_to_srgb,
    to_pil,
)
from vqcodec.pictures.source import (
    EXIF_PREFIX,
    ImageError,
    UnreadableImageError,
    as_lines,
    descriptive_tags,
    pillow_rules,
    read_source,
)

__all__ = [
    "ImageWriteError",
    "UnsupportedOutputError",
    "check_output_type",
    "load_image",
    "output_extensions",
    "save_image",
]

ImageSource: TypeAlias = "str | Path | BinaryIO | bytes"

_TIFF_XMP = 700  # the tag that holds an XMP packet

# Readers that run other programs (EPS starts Ghostscript) or only recognise a file without decoding it.
_REFUSED_FORMATS = frozenset({"EPS", "WMF", "MPEG", "GRIB", "HDF5", "BUFR"})


class UnsupportedOutputError(ImageError):
    """No picture format belongs to this file extension or name, or this Pillow was built without it."""


class ImageWriteError(ImageError):
    """The picture does not fit into the format, or the file cannot be written."""


@dataclass(frozen=True)
class _Format:
    """What one output format can hold, and how it is written."""

    extensions: tuple[str, ...]
    alpha: bool = False
    icc: bool = False
    metadata: bool = False
    max_side: int = 0  # in pixels; 0: no limit that matters
    max_exif_bytes: int = 0  # of one block of EXIF or XMP; 0: no limit that matters
    options: dict[str, Any] = field(default_factory=dict)


_FORMATS = {
    "PNG": _Format((".png",), alpha=True, icc=True, metadata=True),
    "JPEG": _Format(
        (".jpg", ".jpeg", ".jfif"),
        icc=True,
        metadata=True,
        max_side=65500,
        max_exif_bytes=65000,
        options={"quality": 95, "subsampling": 0},
    ),
    "WEBP": _Format((".webp",), alpha=True, icc=True, metadata=True, max_side=16383, options={"quality": 95}),
    "AVIF": _Format((".avif",), alpha=True, icc=True, metadata=True, max_side=65536, options={"quality": 90}),
    "TIFF": _Format((".tif", ".tiff"), alpha=True, icc=True, metadata=True, options={"compression": "tiff_lzw"}),
    "JPEG2000": _Format((".jp2",), alpha=True),
    "BMP": _Format((".bmp",)),
    "PPM": _Format((".ppm",)),
    "TGA": _Format((".tga",), alpha=True, max_side=65535, options={"compression": "tga_rle"}),
}


def load_image(
    source: ImageSource,
    *,
    icc: IccPolicy = "srgb",
    alpha: AlphaPolicy = "keep",
    metadata: MetadataPolicy = "drop",
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> LoadedImage:
    """Read the first picture of a file, upright, as 8-bit sRGB. Safe to call from several threads.

    Args:
        source: a path, the bytes of a file, or a binary stream (read from where it stands to its end).
        icc: "srgb" converts the pixels to sRGB; "keep" leaves RGB pixels and returns their profile.
        alpha: "keep" returns the alpha channel as it is, to the last bit; "drop" forgets it without compositing.
        metadata: "keep" returns EXIF and XMP; "drop" keeps small streams small (orientation is applied either way).
        max_pixels: largest width * height, in pixels; checked before anything is decoded.

    Raises:
        UnreadableImageError: missing, a folder, not readable, empty, cut off, damaged, or no picture.
        TooManyPixelsError: more than `max_pixels`.
        ImageError: pixels of a kind that cannot be converted, or a misspelt option.
        Each message is one line that names the file.
    """
    check_policies(icc, alpha, metadata)
    name, stream = _open_source(source)
    with stream:
        try:
            with pillow_rules(max_pixels) as caught:
                image = Image.open(stream)
                if image.format == "VQ":  # with the plugin of vqcodec.pillow: coding it once more would only lose
                    raise UnreadableImageError("a .vq stream already: decode it, or give the picture that it is of")
                if image.format in _REFUSED_FORMATS:
                    raise UnreadableImageError(f"{image.format} files are not read: convert it to PNG or JPEG first")
                decoded = read_source(image, max_pixels)
            decoded.warnings += as_lines(caught)
            return convert_source(decoded, icc=icc, alpha=alpha, metadata=metadata)
        except MemoryError:
            raise
        except ImageError as error:
            raise type(error)(f"{name}: {error}") from error.__cause__
        except UnidentifiedImageError:
            raise UnreadableImageError(f"{name}: {_what_it_may_be(stream)}") from None
        except Exception as error:  # Pillow's readers raise nearly everything on damaged files
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UnreadableImageError(
                f"{name}: the picture is damaged or cut off ({reason}): get a whole copy of it"
            ) from error


def save_image(
    target: str | Path | BinaryIO,
    image: Image.Image | LoadedImage,
    format: str | None = None,
    *,
    quality: int | None = None,
) -> tuple[str, ...]:
    """Write a picture file; the type follows the extension. Nothing is written when an error is raised.

    PNG, TIFF, JPEG 2000, BMP, PPM and TGA are lossless; JPEG, WebP and AVIF are written at a high quality.
    Alpha in a format without it (JPEG, BMP, PPM) is composited onto white. A colour profile in a format without it
    is applied: the file is sRGB. Both, and metadata left out, are told in the warnings.

    Args:
        target: a path, or a binary stream (then `format` is needed unless the stream has a name).
        image: `LoadedImage`, or a Pillow image with its profile, EXIF and XMP in `info` as `to_pil` leaves them.
        format: a name such as "PNG", or an extension such as "jpg", in place of the extension of the path.
        quality: 1..100 for JPEG, WebP and AVIF, in place of the default (95, 95, 90).

    Returns:
        One line for each thing that the file does not hold.

    Raises:
        UnsupportedOutputError: the type is unknown; the message lists those that work.
        ImageWriteError: the picture is too large for the format, or the path cannot be written.
    """
    name = str(target) if isinstance(target, (str, Path)) else str(getattr(target, "name", "output"))
    kind = check_output_type(name, format)
    rules = _FORMATS[kind]
    if isinstance(image, LoadedImage):
        image = to_pil(image.rgb, image.alpha, image.icc, image.exif, image.xmp)
    elif image.mode not in ("RGB", "RGBA"):
        loaded = from_pil(image, icc="keep", metadata="keep", max_pixels=max(1, image.width * image.height))
        image = to_pil(loaded.rgb, loaded.alpha, loaded.icc, loaded.exif, loaded.xmp)
    if rules.max_side and max(image.size) > rules.max_side:
        size = f"{image.width} x {image.height}"
        raise ImageWriteError(f"{name}: {size} pixels do not fit: {kind} ends at {rules.max_side} a side; use PNG")
    notes: list[str] = []
    prepared, options = _prepare(image, kind, notes)
    if quality is not None and kind in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    buffer = io.BytesIO()
    try:
        prepared.save(buffer, format=kind, **options)
        if isinstance(target, (str, Path)):
            Path(target).write_bytes(buffer.getvalue())
        else:
            target.write(buffer.getvalue())
    except MemoryError:
        raise
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise ImageWriteError(f"{name}: cannot be written ({reason})") from error
    return tuple(notes)


def check_output_type(target: str | Path, format: str | None = None) -> str:
    """The format, in Pillow's word, that `save_image` would write: to refuse a wrong one before the work is done.

    Args:
        target: the path to be written; only its extension is looked at.
        format: a name such as "PNG", or an extension such as "jpg", in place of the extension of the path.

    Raises:
        UnsupportedOutputError: the type is unknown, or this Pillow cannot write it; the message lists those that work.
    """
    extension = Path(target).suffix.lower()
    wanted = format.lower().lstrip(".") if format else extension[1:]
    kinds = [kind for kind, rules in _FORMATS.items() if wanted == kind.lower() or f".{wanted}" in rules.extensions]
    Image.init()
    if kinds and kinds[0] in Image.SAVE:
        return kinds[0]
    what = f"format {format!r}" if format else f"extension {extension!r}" if extension else "file without an extension"
    article = "an" if what.startswith("e") else "a"
    works = " ".join(output_extensions())
    raise UnsupportedOutputError(f"{target}: cannot write {article} {what}: use one of {works}")


def output_extensions() -> tuple[str, ...]:
    """The file extensions that `save_image` can write with this Pillow, such as ".png", in a fixed order."""
    Image.init()
    return tuple(ext for kind, rules in _FORMATS.items() if kind in Image.SAVE for ext in rules.extensions)


def _open_source(source: ImageSource) -> tuple[str, BinaryIO]:
    """The name for messages, and a seekable stream that is ours to close."""
    if isinstance(source, (str, Path)):
        name, path = str(source), Path(source)
        try:
            if path.is_dir():
                raise UnreadableImageError(f"{name}: is a folder: name a picture file")
            stream: BinaryIO = path.open("rb")
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
        stream = io.BytesIO(source.read())
    if not stream.read(1):
        stream.close()
        raise UnreadableImageError(f"{name}: is empty (0 bytes): get a whole copy of it")
    stream.seek(0)
    return name, stream


def _what_it_may_be(stream: BinaryIO) -> str:
    stream.seek(0)
    head = stream.read(16)
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "HEIC pictures are not read: convert it to PNG or JPEG first"
    if head.startswith(b"%PDF"):
        return "PDF files are not read: convert a page to PNG first"
    return "not a picture, or damaged from its start: give PNG, JPEG, WebP, AVIF, TIFF or another common type"


def _prepare(image: Image.Image, kind: str, notes: list[str]) -> tuple[Image.Image, dict[str, Any]]:
    """The image as the format can hold it, and the options for Pillow's writer. What is lost goes into `notes`."""
    rules = _FORMATS[kind]
    options = dict(rules.options)
    icc, exif, xmp = (image.info.get(key) for key in ("icc_profile", "exif", "xmp"))
    if image.mode == "RGBA" and not rules.alpha:
        notes.append(f"{kind} holds no transparency: the picture was put on white")
        opaque = Image.new("RGB", image.size, "white")
        opaque.paste(image.convert("RGB"), mask=image.getchannel("A"))
        image = opaque
    if icc and not rules.icc:
        notes.append(f"{kind} holds no colour profile: the picture was converted to sRGB")
        coloured = icc_to_srgb(image.convert("RGB"), icc)
        if image.mode == "RGBA":
            coloured.putalpha(image.getchannel("A"))
        image, icc = coloured, None
    for label, block in (("EXIF", exif), ("XMP", xmp)):
        if block and (not rules.metadata or 0 < rules.max_exif_bytes < len(block)):
            notes.append(f"{kind} cannot hold the {label} data: left out")
            exif, xmp = (None, xmp) if label == "EXIF" else (exif, None)
    if icc:
        options["icc_profile"] = icc
    if kind == "TIFF" and (exif or xmp):  # both are tags of the file itself
        tags = Image.Exif()
        tags.load(exif or b"")
        options["exif"] = descriptive_tags(tags)
        if xmp:
            options["exif"][_TIFF_XMP] = xmp
        exif = xmp = None
    if exif:
        options["exif"] = EXIF_PREFIX + exif.removeprefix(EXIF_PREFIX)
    if xmp and kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif xmp:
        options["xmp"] = xmp
    bare = image.copy()
    bare.info = {}
    return bare, options
