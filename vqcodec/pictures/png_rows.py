"""PNG files written a few rows at a time, for pictures that are too large to be in memory as a whole.

Pillow writes the rest of the files that `vqcodec.pictures.files` makes. Rows are filtered as the PNG specification
recommends (W3C PNG, 12.7): each by the filter whose output has the least sum of absolute differences.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import numpy as np
from PIL import Image

from vqcodec.pictures.arrays import Pixels

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
#: rows that are filtered together
_TOGETHER: Final = 32
_COMPRESSION: Final = 6
#: of an IDAT chunk, about
_CHUNK_BYTES: Final = 1 << 16


def write_png(
    file: BinaryIO, bands: Iterable[Pixels], width: int, height: int, ancillary: Iterable[bytes] = ()
) -> None:
    """Write a PNG file of rows (n, width, 3 or 4) uint8 that are `height` in all.

    ancillary: whole chunks that come before the pixels. Raises OSError, and ValueError for other rows.
    """
    compressor, above, written = zlib.compressobj(_COMPRESSION), None, 0
    pending = bytearray()
    for band in bands:
        if above is None:
            header = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[band.shape[2]], 0, 0, 0)
            file.write(_SIGNATURE + _chunk(b"IHDR", header))
            for chunk in ancillary:
                file.write(chunk)
            above = np.zeros((width, band.shape[2]), np.uint8)
        if band.shape[1:] != above.shape:
            raise ValueError(f"rows of {band.shape[1:]} after rows of {above.shape}")
        for start in range(0, len(band), _TOGETHER):
            rows = band[start : start + _TOGETHER]
            pending += compressor.compress(_filtered(rows, above))
            above = rows[-1]
            if len(pending) >= _CHUNK_BYTES:
                file.write(_chunk(b"IDAT", pending))
                pending.clear()
        written += len(band)
    if written != height:
        raise ValueError(f"{written} rows of a picture that has {height}")
    file.write(_chunk(b"IDAT", pending + compressor.flush()) + _chunk(b"IEND", b""))


def ancillary_chunks(image: Image.Image, **options: object) -> list[bytes]:
    """Whole chunks with the profile, metadata and so on that Pillow writes into a PNG file of such an image."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", **options)
    kinds = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
    return [chunk for kind, chunk in _chunks(buffer.getvalue()) if kind not in kinds]


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Type and bytes of each chunk."""
    at = len(_SIGNATURE)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at:end]
        at = end


def _chunk(kind: bytes, content: bytes | bytearray) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + bytes(content) + struct.pack(">I", check)


def _filtered(rows: Pixels, above: Pixels) -> bytes:
    """Rows (n, width, channels) below the row `above`, each with the number of its filter before it."""
    up = np.concatenate([above[None], rows[:-1]])
    left, up_left = np.zeros_like(rows), np.zeros_like(rows)
    left[:, 1:], up_left[:, 1:] = rows[:, :-1], up[:, :-1]
    mean = ((left.astype(np.uint16) + up) >> 1).astype(np.uint8)
    candidates = np.stack([rows, rows - left, rows - up, rows - mean, rows - _paeth(left, up, up_left)])
    size = np.minimum(candidates, -candidates).reshape(5, len(rows), -1).sum(axis=2, dtype=np.int64)
    best = size.argmin(axis=0)
    made = np.empty((len(rows), 1 + rows[0].size), np.uint8)
    made[:, 0] = best
    made[:, 1:] = candidates[best, np.arange(len(rows))].reshape(len(rows), -1)
    return made.tobytes()


def _paeth(left: Pixels, up: Pixels, up_left: Pixels) -> Pixels:
    """Of the three the nearest to left + up - up_left; of equally near ones the first in this order."""
    by_left = np.abs(up.astype(np.int16) - up_left)
    by_up = np.abs(left.astype(np.int16) - up_left)
    by_corner = np.abs(left.astype(np.int16) + up - 2 * up_left.astype(np.int16))
    nearest = np.where(by_up <= by_corner, up, up_left)
    chosen: Pixels = np.where((by_left <= by_up) & (by_left <= by_corner), left, nearest)
    return chosen
