"""Kinds of pictures that Pillow does not read, through packages that may be there: HEIC, JPEG XL and raw photos."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import BinaryIO, Final

from PIL import Image

from vqcodec.pictures.errors import UnreadableImageError
from vqcodec.pictures.source import REDUCED, Source, pillow_rules, read_source, too_many_pixels

__all__ = ["READERS", "is_there"]

#: kind of file -> the module that reads it and the package that has it
_PACKAGES: Final = {
    "HEIC": ("pillow_heif", "pillow-heif"),
    "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin"),
    "raw": ("rawpy", "rawpy"),
}
_JXL_HEAD_BYTES: Final = 1 << 20
_NAMES: Final = {"HEIC": "HEIC pictures", "JPEG XL": "JPEG XL pictures", "raw": "raw photos"}


def is_there(kind: str) -> bool:
    """Whether the package that reads such files is installed. kind: HEIC, JPEG XL or raw."""
    return find_spec(_PACKAGES[kind][0]) is not None


def _demand(kind: str) -> None:
    """Raises UnreadableImageError where the package is not there, naming it."""
    if not is_there(kind):
        instead = "develop it to TIFF, PNG or JPEG" if kind == "raw" else "convert it to PNG or JPEG"
        raise UnreadableImageError(
            f"{_NAMES[kind]} are read with {_PACKAGES[kind][1]}, which is not installed: "
            f"pip install 'vqcodec[formats]', or {instead} first"
        )


def _read_heic(stream: BinaryIO, max_pixels: int) -> Source:
    _demand("HEIC")
    from pillow_heif import register_heif_opener

    with pillow_rules(max_pixels):
        register_heif_opener()
        with Image.open(stream, formats=["HEIF"]) as image:
            depth = image.info.get("bit_depth", 8)
            source = read_source(image, max_pixels)
    if depth > 8:
        source.warnings.append(REDUCED)
    return source


def _read_jpeg_xl(stream: BinaryIO, max_pixels: int) -> Source:
    _demand("JPEG XL")

    size = _size_of_jpeg_xl(stream.read(_JXL_HEAD_BYTES))  # the package decodes before it tells the size
    stream.seek(0)
    if size is None:
        raise UnreadableImageError("the picture is damaged or cut off (no size at its start): get a whole copy of it")
    if size[0] * size[1] > max_pixels:
        raise too_many_pixels(size[0] * size[1], max_pixels)
    with pillow_rules(max_pixels), Image.open(stream, formats=["JXL"]) as image:
        packed_jpeg = getattr(image, "jpeg", False)
        return read_source(image, max_pixels, turn=packed_jpeg)  # others have been turned


def _size_of_jpeg_xl(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, by the first bytes of a file; None where they are not there."""
    if head.startswith(b"\0\0\0\x0cJXL "):
        at = 0
        while at + 8 <= len(head) and head[at + 4 : at + 8] not in (b"jxlc", b"jxlp"):
            at += max(int.from_bytes(head[at : at + 4], "big"), 8)
        head = head[at + (12 if head[at + 4 : at + 8] == b"jxlp" else 8) :]
    if head[:2] != b"\xff\x0a" or len(head) < 12:
        return None
    bits = int.from_bytes(head[2:12], "little")

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def side(small: int) -> int:
        return 8 * (take(5) + 1) if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = side(small)
    ratio = take(3)
    if ratio:
        above, below = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * above // below, height
    return side(small), height


def _read_raw(stream: BinaryIO, max_pixels: int) -> Source:
    """Developed with the camera's white balance to sRGB, upright."""
    _demand("raw")
    import rawpy

    try:
        with rawpy.imread(stream) as raw:
            if raw.sizes.width * raw.sizes.height > max_pixels:
                raise too_many_pixels(raw.sizes.width * raw.sizes.height, max_pixels)
            pixels = raw.postprocess(use_camera_wb=True, output_bps=8)
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        reason = " ".join(str(error).split())
        raise UnreadableImageError(
            f"rawpy cannot develop this raw photo ({reason}): develop it to TIFF, PNG or JPEG with another program"
        ) from error
    source = read_source(Image.fromarray(pixels), max_pixels)
    source.warnings.append("a raw photo: developed to 8 bits with the camera's white balance")
    return source


READERS: Final[dict[str, Callable[[BinaryIO, int], Source]]] = {
    "HEIC": _read_heic,
    "JPEG XL": _read_jpeg_xl,
    "raw": _read_raw,
}
