"""Pixels: the only place that knows their range, colour, orientation, padding and cropping.

Files and Pillow images become `LoadedImage` (8-bit sRGB, upright); `to_tensor` makes what the networks take, and
`from_tensor` is its inverse. Alpha never meets the networks: `pack_alpha` keeps it losslessly. Importing this module
loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import zstandard

from vqcodec.pictures.conversion import DEFAULT_MAX_PIXELS, LoadedImage, UInt8, from_array, from_pil, to_pil
from vqcodec.pictures.errors import ImageError, TooManyPixelsError, UnreadableImageError
from vqcodec.pictures.files import (
    ImageWriteError,
    UnsupportedOutputError,
    check_output_size,
    check_output_type,
    output_extensions,
    save_image,
)
from vqcodec.pictures.reading import load_image

if TYPE_CHECKING:
    import torch

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "AlphaError",
    "ImageError",
    "ImageWriteError",
    "LoadedImage",
    "TooManyPixelsError",
    "UnreadableImageError",
    "UnsupportedOutputError",
    "check_output_size",
    "check_output_type",
    "from_array",
    "from_pil",
    "from_tensor",
    "load_image",
    "output_extensions",
    "pack_alpha",
    "padded_size",
    "save_image",
    "scale_pixels",
    "to_pil",
    "to_tensor",
    "to_unit_range",
    "unpack_alpha",
]


class AlphaError(ImageError):
    """Packed alpha that is damaged or does not belong to a picture of this size."""


# ---- tensors ----


def padded_size(width: int, height: int, multiple: int) -> tuple[int, int]:
    """(width, height) in pixels rounded up to multiples of `multiple`: what `to_tensor` makes of them."""
    if min(width, height, multiple) < 1:
        raise ImageError(f"sizes must be at least 1: width {width}, height {height}, multiple {multiple}")
    return width + -width % multiple, height + -height % multiple


def checked_pixels(rgb: UInt8) -> UInt8:
    """`rgb` itself. Raises ImageError unless it is (H, W, 3) uint8 with pixels."""
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise ImageError(f"expected (H, W, 3) uint8 pixels, got {rgb.shape} {rgb.dtype}")
    return rgb


def padded(rgb: UInt8, multiple: int) -> UInt8:
    """(..., H, W, 3) -> (..., H', W', 3) with H' and W' the next multiples of `multiple`.

    The padding lies at the right and at the bottom: a reflection, or the repeated edge where the side is too short.
    Raises ImageError for no pixels, or `multiple` below 1.
    """
    height, width = rgb.shape[-3:-1]
    for axis, side in zip((-3, -2), padded_size(height, width, multiple), strict=True):
        extra = side - rgb.shape[axis]
        if extra:
            widths = [(0, 0)] * rgb.ndim
            widths[axis] = (0, extra)
            rgb = np.pad(rgb, widths, mode="reflect" if extra < rgb.shape[axis] else "edge")
    return rgb


def to_tensor(rgb: UInt8, multiple: int) -> torch.Tensor:
    """(H, W, 3) uint8 -> (1, 3, H', W') float32 in [-1, 1], `padded` to multiples of `multiple`.

    Raises:
        ImageError: not (H, W, 3) uint8, or no pixels, or `multiple` below 1.
    """
    import torch

    return scale_pixels(torch.from_numpy(np.array(padded(checked_pixels(rgb), multiple), order="C"))[None])


def scale_pixels(pixels: torch.Tensor) -> torch.Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) float32 in [-1, 1], without a copy into another memory order."""
    return pixels.float().div_(127.5).sub_(1.0).permute(0, 3, 1, 2)


def to_unit_range(x: torch.Tensor) -> torch.Tensor:
    """[-1, 1] -> [0, 1], any shape; not clamped. The range that the perceptual distances take."""
    return (x + 1.0) / 2.0


def from_tensor(x: torch.Tensor, width: int, height: int) -> UInt8:
    """(1, 3, H', W') in [-1, 1] of any float dtype -> (height, width, 3) uint8: the left upper part of it.

    Values are rounded to the nearest of 0..255 and clamped; NaN becomes mid-gray.

    Raises:
        ImageError: another shape, or a tensor smaller than width x height.
    """
    import torch

    if x.ndim != 4 or x.shape[:2] != (1, 3) or not (1 <= height <= x.shape[2] and 1 <= width <= x.shape[3]):
        raise ImageError(f"expected (1, 3, >= {height}, >= {width}), got {tuple(x.shape)}")
    with torch.no_grad():
        cropped = x.detach()[0, :, :height, :width].permute(1, 2, 0)
        levels = (cropped.float() + 1.0).mul_(127.5).nan_to_num_(nan=127.5).round_().clamp_(0, 255)
        pixels: UInt8 = levels.to(torch.uint8).contiguous().cpu().numpy()
    return pixels


# ---- alpha ----
#
# One byte names the method; then comes one zstd frame without its 4-byte magic number, whose header holds the exact
# size. Methods 0-3 predict a byte from nothing, the row above, the byte to the left, or both (above + left - above
# left), modulo 256. Methods 4 and 5 are for masks of only 0 and 255. Method 4: each row as bits (1 is opaque, the first
# pixel in the highest bit, padded with 0 to whole bytes). Method 5: where the mask changes, in reading order, from
# transparent before the first pixel: gaps g[i] = p[i] - p[i-1] between such places (p[-1] = 0), less the gap before
# the last one (g[i-2], 0 at the start; the run on the row above, mostly), as zigzag LEB128 numbers of at most 5 bytes.

_PLAIN, _UP, _LEFT, _PLANE, _BITS, _EDGES = range(6)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SLOW_LIMIT_BYTES = 1 << 21  # above it the best compression takes seconds
_MAX_VARINT_BYTES = 5


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
    """The (height, width) uint8 alpha that `pack_alpha` packed.

    The size that the data claims is compared with width x height before anything is allocated.

    Raises:
        AlphaError: damaged, cut off, with bytes left over, or of another size.
    """
    if width < 1 or height < 1:
        raise AlphaError(f"a picture of {width} x {height} pixels has no alpha")
    if not data or data[0] > _EDGES:
        raise AlphaError("the alpha data is empty or of an unknown method: the stream is damaged or too new")
    method = data[0]
    shape = (height, (width + 7) // 8 if method in (_BITS, _EDGES) else width)
    frame = _ZSTD_MAGIC + data[1:]
    try:
        size = zstandard.get_frame_parameters(frame).content_size
        if size > shape[0] * shape[1] or (size < shape[0] * shape[1] and method != _EDGES):
            raise AlphaError(f"the alpha data is {size} bytes, not those of {width} x {height} pixels")
        unpacked = zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise AlphaError(f"the alpha data is damaged ({error})") from error
    if method == _EDGES:
        return _edges_to_mask(np.frombuffer(unpacked, dtype=np.uint8), width, height)
    rows: UInt8 = np.frombuffer(unpacked, dtype=np.uint8).reshape(shape).copy()
    if method == _BITS:
        bits = np.unpackbits(rows, axis=1)
        if bits[:, width:].any():
            raise AlphaError("the alpha data is damaged (padding bits are set)")
        rows = bits[:, :width] * np.uint8(255)
    if method in (_UP, _PLANE):
        rows = np.cumsum(rows, axis=0, dtype=np.uint8)
    if method in (_LEFT, _PLANE):
        rows = np.cumsum(rows, axis=1, dtype=np.uint8)
    return rows


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


def _edges_to_mask(data: UInt8, width: int, height: int) -> UInt8:
    """Method 5, read: (height, width) uint8 of 0 and 255."""
    ends = np.flatnonzero(data < 128)
    starts = np.concatenate([[0], ends + 1])[: len(ends)]
    lengths = ends + 1 - starts
    if lengths.sum() != data.size or (lengths > _MAX_VARINT_BYTES).any():
        raise AlphaError("the alpha data is damaged (a number is too long or cut off)")
    flat = np.zeros(width * height, dtype=np.uint8)
    if data.size:
        position_in_number = np.arange(data.size) - np.repeat(starts, lengths)
        zigzag = np.add.reduceat((data & 127).astype(np.int64) << (7 * position_in_number), starts)
        gaps = np.where(zigzag % 2 == 0, zigzag // 2, -(zigzag // 2) - 1)
        gaps[0::2] = np.cumsum(gaps[0::2])
        gaps[1::2] = np.cumsum(gaps[1::2])
        if gaps[0] < 0 or (gaps[1:] < 1).any() or (gaps > flat.size).any() or gaps.sum() >= flat.size:
            raise AlphaError("the alpha data is damaged (an edge lies outside the picture)")
        flat[np.cumsum(gaps)] = 1
    mask: UInt8 = np.bitwise_xor.accumulate(flat).reshape(height, width) * np.uint8(255)
    return mask
