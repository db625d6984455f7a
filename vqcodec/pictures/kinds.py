"""What a file is, by its first bytes: those that Pillow reads, those that a further package reads, and the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final

from vqcodec.pictures.tiff import TiffFile, is_tiff, read_tiff_directories

__all__ = ["FileKind", "kind_of", "unread_jpeg", "what_it_may_be"]

_HEAD_BYTES: Final = 4096
_RAW_STARTS: Final = (
    b"FUJIFILMCCD-RAW",
    b"IIRO",
    b"IIRS",
    b"MMOR",
    b"IIU\0",
    b"FOVb",
    b"II\x1a\0\0\0HEAPCCDR",
    b"\0MRM",
)
_HEVC_BRANDS: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"))
_AVIF_BRANDS: Final = frozenset((b"avif", b"avis"))
_JXL_STARTS: Final = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_TWELVE_BIT_FRAMES: Final = frozenset((0xC0, 0xC1, 0xC2, 0xC9, 0xCA))
#: what is no picture that is read -> how such files start
_OTHERS: Final = {
    "PDF files are not read: convert a page to PNG first": (b"%PDF",),
    "videos are not read: save a picture of it as PNG or JPEG first": (b"\x1aE\xdf\xa3", b"OggS", b"\0\0\1\xba"),
    "OpenEXR files are not read: convert it to PNG or 16-bit TIFF first": (b"\x76\x2f\x31\x01",),
    "Radiance HDR files are not read: convert it to PNG or 16-bit TIFF first": (b"#?RADIANCE", b"#?RGBE"),
    "JPEG XR files are not read: convert it to PNG or JPEG first": (b"II\xbc",),
    "DjVu files are not read: convert a page to PNG first": (b"AT&TFORM",),
    "Photoshop files of more than 8 bits are not read: save it as PNG or 8-bit TIFF first": (b"8BPS",),
    "floating-point colours (PFM) are not read: convert it to 16-bit TIFF or PNG first": (b"PF\n", b"PF4\n"),
    "big-endian BigTIFF files are not read: convert it to little-endian TIFF or PNG first": (b"MM\0+",),
    "GIMP files are not read: export it as PNG first": (b"gimp xcf",),
    "a .vq stream, not a picture: make a picture of it with vqcodec decode": (b"\xf5V",),
}
_VIDEO_BRANDS: Final = frozenset((b"isom", b"mp41", b"mp42", b"qt  ", b"M4V ", b"avc1", b"iso2", b"3gp4", b"3gp5"))


@dataclass(frozen=True)
class FileKind:
    """name: PNG, JPEG, TIFF, WebP, AVIF, raw, HEIC, JPEG XL, or "" for another.

    tiff: the directories of a TIFF or raw file.
    """

    name: str
    tiff: TiffFile | None = None


def kind_of(stream: BinaryIO) -> FileKind:
    """Of a file that can seek; it is left at its start."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    stream.seek(0)
    if is_tiff(head):
        tiff = read_tiff_directories(stream)
        return FileKind("raw" if tiff.raw else "TIFF", tiff)
    if head.startswith(_RAW_STARTS) or head[4:12] == b"ftypcrx ":
        return FileKind("raw")
    brands = _brands(head)
    if brands & _HEVC_BRANDS and not brands & _AVIF_BRANDS:
        return FileKind("HEIC")
    if head.startswith(_JXL_STARTS):
        return FileKind("JPEG XL")
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return FileKind("WebP")
    starts = {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff"}
    if brands & _AVIF_BRANDS:
        return FileKind("AVIF")
    return FileKind(next((name for name, start in starts.items() if head.startswith(start)), ""))


def what_it_may_be(stream: BinaryIO, kind: FileKind) -> str:
    """Why Pillow knows no such file, and what to do: the end of an error's line."""
    stream.seek(0)
    head = stream.read(_HEAD_BYTES)
    for words, starts in _OTHERS.items():
        if head.startswith(starts):
            return words
    if _brands(head) & _VIDEO_BRANDS:
        return "videos are not read: save a picture of it as PNG or JPEG first"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype svg")) and b"<svg" in text:
        return "SVG drawings are not read: convert it to PNG first"
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page, not a picture: save the picture itself"
    if kind.name in ("PNG", "JPEG", "WebP", "AVIF", "HEIC", "JPEG XL", "raw"):
        return f"the {kind.name} file is damaged from its start: get a whole copy of it"
    if kind.tiff is not None and kind.tiff.directories:
        return f"TIFF files with {kind.tiff.samples} are not read: convert it to 8- or 16-bit RGB or gray first"
    return "not a picture, or damaged from its start: give PNG, JPEG, WebP, AVIF, TIFF or another common type"


def unread_jpeg(stream: BinaryIO) -> str | None:
    """Why a JPEG file cannot be read though it is whole: 12 bits a sample, lossless, arithmetic coding; else None."""
    stream.seek(2)
    while True:
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] == 0xDA:
            return None
        if head[1] == 0xFF:  # filling
            stream.seek(-3, 1)
            continue
        length = int.from_bytes(head[2:], "big")
        if 0xC0 <= head[1] <= 0xCF and head[1] not in (0xC4, 0xC8, 0xCC):
            bits = stream.read(1)
            if bits and bits[0] != 8 and head[1] in _TWELVE_BIT_FRAMES:
                return f"JPEG files with {bits[0]} bits a sample are not read: convert it to 16-bit PNG or TIFF first"
            if head[1] in (0xC3, 0xC7, 0xCB, 0xCF):
                return "lossless JPEG files are not read: convert it to PNG first"
            return None
        stream.seek(max(length - 2, 0), 1)


def _brands(head: bytes) -> frozenset[bytes]:
    """Those of a file of boxes, such as AVIF and MP4; empty for others."""
    if head[4:8] != b"ftyp":
        return frozenset()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return frozenset(head[at : at + 4] for at in range(8, end - 3, 4) if at != 12)
