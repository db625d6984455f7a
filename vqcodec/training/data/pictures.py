"""Sets of training pictures: files, tar shards, toy sets and arrays in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import ImageError
from vqcodec.training.data.files import find_entries
from vqcodec.training.data.labels import MAX_CLASSES, number_classes
from vqcodec.training.data.toy_sets import ToyPicture
from vqcodec.training.data.types import DataError

#: decoded pictures kept in memory, at most, and as a share of the machine's memory for all processes of a run
_MOST_CACHE_BYTES = 6 * 2**30
_CACHE_SHARE = 0.25

_NONE_USABLE = "none of the training pictures can be used; see the log for why"

_log = logging.getLogger(__name__)


class PictureSet:
    """Pictures of folders (nested), tar shards, single files and toy sets, as RGB arrays (H, W, 3) uint8.

    Picture files are decoded once and kept while `cache_bytes` lasts, see `usual_cache_bytes`. Unreadable ones, and
    those with a side under `minimum_side` pixels, are named in the log once and replaced by the next usable one.

    Toy sets are the files of MNIST, Fashion-MNIST and CIFAR-10 (see `vqcodec.training.data.toy_sets`), given themselves
    or in a folder. Of a folder or archive with train and test parts (`train-*` and `t10k-*`, `data_batch_*` and
    `test_batch*`) the training part is taken; to get the test part, name its file. Toy sets stay in memory as a whole,
    and their pictures are all used, however small.

    With `labels` each picture may have a class: the first folder below the given path, in a tar shard the decimal
    integer in KEY.cls beside KEY.jpg (which goes before a folder), in a toy set its own. Names are sorted and numbered
    from 0; numbers are kept.

    Raises:
        DataError: nothing to read, a damaged toy set or tar shard, or, with `labels`, a wrong or missing one: there
            is no label at all, or some classes have names and others numbers.

    Examples:
        >>> PictureSet(["no such folder"])
        Traceback (most recent call last):
        vqcodec.training.data.types.DataError: no such folder: no such file or folder
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        *,
        minimum_side: int = 16,
        cache_bytes: int | None = None,
        labels: bool = False,
    ) -> None:
        places = [Path(path) for path in paths]
        self._entries = [entry for place in places for entry in find_entries(place, labels=labels)]
        self._minimum_side = minimum_side
        self._cache: dict[int, Pixels] = {}
        self._cache_left = usual_cache_bytes() if cache_bytes is None else cache_bytes
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

    def __iter__(self) -> Iterator[Pixels]:
        """Each usable picture once. Raises DataError when there is none."""
        found = False
        for pixels in map(self._load, range(len(self))):
            if pixels is not None:
                found = True
                yield pixels
        if not found:
            raise DataError(_NONE_USABLE)

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
        raise DataError(_NONE_USABLE)

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

    Examples:
        >>> pictures = ArrayPictures(np.zeros((2, 32, 48, 3), np.uint8), np.array([1, 0]), ["cats", "dogs"])
        >>> len(pictures), pictures[0].shape, pictures.classes[pictures.label(0)]
        (2, (32, 48, 3), 'dogs')
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


def usual_cache_bytes() -> int:
    """Bytes of decoded pictures that a process keeps: up to 6 GiB, and a quarter of the memory for all processes."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # a system that does not tell
        return _MOST_CACHE_BYTES
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # torchrun's
    return min(_MOST_CACHE_BYTES, int(_CACHE_SHARE * memory) // processes)
