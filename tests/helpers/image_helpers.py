"""Pixels, profiles and files by hand, for the tests of pictures."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms

RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
GRAY3 = np.repeat(GRAY[..., None], 3, axis=2)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6">note</r></x:xmpmeta>'


def same(left: np.ndarray, right: np.ndarray, tolerance: int = 0) -> bool:
    assert left.shape == right.shape
    return int(np.abs(left.astype(int) - right.astype(int)).max()) <= tolerance


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file by hand: Pillow writes neither 16-bit RGB nor the rarer kinds of transparency."""
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return data


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "a description"
    return tags.tobytes()


def palette_image() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    indices = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.reshape(-1).tolist())
    image.putpalette(palette.tobytes())
    return image, indices, palette


def build_profile(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A small ICC version 2 profile."""
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    white = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, kind, space, pcs)
    header += struct.pack(">6H", 2025, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + table + body


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged: pixels through it exchange their channels."""
    data = bytearray(SRGB)
    entries = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data)


def linear_gray_profile() -> bytes:
    return _gray_profile(b"\0\0\0\0", 0)


def lighter_gray_profile(steps: int) -> bytes:
    """That of sRGB, so many steps of 255 lighter."""
    values = np.minimum(np.arange(256) + steps, 255) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return _gray_profile(np.rint(linear * 65535).astype(">u2").tobytes(), 256)


def _gray_profile(curve: bytes, count: int) -> bytes:
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    curve = b"curv\0\0\0\0" + struct.pack(">I", count) + curve
    return build_profile(b"GRAY", b"XYZ ", b"mntr", {b"wtpt": white, b"kTRC": curve})


def odd_cmyk_profile() -> bytes:
    """Paper is white, black ink is black, and the "cyan" ink is red."""
    nodes = b""
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        if k:
            nodes += bytes([0, 128, 128])
        elif c:
            nodes += bytes([135, 208, 195])
        else:
            nodes += bytes([255 - 60 * m - 30 * y, 128, 128])
    straight = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + straight * 4 + nodes + straight * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    return build_profile(b"CMYK", b"Lab ", b"prtr", {b"wtpt": white, b"A2B0": lut, b"A2B1": lut})


def with_profile(image: Image.Image, profile: bytes) -> Image.Image:
    image.info["icc_profile"] = profile
    return image
