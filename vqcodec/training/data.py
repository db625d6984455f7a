"""Training pictures, and batches of crops that depend on (seed, step) alone.

Nothing here keeps a position: batch `step` is the same whether or not training was interrupted before it.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.image import ImageError
from vqcodec.training.data_files import IMAGE_SUFFIXES, find_entries
from vqcodec.training.data_labels import MAX_CLASSES, number_classes
from vqcodec.training.data_types import DataError, Labels, Pictures, Pixels
from vqcodec.training.toy_sets import ToyPicture

__all__ = [
    "DEFAULT_CACHE_BYTES",
    "IMAGE_SUFFIXES",
    "UNLABELLED",
    "ArrayPictures",
    "CropBatches",
    "CropConfig",
    "DataError",
    "Labels",
    "PictureSet",
    "Pictures",
    "Pixels",
    "random_crop",
]

#: decoded pictures kept in memory
DEFAULT_CACHE_BYTES = 6 * 2**30
#: in a batch, the label of a picture that has none
UNLABELLED = -1

T = TypeVar("T")

_log = logging.getLogger(__name__)


class PictureSet:
    """Pictures of folders (nested), tar shards, single files and toy sets, as RGB arrays (H, W, 3) uint8.

    Picture files are decoded once and kept while `cache_bytes` lasts. Unreadable ones, and those with a side under
    `minimum_side` pixels, are named in the log once and replaced by the next usable one.

    Toy sets are the files of MNIST, Fashion-MNIST and CIFAR-10 (see `vqcodec.training.toy_sets`), given themselves or
    in a folder. Of a folder or archive with train and test parts (`train-*` and `t10k-*`, `data_batch_*` and
    `test_batch*`) the training part is taken; to get the test part, name its file. Toy sets stay in memory as a whole,
    and their pictures are all used, however small.

    With `labels` each picture may have a class: the first folder below the given path, in a tar shard the decimal
    integer in KEY.cls beside KEY.jpg (which goes before a folder), in a toy set its own. Names are sorted and numbered
    from 0; numbers are kept.

    Raises:
        DataError: nothing to read, a damaged toy set or tar shard, or, with `labels`, a wrong or missing one: there
            is no label at all, or some classes have names and others numbers.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        minimum_side: int = 16,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        labels: bool = False,
    ) -> None:
        places = [Path(path) for path in paths]
        self._entries = [entry for place in places for entry in find_entries(place, labels=labels)]
        self._minimum_side = minimum_side
        self._cache: dict[int, Pixels] = {}
        self._cache_left = cache_bytes
        self._unusable: set[int] = set()
        self._labels: list[int | None] | None = None
        self._classes: tuple[str, ...] = ()
        names = ", ".join(map(str, places))
        if not self._entries:
            raise DataError(f"{names}: no pictures and no tar shards of pictures there, nor MNIST or CIFAR-10 files")
        if labels:
            toys = (entry.toy_set for entry in self._entries if isinstance(entry, ToyPicture))
            more_names = {name for toy_set in toys for name in toy_set.class_names}
            try:
                self._labels, self._classes = number_classes([entry.label for entry in self._entries], more_names)
            except DataError as error:
                raise DataError(f"{names}: {error}") from error

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; empty without `labels`."""
        return self._classes

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Pixels:
        """The picture at `index`, or the next usable one after it."""
        return self.item(index)[0]

    def label(self, index: int) -> int | None:
        """The label of the picture that `[index]` gives; None when it has none. Decodes the picture to know it."""
        return self.item(index)[1]

    def item(self, index: int) -> tuple[Pixels, int | None]:
        """The picture at `index`, or the next usable one after it, with its label (None when it has none).

        Raises DataError when none of the pictures can be used.
        """
        for candidate in range(index, index + len(self)):
            place = candidate % len(self)
            pixels = self._load(place)
            if pixels is not None:
                return pixels, None if self._labels is None else self._labels[place]
        raise DataError("none of the training pictures can be used; see the log for why")

    def _load(self, index: int) -> Pixels | None:
        if index in self._cache:
            return self._cache[index]
        if index in self._unusable:
            return None
        entry = self._entries[index]
        if isinstance(entry, ToyPicture):
            return entry.load()
        try:
            pixels = entry.load()
        except (OSError, ImageError) as error:
            self._skip(index, f"{entry}: skipped, cannot be read ({error})")
            return None
        if min(pixels.shape[:2]) < self._minimum_side:
            self._skip(index, f"{entry}: skipped, a side is shorter than {self._minimum_side} pixels")
            return None
        if self._cache_left >= pixels.nbytes:
            self._cache_left -= pixels.nbytes
            self._cache[index] = pixels
        return pixels

    def _skip(self, index: int, message: str) -> None:
        self._unusable.add(index)
        _log.warning(message)


class ArrayPictures:
    """Pictures that are in memory already: `pixels` (N, H, W, 3) uint8, `labels` (N,) integers of any width.

    `classes` are the names of the labels, from 0; without them the numbers are the names. Does what a PictureSet does.
    Raises DataError for other shapes and types, no pictures, and labels outside of the classes.
    """

    def __init__(
        self, pixels: Pixels, labels: NDArray[Any] | None = None, classes: Iterable[str] | None = None
    ) -> None:
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or not pixels.size:
            raise DataError(f"expected pictures (N, H, W, 3) uint8, got {pixels.shape} {pixels.dtype}")
        self._pixels, self._labels = pixels, labels
        self.classes: tuple[str, ...] = tuple(classes or ())
        if labels is None:
            return
        if labels.shape != pixels.shape[:1] or labels.dtype.kind not in "iu":
            raise DataError(f"expected {len(pixels)} integer labels, got {labels.shape} {labels.dtype}")
        lowest, highest = int(labels.min()), int(labels.max())
        count = MAX_CLASSES if classes is None else len(self.classes)
        if lowest < 0 or highest >= count:
            raise DataError(f"labels from {lowest} to {highest}, expected 0 to {count - 1}")
        if classes is None:
            self.classes = tuple(str(number) for number in range(highest + 1))

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: int) -> Pixels:
        return self._pixels[index]

    def label(self, index: int) -> int | None:
        """The label of the picture at `index`; None when there are no labels."""
        return None if self._labels is None else int(self._labels[index])

    def item(self, index: int) -> tuple[Pixels, int | None]:
        """The picture at `index`, and its label."""
        return self[index], self.label(index)


@dataclass(frozen=True)
class CropConfig:
    """Random square crops. A share `resized` of them is cut at another size, `smallest`..`largest` times the side.

    A picture smaller than the crop is enlarged; with `pad` its edges are repeated instead, on both sides alike. With
    `flip` half of the crops are mirrored: not for digits and letters.
    """

    size: int = 128
    resized: float = 0.5
    smallest: float = 0.6
    largest: float = 1.75
    pad: bool = False
    flip: bool = True


def random_crop(pixels: Pixels, config: CropConfig, rng: np.random.Generator) -> Pixels:
    """A (size, size, 3) crop of (H, W, 3).

    The draws from `rng` do not depend on `config.flip`, and stay what they are for ever: runs resume to the same bits.
    """
    if config.pad:
        pixels = _padded(pixels, config.size)
    height, width = pixels.shape[:2]
    side = config.size
    if rng.random() < config.resized:
        side = round(config.size * float(np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest)))))
    side = min(side, height, width)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = pixels[top : top + side, left : left + side]
    if side != config.size:
        crop = np.asarray(Image.fromarray(crop).resize((config.size, config.size), Image.Resampling.BICUBIC))
    is_mirrored = rng.random() < 0.5
    return crop[:, ::-1] if is_mirrored and config.flip else crop


def _padded(pixels: Pixels, side: int) -> Pixels:
    """Both sides brought to at least `side` pixels, the picture in the middle (half a pixel above and left of it)."""
    extra = [max(0, side - length) for length in pixels.shape[:2]]
    if not any(extra):
        return pixels
    return np.pad(pixels, [*((more // 2, more - more // 2) for more in extra), (0, 0)], mode="edge")


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
        chosen = np.random.default_rng((self.seed, step)).integers(len(self.pictures), size=self.batch_size)
        crop = self._crop_at(step)
        crops, labels = [], []
        for number in range(self.batch_size)[self.share]:
            pixels, label = self.pictures.item(int(chosen[number]))
            crops.append(random_crop(pixels, crop, np.random.default_rng((self.seed, step, number))))
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
