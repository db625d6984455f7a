"""Picture files written: the common types, whole or not at all; one clear line for everything that goes wrong."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.conversion import LoadedImage, from_pil, icc_to_srgb, to_pil
from vqcodec.pictures.errors import ImageError
from vqcodec.pictures.exif import EXIF_PREFIX, DamagedExifError, checked_exif, exif_resolution, tiff_with_exif
from vqcodec.pictures.png_rows import ancillary_chunks, write_png
from vqcodec.whole_files import write_whole

__all__ = [
    "ImageWriteError",
    "UnsupportedOutputError",
    "check_output_size",
    "check_output_type",
    "output_extensions",
    "save_image",
    "save_png_rows",
]

_TIFF_XMP = 700  # the tag that holds an XMP packet


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
    if isinstance(image, LoadedImage):
        image = to_pil(image.rgb, image.alpha, image.icc, image.exif, image.xmp)
    elif image.mode not in ("RGB", "RGBA"):
        loaded = from_pil(image, icc="keep", metadata="keep", max_pixels=max(1, image.width * image.height))
        image = to_pil(loaded.rgb, loaded.alpha, loaded.icc, loaded.exif, loaded.xmp)
    check_output_size(name, kind, image.width, image.height)
    notes: list[str] = []
    prepared, options, tiff_exif = _prepare(image, kind, notes)
    if quality is not None and kind in ("JPEG", "WEBP", "AVIF"):
        options["quality"] = quality
    buffer = io.BytesIO()
    try:
        prepared.save(buffer, format=kind, **options)
        data = tiff_with_exif(buffer.getvalue(), tiff_exif) if tiff_exif else buffer.getvalue()
        if isinstance(target, (str, Path)):
            write_whole(Path(target), data)
        else:
            target.write(data)
    except MemoryError:
        raise
    except Exception as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise ImageWriteError(f"{name}: cannot be written ({reason})") from error
    return tuple(notes)


def save_png_rows(
    target: BinaryIO, bands: Iterable[Pixels], width: int, height: int, like: LoadedImage
) -> tuple[str, ...]:
    """Write a PNG file of rows (n, width, 3 or 4), `height` in all, that are never together in memory.

    like: any picture with the same channels, and with the profile and metadata of the file. Returns, and raises, what
    `save_image` does.
    """
    notes: list[str] = []
    bare, options, _ = _prepare(to_pil(like.rgb, like.alpha, like.icc, like.exif, like.xmp), "PNG", notes)
    try:
        write_png(target, bands, width, height, ancillary_chunks(bare, **options))
    except OSError as error:
        name = getattr(target, "name", "output")
        raise ImageWriteError(f"{name}: cannot be written ({error.strerror or error})") from error
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


def check_output_size(target: str | Path, kind: str, width: int, height: int) -> None:
    """Refuse a picture that is too large for a format, in Pillow's word, before it is made. Raises ImageWriteError."""
    limit = _FORMATS[kind].max_side
    if limit and max(width, height) > limit:
        raise ImageWriteError(f"{target}: {width} x {height} pixels do not fit: {kind} ends at {limit} a side; use PNG")


def output_extensions() -> tuple[str, ...]:
    """The file extensions that `save_image` can write with this Pillow, such as ".png", in a fixed order."""
    Image.init()
    return tuple(ext for kind, rules in _FORMATS.items() if kind in Image.SAVE for ext in rules.extensions)


def _prepare(image: Image.Image, kind: str, notes: list[str]) -> tuple[Image.Image, dict[str, Any], bytes | None]:
    """The image as the format can hold it, and the options for Pillow's writer. What is lost goes into `notes`.

    Third, a checked block of EXIF for a TIFF file.
    """
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
    if exif:
        try:
            exif = checked_exif(exif)
        except DamagedExifError as error:
            notes.append(f"the EXIF data is damaged ({error}): left out")
            exif = None
    resolution = exif_resolution(exif) if exif else None
    if resolution and kind in ("PNG", "JPEG", "TIFF", "BMP"):
        options["dpi"] = resolution
    for label, block in (("EXIF", exif), ("XMP", xmp)):
        if block and (not rules.metadata or 0 < rules.max_exif_bytes < len(block)):
            notes.append(f"{kind} cannot hold the {label} data: left out")
            exif, xmp = (None, xmp) if label == "EXIF" else (exif, None)
    if icc:
        options["icc_profile"] = icc
    if kind == "TIFF" and xmp:  # a tag of the file itself
        options["exif"] = Image.Exif()
        options["exif"][_TIFF_XMP] = xmp
        xmp = None
    if exif and kind != "TIFF":  # which has no place of its own for it
        options["exif"] = EXIF_PREFIX + exif
    if xmp and kind == "PNG":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode("utf-8", "replace"))
    elif xmp:
        options["xmp"] = xmp
    bare = image.copy()
    bare.info = {}
    return bare, options, exif if kind == "TIFF" else None
