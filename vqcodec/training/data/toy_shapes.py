"""Generated pictures with labels: one coloured shape each. For tests, and for a first run without any download."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.pictures.arrays import Pixels
from vqcodec.training.data.types import Labels

__all__ = ["SMALLEST_TOY_SIDE", "TOY_CLASSES", "toy_pictures", "write_toy_folder"]

#: pixels; below it stripes and checks are no longer told apart
SMALLEST_TOY_SIDE = 16

_Plane = NDArray[np.float64]

# Each takes coordinates from the middle of the shape, in units of its radius, and gives how far inside a point lies:
# above 0 inside, below 0 outside, near the edge about the distance from it. All of them fit into a circle of radius
# 1.2. Only additions, products and comparisons: the same picture on every machine.


def _box(x: _Plane, y: _Plane, half_width: float, half_height: float) -> _Plane:
    return np.minimum(half_width - np.abs(x), half_height - np.abs(y))


def _checks(x: _Plane, y: _Plane) -> _Plane:
    """Three by three fields, the corners and the middle one filled."""
    third = 0.85 / 3
    corners = _box(np.abs(x) - 2 * third, np.abs(y) - 2 * third, third, third)
    return np.maximum(corners, _box(x, y, third, third))


def _cross(x: _Plane, y: _Plane) -> _Plane:
    return np.maximum(_box(x, y, 1.0, 0.28), _box(x, y, 0.28, 1.0))


def _disc(x: _Plane, y: _Plane) -> _Plane:
    return 0.95 - np.sqrt(x * x + y * y)


def _frame(x: _Plane, y: _Plane) -> _Plane:
    return np.minimum(_box(x, y, 0.85, 0.85), -_box(x, y, 0.5, 0.5))


def _ring(x: _Plane, y: _Plane) -> _Plane:
    return 0.22 - np.abs(np.sqrt(x * x + y * y) - 0.78)


def _square(x: _Plane, y: _Plane) -> _Plane:
    return _box(x, y, 0.8, 0.8)


def _stripes(x: _Plane, y: _Plane) -> _Plane:
    """Three bars that lie."""
    bar = 0.85 / 5
    return np.maximum(_box(x, y, 0.85, bar), _box(x, np.abs(y) - 4 * bar, 0.85, bar))


def _triangle(x: _Plane, y: _Plane) -> _Plane:
    """Its tip is up, its base at y = 0.7."""
    return np.minimum(0.7 - y, (0.9 + y) * 0.49 - np.abs(x) * 0.87)


_SHAPES: dict[str, Callable[[_Plane, _Plane], _Plane]] = {
    "checks": _checks,
    "cross": _cross,
    "disc": _disc,
    "frame": _frame,
    "ring": _ring,
    "square": _square,
    "stripes": _stripes,
    "triangle": _triangle,
}

#: by label, in the order of the alphabet: a folder of folders gets the same labels
TOY_CLASSES = tuple(_SHAPES)


def toy_pictures(count: int, side: int, seed: int) -> tuple[Pixels, Labels]:
    """`count` coloured shapes, (N, side, side, 3) uint8, and their labels (N,) int64, places in TOY_CLASSES.

    Colours, place, size, slant and background vary. Picture i depends on (seed, i, side) alone, and its label is i
    modulo the number of classes: the classes are as even as they can be, and fewer pictures are the first of more.

    Raises:
        ValueError: `count` below 1, `side` below SMALLEST_TOY_SIDE, or `seed` below 0.
    """
    if count < 1 or side < SMALLEST_TOY_SIDE or seed < 0:
        raise ValueError(f"{count} pictures of {side} pixels, seed {seed}: at least 1, {SMALLEST_TOY_SIDE} and 0")
    labels = np.arange(count, dtype=np.int64) % len(TOY_CLASSES)
    pixels = np.empty((count, side, side, 3), dtype=np.uint8)
    for index, label in enumerate(labels):
        pixels[index] = _draw(_SHAPES[TOY_CLASSES[label]], side, np.random.default_rng((seed, index)))
    return pixels, labels


def write_toy_folder(folder: str | Path, count: int, side: int, seed: int) -> None:
    """The pictures of `toy_pictures` as FOLDER/CLASS/NUMBER.png: a folder of folders, as PictureSet reads it.

    Raises:
        ValueError: as `toy_pictures`.
        OSError: `folder` is not empty (its pictures would mix with these), or cannot be written.
    """
    folder = Path(folder)
    pixels, labels = toy_pictures(count, side, seed)
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(errno.EEXIST, "holds files already; take a new or an empty folder", str(folder))
    digits = len(str(count - 1))
    for index, (picture, label) in enumerate(zip(pixels, labels, strict=True)):
        inner = folder / TOY_CLASSES[label]
        inner.mkdir(exist_ok=True)
        Image.fromarray(picture).save(inner / f"{index:0{digits}}.png")


def _draw(shape: Callable[[_Plane, _Plane], _Plane], side: int, rng: np.random.Generator) -> Pixels:
    """One picture (side, side, 3): a shape with soft edges on a background that runs from one colour to another."""
    radius = rng.uniform(0.3, 0.4)  # of the side, as all lengths here
    middle_x, middle_y = rng.uniform(1.1 * radius, 1 - 1.1 * radius, size=2)
    slope = rng.uniform(-0.12, 0.12)
    cosine, sine = (1 - slope**2) / (1 + slope**2), 2 * slope / (1 + slope**2)  # up to 14 degrees, without a table
    background = rng.uniform(24, 232, size=3)
    # The shape's colour is 90 to 166 levels away in each channel, round the corner from 255 to 0 if need be.
    colour = (background + rng.uniform(90, 166, size=3)) % 256
    drift_x, drift_y = rng.uniform(-24, 24, size=(2, 3))

    places = (np.arange(side) + 0.5) / side
    y, x = np.meshgrid(places, places, indexing="ij")
    across, down = (x - middle_x) / radius, (y - middle_y) / radius
    inside = shape(cosine * across + sine * down, cosine * down - sine * across)
    coverage = np.clip(inside * radius * side + 0.5, 0, 1)[:, :, None]
    ground = background + (x - 0.5)[:, :, None] * drift_x + (y - 0.5)[:, :, None] * drift_y
    mixed = ground + coverage * (colour - ground)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
