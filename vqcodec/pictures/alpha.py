"""Alpha: packed without loss beside the tokens, and read back in rows.

One byte names the method; then comes one zstd frame without its 4-byte magic number, whose header holds the exact
size. Methods 0-3 predict a byte from nothing, the row above, the byte to the left, or both (above + left - above
left), modulo 256. Methods 4 and 5 are for masks of only 0 and 255. Method 4: each row as bits (1 is opaque, the first
pixel in the highest bit, padded with 0 to whole bytes). Method 5: where the mask changes, in reading order, from
transparent before the first pixel: gaps g[i] = p[i] - p[i-1] between such places (p[-1] = 0), less the gap before
the last one (g[i-2], 0 at the start; the run on the row above, mostly), as zigzag LEB128 numbers of at most 5 bytes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import zstandard
from numpy.typing import NDArray

from vqcodec.pictures.conversion import UInt8
from vqcodec.pictures.errors import ImageError

_PLAIN, _UP, _LEFT, _PLANE, _BITS, _EDGES = range(6)
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_SLOW_LIMIT_BYTES: Final = 1 << 21  # above it the best compression takes seconds
_MAX_VARINT_BYTES: Final = 5
#: read and decoded at a time
_BAND_PIXELS: Final = 1 << 20
_PIECE_BYTES: Final = 1 << 16
#: of a block in a zstd frame: what it holds, and that it is repeated
_BLOCK_HEADER_BYTES: Final = 3
_REPEATED_BYTE: Final = 1
_CHECKSUM_BYTES: Final = 4


class AlphaError(ImageError):
    """Packed alpha that is damaged or does not belong to a picture of this size."""


def pack_alpha(alpha: UInt8) -> bytes:
    """Compress (H, W) uint8 alpha losslessly; a simple mask takes 20 to 200 bytes.

    A fully opaque picture has no alpha at all (`LoadedImage.alpha` is None): do not store one.
    There is no checksum inside: the container of the stream has one.

    Raises:
        ImageError: not (H, W) uint8, or no pixels.
    """
    if alpha.ndim != 2 or alpha.dtype != np.uint8 or alpha.size == 0:
        raise ImageError(f"expected (H, W) uint8 alpha, got {alpha.shape} {alpha.dtype}")
    if bool(((alpha == 0) | (alpha == 255)).all()):
        bits = np.packbits(alpha == 255, axis=1)
        candidates = {_BITS: bits.tobytes()}
        edges = _mask_to_edges(alpha)
        if edges is not None and len(edges) <= bits.size:
            candidates[_EDGES] = edges
    else:
        up, left = alpha.copy(), alpha.copy()
        up[1:] -= alpha[:-1]
        left[:, 1:] -= alpha[:, :-1]
        plane = left.copy()
        plane[1:] -= left[:-1]
        candidates = {_PLAIN: alpha.tobytes(), _UP: up.tobytes(), _LEFT: left.tobytes(), _PLANE: plane.tobytes()}
    quick = zstandard.ZstdCompressor(level=3)
    method = min(candidates, key=lambda key: len(quick.compress(candidates[key])))
    level = 19 if len(candidates[method]) <= _SLOW_LIMIT_BYTES else 9
    frame = zstandard.ZstdCompressor(level=level).compress(candidates[method])
    return bytes([method]) + frame.removeprefix(_ZSTD_MAGIC)


def unpack_alpha(data: bytes, width: int, height: int) -> UInt8:
    """The (height, width) uint8 alpha that `pack_alpha` packed. Raises AlphaError as `AlphaRows` does."""
    rows = AlphaRows(data, width, height)
    alpha, at = np.empty((height, width), np.uint8), 0
    for band in rows:
        alpha[at : at + len(band)] = band
        at += len(band)
    return alpha


class AlphaRows:
    """The (height, width) uint8 alpha that `pack_alpha` packed, some rows at a time: memory is flat whatever its size.

    The size that the data claims is compared with width x height before anything is allocated.

    Raises:
        AlphaError: damaged, cut off, with bytes left over, or of another size; what is within the rows is found when
            they are iterated over.
    """

    def __init__(self, data: bytes, width: int, height: int) -> None:
        if width < 1 or height < 1:
            raise AlphaError(f"a picture of {width} x {height} pixels has no alpha")
        if not data or data[0] > _EDGES:
            raise AlphaError("the alpha data is empty or of an unknown method: the stream is damaged or too new")
        self._width, self._height, self._method = width, height, data[0]
        self._row_bytes = (width + 7) // 8 if self._method in (_BITS, _EDGES) else width
        self._frame = _ZSTD_MAGIC + data[1:]
        try:
            self._size = zstandard.get_frame_parameters(self._frame).content_size
        except zstandard.ZstdError as error:
            raise _damaged(str(error)) from error
        most = self._row_bytes * height
        if self._size > most or (self._size < most and self._method != _EDGES):
            raise AlphaError(f"the alpha data is {self._size} bytes, not those of {width} x {height} pixels")
        if _frame_bytes(self._frame) != len(self._frame):
            raise _damaged("it is cut off, or bytes are left over")

    def check(self) -> None:
        """Raises AlphaError for what is damaged within the rows."""
        for _ in self:
            pass

    def __iter__(self) -> Iterator[UInt8]:
        """Rows (n, width) from the top."""
        step = max(1, _BAND_PIXELS // self._width)
        counts = [min(step, self._height - top) for top in range(0, self._height, step)]
        try:
            with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(self._frame)) as reader:
                yield from self._masks(reader, counts) if self._method == _EDGES else self._rows(reader, counts)
        except zstandard.ZstdError as error:
            raise _damaged(str(error)) from error

    def _rows(self, reader: zstandard.ZstdDecompressionReader, counts: list[int]) -> Iterator[UInt8]:
        above = np.zeros(self._width, np.uint8)
        for count in counts:
            stored = _exactly(reader, count * self._row_bytes)
            rows: UInt8 = np.frombuffer(stored, np.uint8).reshape(count, self._row_bytes)
            if self._method == _BITS:
                bits = np.unpackbits(rows, axis=1)
                if bits[:, self._width :].any():
                    raise _damaged("padding bits are set")
                rows = bits[:, : self._width] * np.uint8(255)
            if self._method in (_UP, _PLANE):
                rows = np.cumsum(rows, axis=0, dtype=np.uint8) + above
                above = rows[-1]
            if self._method in (_LEFT, _PLANE):
                rows = np.cumsum(rows, axis=1, dtype=np.uint8)
            yield rows

    def _masks(self, reader: zstandard.ZstdDecompressionReader, counts: list[int]) -> Iterator[UInt8]:
        edges = _Edges(self._width * self._height)
        left, start = self._size, 0
        for count in counts:
            end = start + count * self._width
            while left and edges.known_to < end:
                piece = _exactly(reader, min(left, _PIECE_BYTES))
                left -= len(piece)
                edges.add(np.frombuffer(piece, np.uint8), is_last=not left)
            yield edges.mask(start, end).reshape(count, self._width)
            start = end
        if left:
            raise _damaged("an edge lies outside the picture")


@dataclass
class _Edges:
    """Method 5, read bit by bit: where a mask of so many pixels changes. known_to: all edges before it are known."""

    pixels: int
    known_to: int = -1
    _unread: bytes = b""
    _gaps: tuple[int, int] = (0, 0)
    _count: int = 0
    _value: bool = False

    def __post_init__(self) -> None:
        self._places = np.empty(0, np.int64)

    def add(self, piece: UInt8, *, is_last: bool) -> None:
        """Read numbers; what is cut off at the end waits for the next piece."""
        data = np.concatenate([np.frombuffer(self._unread, np.uint8), piece])
        ends = np.flatnonzero(data < 128)
        used = int(ends[-1]) + 1 if ends.size else 0
        self._unread = data[used:].tobytes()
        if (is_last and self._unread) or len(self._unread) >= _MAX_VARINT_BYTES:
            raise _damaged("a number is too long or cut off")
        if used:
            self._add_gaps(_zigzag_numbers(data[:used], ends))
        if is_last:
            self.known_to = self.pixels

    def _add_gaps(self, changes: NDArray[np.int64]) -> None:
        gaps = changes.copy()
        gaps[: len(self._gaps)] += self._gaps[: len(gaps)]
        gaps[0::2] = np.cumsum(gaps[0::2])
        gaps[1::2] = np.cumsum(gaps[1::2])
        is_first = not self._count
        if gaps[0] < (0 if is_first else 1) or (gaps[1:] < 1).any() or (gaps > self.pixels).any():
            raise _damaged("an edge lies outside the picture")
        before = 0 if is_first else self.known_to
        places = before + np.cumsum(gaps)
        if places[-1] >= self.pixels:
            raise _damaged("an edge lies outside the picture")
        self._gaps = (int(gaps[-2]), int(gaps[-1])) if len(gaps) > 1 else (self._gaps[1], int(gaps[-1]))
        self._count += len(gaps)
        self.known_to = int(places[-1])
        self._places = np.concatenate([self._places, places])

    def mask(self, start: int, end: int) -> UInt8:
        """(end - start,) of 0 and 255, going on from where the last call ended."""
        count = int(np.searchsorted(self._places, end))
        flips = np.zeros(end - start, np.uint8)
        flips[self._places[:count] - start] = 1
        flips[0] ^= self._value
        values = np.bitwise_xor.accumulate(flips)
        self._value = bool(values[-1])
        self._places = self._places[count:]
        mask: UInt8 = values * np.uint8(255)
        return mask


def _zigzag_numbers(data: UInt8, ends: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole LEB128 numbers that end at these bytes."""
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends + 1 - starts
    if (lengths > _MAX_VARINT_BYTES).any():
        raise _damaged("a number is too long or cut off")
    position_in_number = np.arange(data.size) - np.repeat(starts, lengths)
    zigzag = np.add.reduceat((data & 127).astype(np.int64) << (7 * position_in_number), starts)
    numbers: NDArray[np.int64] = np.where(zigzag % 2 == 0, zigzag // 2, -(zigzag // 2) - 1)
    return numbers


def _exactly(reader: zstandard.ZstdDecompressionReader, size: int) -> bytes:
    data = reader.read(size)
    if len(data) != size:
        raise _damaged("it is cut off")
    return data


def _frame_bytes(frame: bytes) -> int:
    """Length of the zstd frame at the start of `frame` (RFC 8878, 3.1.1); more than there is where it is cut off."""
    at = zstandard.frame_header_size(frame)
    is_last = False
    while not is_last and at + _BLOCK_HEADER_BYTES <= len(frame):
        header = int.from_bytes(frame[at : at + _BLOCK_HEADER_BYTES], "little")
        is_last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
        at += _BLOCK_HEADER_BYTES + (1 if kind == _REPEATED_BYTE else size)
    return at + _CHECKSUM_BYTES * zstandard.get_frame_parameters(frame).has_checksum if is_last else len(frame) + 1


def _damaged(what: str) -> AlphaError:
    return AlphaError(f"the alpha data is damaged ({what})")


def _mask_to_edges(mask: UInt8) -> bytes | None:
    """Method 5, written; masks with more than an edge in 8 pixels are noise, for which method 4 is shorter: None."""
    flat = mask.reshape(-1) == 255
    places = np.flatnonzero(np.diff(flat, prepend=False))
    if places.size * 8 > flat.size:
        return None
    gaps = np.diff(places, prepend=0)
    change = gaps.copy()
    change[2:] -= gaps[:-2]
    zigzag = np.where(change >= 0, 2 * change, -2 * change - 1)
    shifted = zigzag[:, None] >> (7 * np.arange(_MAX_VARINT_BYTES + 1))
    more = shifted[:, 1:] > 0
    used = np.column_stack([np.ones(len(zigzag), dtype=bool), more[:, :-1]])
    numbers: UInt8 = ((shifted[:, :-1] & 127) | (more * 128)).astype(np.uint8)[used]
    return numbers.tobytes()
