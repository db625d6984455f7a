"""Training pictures: an index over folders and tar shards, and batches of crops that depend on (seed, step) alone.

Nothing here keeps a position: batch `step` is the same whether or not training was interrupted before it.
"""

from __future__ import annotations

import logging
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.image import ImageError, load_image

Pixels = NDArray[np.uint8]

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".jp2"})
#: decoded pictures kept in memory
DEFAULT_CACHE_BYTES = 6 * 2**30

_log = logging.getLogger(__name__)


class DataError(ValueError):
    """Training data that cannot be used."""


@dataclass(frozen=True)
class _Member:
    """Where the bytes of one picture lie: a file, or `length` bytes from `offset` of a tar shard."""

    path: Path
    offset: int = 0
    length: int = -1
    name: str = ""

    def read(self) -> bytes:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.length)

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.name else str(self.path)


def _members(path: Path) -> Iterator[_Member]:
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.suffix.lower() in IMAGE_SUFFIXES or child.suffix == ".tar":
                yield from _members(child)
    elif path.suffix == ".tar":
        try:
            with tarfile.open(path) as shard:
                for info in shard:
                    if info.isfile() and Path(info.name).suffix.lower() in IMAGE_SUFFIXES:
                        yield _Member(path, info.offset_data, info.size, info.name)
        except tarfile.TarError as error:
            raise DataError(f"{path}: not a readable tar shard ({error})") from error
    elif path.is_file():
        yield _Member(path)
    else:
        raise DataError(f"{path}: no such file or folder")


class PictureSet:
    """Pictures of folders (nested), tar shards and single files, as RGB arrays (H, W, 3) uint8.

    Pictures are decoded once and kept while `cache_bytes` lasts. Unreadable ones, and those with a side under
    `minimum_side` pixels, are named in the log once and replaced by their neighbour. Raises DataError when there is
    nothing to read.
    """

    def __init__(
        self, paths: Iterable[str | Path], *, minimum_side: int = 16, cache_bytes: int = DEFAULT_CACHE_BYTES
    ) -> None:
        places = [Path(path) for path in paths]
        self._members = [member for place in places for member in _members(place)]
        self._minimum_side = minimum_side
        self._cache: dict[int, Pixels] = {}
        self._cache_left = cache_bytes
        self._unusable: set[int] = set()
        if not self._members:
            raise DataError(f"{', '.join(map(str, places))}: no pictures and no tar shards of pictures there")

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, index: int) -> Pixels:
        """The picture at `index`, or the next usable one after it."""
        for candidate in range(index, index + len(self)):
            pixels = self._load(candidate % len(self))
            if pixels is not None:
                return pixels
        raise DataError("none of the training pictures can be used; see the log for why")

    def _load(self, index: int) -> Pixels | None:
        if index in self._cache:
            return self._cache[index]
        if index in self._unusable:
            return None
        member = self._members[index]
        try:
            pixels = load_image(member.read(), alpha="drop").rgb
        except (OSError, ImageError) as error:
            self._skip(index, f"{member}: skipped, cannot be read ({error})")
            return None
        if min(pixels.shape[:2]) < self._minimum_side:
            self._skip(index, f"{member}: skipped, a side is shorter than {self._minimum_side} pixels")
            return None
        if self._cache_left >= pixels.nbytes:
            self._cache_left -= pixels.nbytes
            self._cache[index] = pixels
        return pixels

    def _skip(self, index: int, message: str) -> None:
        self._unusable.add(index)
        _log.warning(message)


@dataclass(frozen=True)
class CropConfig:
    """Random square crops. A share `resized` of them is cut at another size, `smallest`..`largest` times the side."""

    size: int = 128
    resized: float = 0.5
    smallest: float = 0.6
    largest: float = 1.75


def random_crop(pixels: Pixels, config: CropConfig, rng: np.random.Generator) -> Pixels:
    """A (size, size, 3) crop of (H, W, 3), mirrored half of the time."""
    height, width = pixels.shape[:2]
    side = config.size
    if rng.random() < config.resized:
        side = round(config.size * float(np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest)))))
    side = min(side, height, width)
    top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
    crop = pixels[top : top + side, left : left + side]
    if side != config.size:
        crop = np.asarray(Image.fromarray(crop).resize((config.size, config.size), Image.Resampling.BICUBIC))
    return crop[:, ::-1] if rng.random() < 0.5 else crop


class CropBatches:
    """Batch number `step` of random crops: (B, size, size, 3) uint8, a function of (seed, step) alone."""

    def __init__(self, pictures: PictureSet, *, batch_size: int, crop: CropConfig, seed: int) -> None:
        self.pictures, self.batch_size, self.crop, self.seed = pictures, batch_size, crop, seed

    def __call__(self, step: int) -> Pixels:
        rng = np.random.default_rng((self.seed, step))
        chosen = rng.integers(len(self.pictures), size=self.batch_size)
        return np.stack([random_crop(self.pictures[int(index)], self.crop, rng) for index in chosen])

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, Pixels]]:
        """(step, batch) for the steps first..last-1, the next one being made in a thread meanwhile."""
        with ThreadPoolExecutor(max_workers=1) as thread:
            pending = thread.submit(self, first) if first < last else None
            for step in range(first, last):
                assert pending is not None
                batch = pending.result()
                pending = thread.submit(self, step + 1) if step + 1 < last else None
                yield step, batch
