"""MNIST, Fashion-MNIST and CIFAR-10, read from the files that their authors publish and recognised by their names.

- MNIST, Fashion-MNIST and others in the IDX format: `*-images-idx3-ubyte`, and `*-labels-idx1-ubyte` beside it (or
  with a point: `*-images.idx3-ubyte`), as they are or with `.gz`.
- CIFAR-10: the binary version (`data_batch_N.bin`, `cifar-10-binary.tar.gz`) and the python version (`data_batch_N`,
  `cifar-10-python.tar.gz`).

Of a folder or archive that holds training and test parts (`train-*` and `t10k-*`, `data_batch_*` and `test_batch*`)
the training part is taken. To get a test part, name its file itself.
"""

from __future__ import annotations

import gzip
import io
import math
import re
import struct
import tarfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vqcodec.pictures.arrays import Pixels
from vqcodec.training.data.labels import ClassLabel
from vqcodec.training.data.toy_pickles import read_cifar_pickle
from vqcodec.training.data.types import DataError

__all__ = [
    "CIFAR10_CLASSES",
    "MAX_TOY_BYTES",
    "ToyPicture",
    "ToySet",
    "chosen_toy_files",
    "is_toy_file",
    "read_toy_file",
]

#: in the order of their numbers, which is that of the alphabet
CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

#: of the pixels in one file, uncompressed; MNIST has 47 MB, CIFAR-10 31 MB in each of five files
MAX_TOY_BYTES = 2**32

_IDX_IMAGES = re.compile(r".*-images[-.]idx3-ubyte(\.gz)?")
_IDX_LABELS = re.compile(r".*-labels[-.]idx1-ubyte(\.gz)?")
_CIFAR_TRAIN = re.compile(r"data_batch_[0-9]+(\.bin)?")
_CIFAR_TEST = re.compile(r"test_batch(\.bin)?")
_CIFAR_ARCHIVE = re.compile(r"cifar-10-(binary|python)\.tar\.gz")

#: of one picture in the binary version: its label, then red, green and blue
_RECORD_BYTES = 1 + 3 * 32 * 32
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE_BYTES = 2**20


@dataclass(frozen=True, eq=False)
class ToySet:
    """Pictures of one file: (N, H, W) grey or (N, H, W, 3) RGB, uint8; `labels` (N,) uint8 numbers, None: not read.

    `class_names` are those of the numbers; without them the numbers are the names.
    """

    pixels: NDArray[np.uint8]
    labels: NDArray[np.uint8] | None
    class_names: tuple[str, ...] = ()

    def pictures(self) -> Iterator[ToyPicture]:
        return (ToyPicture(self, index) for index in range(len(self.pixels)))


@dataclass(frozen=True, slots=True)
class ToyPicture:
    """Picture number `index` of a toy set."""

    toy_set: ToySet
    index: int

    @property
    def label(self) -> ClassLabel:
        if self.toy_set.labels is None:
            return None
        number = int(self.toy_set.labels[self.index])
        return self.toy_set.class_names[number] if self.toy_set.class_names else number

    def load(self) -> Pixels:
        """(H, W, 3) uint8; grey is the same value three times."""
        pixels = self.toy_set.pixels[self.index]
        return np.repeat(pixels[:, :, None], 3, axis=2) if pixels.ndim == 2 else np.ascontiguousarray(pixels)


# ---- which files ----


def is_toy_file(path: Path) -> bool:
    """Whether `path` has the name of a file that `read_toy_file` reads, or of one with labels that belong to it."""
    patterns = (_IDX_IMAGES, _IDX_LABELS, _CIFAR_TRAIN, _CIFAR_TEST, _CIFAR_ARCHIVE)
    return any(pattern.fullmatch(path.name) for pattern in patterns)


def chosen_toy_files(files: Iterable[Path]) -> set[Path]:
    """Those of a folder's files that hold pictures of a toy set, each picture once, without test parts.

    A test part is taken where no training part lies beside it. A compressed file or archive is left out where its
    content lies beside it.
    """
    toy_files = {file for file in files if is_toy_file(file) and not _IDX_LABELS.fullmatch(file.name)}
    return {file for file in toy_files if not _is_spare(file, toy_files)}


def _is_spare(file: Path, toy_files: Collection[Path]) -> bool:
    if _CIFAR_ARCHIVE.fullmatch(file.name):
        unpacked = file.with_name("cifar-10-batches-bin" if "binary" in file.name else "cifar-10-batches-py")
        return any(other.parent == unpacked for other in toy_files)
    if _CIFAR_TEST.fullmatch(file.name):
        return any(_CIFAR_TRAIN.fullmatch(other.name) for other in toy_files if other.parent == file.parent)
    plain = file.name.removesuffix(".gz")
    train = re.sub("(t10k|test)(?=-images)", "train", plain)
    better = {plain} - {file.name}
    if train != plain:
        better |= {train, f"{train}.gz"}
    return any(file.with_name(name) in toy_files for name in better)


def read_toy_file(path: Path, *, labels: bool) -> Iterator[ToyPicture]:
    """The pictures of a file that `is_toy_file` recognises; of an archive its training part.

    Labels of IDX files, which lie in a second file, are read only with `labels`.

    Raises:
        DataError: damaged, cut off, not what its name says, without its labels or too large. One line names the file.
    """
    if _IDX_LABELS.fullmatch(path.name):
        raise DataError(f"{path}: holds the labels alone; give the file of the images, which lies beside it")
    if _IDX_IMAGES.fullmatch(path.name):
        yield from _read_idx_set(path, labels).pictures()
    elif _CIFAR_ARCHIVE.fullmatch(path.name):
        for batch in _read_cifar_archive(path):
            yield from batch.pictures()
    else:
        with path.open("rb") as file:
            yield from _cifar_batch(file.read(), str(path)).pictures()


# ---- IDX ----


def _read_idx_set(path: Path, labels: bool) -> ToySet:
    pixels = _read_idx(path, dimensions=3)
    if not labels:
        return ToySet(pixels, None)
    labels_path = _labels_beside(path)
    numbers = _read_idx(labels_path, dimensions=1)
    if len(numbers) != len(pixels):
        raise DataError(
            f"{labels_path}: {len(numbers)} labels for the {len(pixels)} pictures of {path.name}; download both again"
        )
    return ToySet(pixels, numbers)


def _labels_beside(path: Path) -> Path:
    name = re.sub(r"-images([-.])idx3-ubyte(?:\.gz)?$", r"-labels\1idx1-ubyte", path.name)
    for candidate in (path.with_name(name), path.with_name(f"{name}.gz")):
        if candidate.is_file():
            return candidate
    raise DataError(f"{path}: its labels are missing; put {name} or {name}.gz beside it")


def _read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """An array of bytes with that many dimensions. Nothing of the size that the header claims is allocated before."""
    with path.open("rb") as raw, _damage(path):
        is_compressed = raw.read(2) == _GZIP_MAGIC  # not by name: some browsers unpack and leave the .gz
        raw.seek(0)
        file = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if is_compressed else raw
        header = file.read(4 + 4 * dimensions)
        if len(header) < 4 + 4 * dimensions or header[:4] != bytes([0, 0, 8, dimensions]):
            raise DataError(f"{path}: not an IDX file of bytes in {dimensions} dimensions; download it again")
        shape = struct.unpack(f">{dimensions}I", header[4:])
        size = math.prod(shape)
        if not 0 < size <= MAX_TOY_BYTES:
            raise DataError(f"{path}: its header claims {size} bytes of shape {shape}; download it again")
        content = _read_at_most(file, size + 1)
    if len(content) != size:
        found = "more" if len(content) > size else f"{len(content)}"
        raise DataError(f"{path}: its header claims {size} bytes, there are {found}; download it again")
    return np.frombuffer(content, np.uint8).reshape(shape)


# ---- CIFAR-10 ----


def _cifar_batch(content: bytes, name: str) -> ToySet:
    """The content of one batch called `name`, of the binary version if it ends in `.bin`."""
    if name.endswith(".bin"):
        if not content or len(content) % _RECORD_BYTES:
            raise DataError(f"{name}: {len(content)} bytes are not records of {_RECORD_BYTES}; download it again")
        records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD_BYTES)
        planes, labels = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].copy()
    else:
        planes, labels = read_cifar_pickle(content, name)
    if len(labels) != len(planes) or labels.max() >= len(CIFAR10_CLASSES):
        raise DataError(f"{name}: its labels are not one of 0 to 9 for each picture; download it again")
    return ToySet(planes.transpose(0, 2, 3, 1), labels, CIFAR10_CLASSES)


def _read_cifar_archive(path: Path) -> list[ToySet]:
    """The training batches, in the order of their names: that in the archive is another."""
    contents: dict[str, bytes] = {}
    room = MAX_TOY_BYTES
    with path.open("rb") as raw, _damage(path), tarfile.open(fileobj=raw, mode="r:gz") as archive:
        for info in archive:
            name = Path(info.name).name
            if not info.isfile() or not _CIFAR_TRAIN.fullmatch(name):
                continue
            room -= info.size
            if room < 0:
                raise DataError(f"{path}: claims to hold more than {MAX_TOY_BYTES} bytes; download it again")
            member = archive.extractfile(info)
            assert member is not None  # it is a regular file
            contents[name] = bytes(_read_at_most(member, info.size))
    if not contents:
        raise DataError(f"{path}: no data_batch files inside; download it again")
    return [_cifar_batch(contents.pop(name), f"{path}:{name}") for name in sorted(contents)]


# ---- reading ----


def _read_at_most(file: IO[bytes] | io.BufferedIOBase, size: int) -> bytearray:
    """Up to `size` bytes, in pieces: reading them at once would allocate all of a size that may be a lie."""
    content = bytearray()
    while len(content) < size and (piece := file.read(min(_PIECE_BYTES, size - len(content)))):
        content += piece
    return content


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    """What the readers of compressed files raise for a damaged one becomes a DataError."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, tarfile.TarError) as error:
        raise DataError(f"{path}: damaged or cut off ({error}); download it again") from error
