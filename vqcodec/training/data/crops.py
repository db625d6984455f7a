"""Batches of crops that depend on (seed, step) alone.

Nothing here keeps a position: batch `step` is the same whether or not training was interrupted before it.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image

from vqcodec.pictures.arrays import Pixels
from vqcodec.training.data.types import Labels, Pictures

#: in a batch, the label of a picture that has none
UNLABELLED = -1

T = TypeVar("T")


@dataclass(frozen=True)
class CropConfig:
    """Random square crops. A share `resized` of them is cut at another size, `smallest`..`largest` times the side.

    A picture smaller than the crop is enlarged; with `pad` its edges are repeated instead, on both sides alike. With
    `flip` half of the crops are mirrored: not for digits and letters.

    Examples:
        >>> config = CropConfig(size=32, resized=0.0, flip=False)
        >>> random_crop(np.zeros((40, 50, 3), np.uint8), config, np.random.default_rng(0)).shape
        (32, 32, 3)
    """

    size: int = 128
    resized: float = 0.5
    smallest: float = 0.6
    largest: float = 1.75
    pad: bool = False
    flip: bool = True


class CropPlace(NamedTuple):
    """Where a square crop is cut, in pixels, and whether it is mirrored."""

    top: int
    left: int
    side: int
    mirrored: bool


def draw_crop(height: int, width: int, config: CropConfig, rng: np.random.Generator) -> CropPlace:
    """Where to crop a picture.

    The draws from `rng` do not depend on `config.flip`, and stay what they are for ever: runs resume to the same bits.
    """
    side = config.size
    if rng.random() < config.resized:
        side = round(config.size * float(np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest)))))
    side = min(side, height, width)
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    return CropPlace(top, left, side, bool(rng.random() < 0.5) and config.flip)


def random_crop(pixels: Pixels, config: CropConfig, rng: np.random.Generator) -> Pixels:
    """A (size, size, 3) crop of (H, W, 3), see `draw_crop`."""
    if config.pad:
        pixels = _padded(pixels, config.size)
    top, left, side, mirrored = draw_crop(pixels.shape[0], pixels.shape[1], config, rng)
    crop = pixels[top : top + side, left : left + side]
    if side != config.size:
        crop = np.asarray(Image.fromarray(crop).resize((config.size, config.size), Image.Resampling.BICUBIC))
    return crop[:, ::-1] if mirrored else crop


def _padded(pixels: Pixels, side: int) -> Pixels:
    """Both sides brought to at least `side` pixels, the picture in the middle (half a pixel above and left of it)."""
    extra = [max(0, side - length) for length in pixels.shape[:2]]
    if not any(extra):
        return pixels
    return np.pad(pixels, [*((more // 2, more - more // 2) for more in extra), (0, 0)], mode="edge")


def chosen_pictures(
    pictures: int, count: int, seed: int, step: int, share: slice
) -> list[tuple[int, np.random.Generator]]:
    """Of a process's share of a batch: which of so many pictures, and what their crops are drawn from.

    A function of (seed, step) alone.
    """
    chosen = np.random.default_rng((seed, step)).integers(pictures, size=count)
    return [(int(chosen[number]), np.random.default_rng((seed, step, number))) for number in range(count)[share]]


class CropBatches:
    """Batch number `step` of random crops: (B, size, size, 3) uint8, a function of (seed, step) alone.

    crop: the crops, or what gives those of a step. share: of several processes, the part of each batch that is this
    one's. workers: threads that make the batches to come; by default half of the cores, at most 4.
    """

    def __init__(
        self,
        pictures: Pictures,
        *,
        batch_size: int,
        crop: CropConfig | Callable[[int], CropConfig],
        seed: int,
        share: slice = slice(None),
        workers: int | None = None,
    ) -> None:
        self.pictures, self.batch_size, self.seed, self.share = pictures, batch_size, seed, share
        self.workers = workers or max(1, min(4, (os.cpu_count() or 1) // 2))
        self._crop_at: Callable[[int], CropConfig] = crop if callable(crop) else lambda step: crop

    def __call__(self, step: int) -> Pixels:
        return self.with_labels(step)[0]

    def with_labels(self, step: int) -> tuple[Pixels, Labels]:
        """The batch that `self(step)` gives, and the labels (B,) int64 of its crops, UNLABELLED for those without."""
        crop = self._crop_at(step)
        crops, labels = [], []
        for index, rng in chosen_pictures(len(self.pictures), self.batch_size, self.seed, step, self.share):
            pixels, label = self.pictures.item(index)
            crops.append(random_crop(pixels, crop, rng))
            labels.append(UNLABELLED if label is None else label)
        return np.stack(crops), np.array(labels, dtype=np.int64)

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, Pixels]]:
        """(step, batch) for the steps first..last-1, the next ones being made in threads meanwhile."""
        return self._ahead(self, first, last)

    def ahead_with_labels(self, first: int, last: int) -> Iterator[tuple[int, tuple[Pixels, Labels]]]:
        """The same with `with_labels`."""
        return self._ahead(self.with_labels, first, last)

    def _ahead(self, make: Callable[[int], T], first: int, last: int) -> Iterator[tuple[int, T]]:
        with ThreadPoolExecutor(max_workers=self.workers) as threads:
            pending = deque(threads.submit(make, step) for step in range(first, min(first + self.workers, last)))
            for step in range(first, last):
                batch = pending.popleft().result()
                if step + self.workers < last:
                    pending.append(threads.submit(make, step + self.workers))
                yield step, batch
