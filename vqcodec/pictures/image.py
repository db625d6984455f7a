"""Pixels: the only place that knows their range, colour, orientation, padding and cropping.

Files and Pillow images become `LoadedImage` (8-bit sRGB, upright); `to_tensor` makes what the networks take, and
`from_tensor` is its inverse. Alpha never meets the networks: `pack_alpha` keeps it losslessly. Importing this module
loads no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vqcodec.pictures.alpha import AlphaError, pack_alpha, unpack_alpha
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
