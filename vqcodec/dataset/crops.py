"""Square crops of a picture. The middle one is that of ADM's `center_crop_arr`, which LlamaGen and 1d-tokenizer use.

Pillow resizes 8-bit pixels in whole numbers, so crops are the same on every processor.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image

from vqcodec.dataset.spec import TokenSpec
from vqcodec.pictures.arrays import Pixels

#: LlamaGen's: ten crops are cut from a middle one whose side is so much longer
_TEN_RANGE: Final = 1.1
#: the least side of a random crop, of the picture's shorter one
_LEAST_SHARE: Final = 0.5
#: longer pictures are cut to this ratio of sides first: a line of pixels would become gigabytes
_MOST_RATIO: Final = 64


@dataclass(frozen=True)
class Crop:
    """pixels: (size, size, 3). left, top, width, height: what it shows of the upright picture, in pixels, rounded.

    flip: whether it is mirrored."""

    pixels: Pixels
    left: int
    top: int
    width: int
    height: int
    flip: bool


def crops_of(pixels: Pixels, spec: TokenSpec, key: str) -> list[Crop]:
    """Of a picture (H, W, 3), `spec.crops_per_picture` of them; random ones are a function of (seed, key, number)."""
    height, width = pixels.shape[:2]
    if spec.size is None:
        return [Crop(pixels, 0, 0, width, height, False)]
    if spec.crops == "center":
        return [_center(pixels, spec.size)]
    if spec.crops == "ten":
        return _ten(pixels, spec.size)
    return [_random(pixels, spec.size, spec.seed, key, number) for number in range(spec.crops_per_picture)]


def _resized(pixels: Pixels, size: int) -> tuple[Pixels, int, int, float]:
    """The picture with its shorter side `size` as ADM resizes it, what was cut off first at the left and at the top,
    and how many pixels of the picture one of these is."""
    height, width = pixels.shape[:2]
    left = max(0, width - _MOST_RATIO * height) // 2
    top = max(0, height - _MOST_RATIO * width) // 2
    kept = pixels[top : height - top, left : width - left]
    image = Image.fromarray(np.ascontiguousarray(kept))
    short = min(image.size)
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return np.asarray(image), left, top, short / size


def _center(pixels: Pixels, size: int) -> Crop:
    small, left, top, unit = _resized(pixels, size)
    row, col = (small.shape[0] - size) // 2, (small.shape[1] - size) // 2
    return _crop(small[row : row + size, col : col + size], (left, top), (row, col), unit, False)


def _ten(pixels: Pixels, size: int) -> list[Crop]:
    """As torchvision's TenCrop orders them: the corners, the middle, and the same mirrored."""
    large = _center(pixels, int(size * _TEN_RANGE))
    unit, far = large.width / large.pixels.shape[1], large.pixels.shape[0] - size
    middle = round(far / 2)
    made = []
    for flip in (False, True):
        source = large.pixels[:, ::-1] if flip else large.pixels
        for row, col in ((0, 0), (0, far), (far, 0), (far, far), (middle, middle)):
            place = row, far - col if flip else col
            part = source[row : row + size, col : col + size]
            made.append(_crop(part, (large.left, large.top), place, unit, flip))
    return made


def _random(pixels: Pixels, size: int, seed: int, key: str, number: int) -> Crop:
    """A square of half to all of the shorter side, anywhere; one of two is mirrored."""
    digest = hashlib.sha256(f"{seed} {number} {key}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    height, width = pixels.shape[:2]
    short = min(height, width)
    side = max(1, round(short * rng.uniform(_LEAST_SHARE, 1.0)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    flip = bool(rng.random() < 0.5)
    small = _resized(pixels[top : top + side, left : left + side], size)[0]
    return Crop(np.ascontiguousarray(small[:, ::-1] if flip else small), left, top, side, side, flip)


def _crop(part: Pixels, corner: tuple[int, int], place: tuple[int, int], unit: float, flip: bool) -> Crop:
    """Of a part of the resized picture at (row, col) = place."""
    side = round(part.shape[0] * unit)
    left, top = corner[0] + round(place[1] * unit), corner[1] + round(place[0] * unit)
    return Crop(np.ascontiguousarray(part), left, top, side, side, flip)
