"""Square crops of a picture. The middle one is that of ADM's `center_crop_arr`, which LlamaGen and 1d-tokenizer use.

Pillow resizes 8-bit pixels in whole numbers, so crops are the same on every processor.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final, TypeAlias

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

#: (height, width) of a picture, in pixels
Size: TypeAlias = tuple[int, int]


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


def crops_of(pixels: Pixels, spec: TokenSpec, key: str, full: Size | None = None) -> list[Crop]:
    """Of a picture (H, W, 3), `spec.crops_per_picture` of them; random ones are a function of (seed, key, number).

    full: (height, width) of the picture where `pixels` are a smaller copy; what crops show is told in its pixels.
    """
    height, width = full = full or (pixels.shape[0], pixels.shape[1])
    if spec.size is None:
        return [Crop(pixels, 0, 0, width, height, False)]
    if spec.crops == "center":
        return [_center(pixels, spec.size, full)]
    if spec.crops == "ten":
        return _ten(pixels, spec.size, full)
    return [_random(pixels, spec.size, full, spec.seed, key, number) for number in range(spec.crops_per_picture)]


def least_side(spec: TokenSpec) -> int | None:
    """Pixels that the shorter side of a smaller copy needs, so that no crop is enlarged that would not be anyway.

    None where pictures are decoded in full.
    """
    if spec.decode == "full" or spec.size is None:
        return None
    return {"center": spec.size, "ten": int(spec.size * _TEN_RANGE)}.get(spec.crops, int(spec.size / _LEAST_SHARE))


def _cut(height: int, width: int) -> tuple[int, int]:
    """What is cut off at the left and at the top."""
    return max(0, width - _MOST_RATIO * height) // 2, max(0, height - _MOST_RATIO * width) // 2


def _resized(pixels: Pixels, size: int, full: Size) -> tuple[Pixels, int, int, float]:
    """The picture with its shorter side `size` as ADM resizes it; what was cut off first at the left and at the top,
    and how many pixels one of these is, in pixels of the full picture."""
    height, width = pixels.shape[:2]
    left, top = _cut(height, width)
    kept = pixels[top : height - top, left : width - left]
    image = Image.fromarray(np.ascontiguousarray(kept))
    while min(image.size) >= 2 * size:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = size / min(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    left, top = _cut(*full)
    return np.asarray(image), left, top, min(full[0] - 2 * top, full[1] - 2 * left) / size


def _center(pixels: Pixels, size: int, full: Size) -> Crop:
    small, left, top, unit = _resized(pixels, size, full)
    row, col = (small.shape[0] - size) // 2, (small.shape[1] - size) // 2
    return _crop(small[row : row + size, col : col + size], (left, top), (row, col), unit, False)


def _ten(pixels: Pixels, size: int, full: Size) -> list[Crop]:
    """As torchvision's TenCrop orders them: the corners, the middle, and the same mirrored."""
    large = _center(pixels, int(size * _TEN_RANGE), full)
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


def _random(pixels: Pixels, size: int, full: Size, seed: int, key: str, number: int) -> Crop:
    """A square of half to all of the shorter side, anywhere; one of two is mirrored."""
    digest = hashlib.sha256(f"{seed} {number} {key}".encode()).digest()
    rng = np.random.default_rng(list(digest))
    height, width = full
    short = min(height, width)
    side = max(1, round(short * rng.uniform(_LEAST_SHARE, 1.0)))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    flip = bool(rng.random() < 0.5)
    part = _square(pixels, top / height, left / width, side / short)
    small = _resized(part, size, (side, side))[0]
    return Crop(np.ascontiguousarray(small[:, ::-1] if flip else small), left, top, side, side, flip)


def _square(pixels: Pixels, top: float, left: float, side: float) -> Pixels:
    """The square whose place is given in shares of height and width, and its side in shares of the shorter side."""
    height, width = pixels.shape[:2]
    length = max(1, round(side * min(height, width)))
    row, col = min(round(top * height), height - length), min(round(left * width), width - length)
    return pixels[row : row + length, col : col + length]


def _crop(part: Pixels, corner: tuple[int, int], place: tuple[int, int], unit: float, flip: bool) -> Crop:
    """Of a part of the resized picture at (row, col) = place."""
    side = round(part.shape[0] * unit)
    left, top = corner[0] + round(place[1] * unit), corner[1] + round(place[0] * unit)
    return Crop(np.ascontiguousarray(part), left, top, side, side, flip)
