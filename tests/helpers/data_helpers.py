"""Pictures of one gray value, tar shards, and the files of toy sets, for the tests of the training data."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import settings
from PIL import Image

from vqcodec.training.data.types import Pictures

#: for properties that read files or draw pictures; without a deadline, which a busy machine does not keep
few_examples = settings(max_examples=30, deadline=None)


def flat(value: int, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    return np.full((*size, 3), value, np.uint8)


def save(path: Path, value: int, size: tuple[int, int] = (40, 50)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(flat(value, size)).save(path)


def png(value: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(flat(value)).save(buffer, "PNG")
    return buffer.getvalue()


def shard(path: Path, members: dict[str, bytes], mode: str = "w") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def values(pictures: Pictures) -> list[int]:
    return [int(pictures[index][0, 0, 0]) for index in range(len(pictures))]


def labels(pictures: Pictures) -> list[int | None]:
    return [pictures.label(index) for index in range(len(pictures))]


# ---- toy sets ----


def idx(array: np.ndarray) -> bytes:
    """An IDX file of bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def save_idx(folder: Path, name: str, array: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(gzip.compress(idx(array), 1) if name.endswith(".gz") else idx(array))
    return path


def digits(count: int, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (count, 28, 28) with all pixels at `first`, `first` + 1, ..., and labels that count down from 9."""
    numbers = np.arange(first, first + count, dtype=np.uint8)
    return np.broadcast_to(numbers[:, None, None], (count, 28, 28)), 9 - numbers % 10


def small_photos(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What a batch of CIFAR-10 holds: (count, 32, 32, 3) uint8 and labels (count,) uint8."""
    rng = np.random.default_rng(seed)
    return rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8), rng.integers(10, size=count, dtype=np.uint8)


def cifar_records(pixels: np.ndarray, numbers: np.ndarray) -> bytes:
    """The binary version of a batch."""
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    return np.concatenate([numbers[:, None], planes], axis=1).tobytes()


class _PicklerOfPython2(pickle._Pickler):
    """Writes bytes as the strings of Python 2, as the authors of CIFAR-10 did."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_string(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = save_string


def python2_pickle(value: Any) -> bytes:
    """`value` as Python 2 and numpy 1 wrote it, with bytes for all of its strings."""
    buffer = io.BytesIO()
    _PicklerOfPython2(buffer, protocol=2).dump(value)
    return buffer.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def cifar_content(pixels: np.ndarray, numbers: np.ndarray) -> dict[bytes, Any]:
    """The content of a batch of the python version."""
    planes = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    return {
        b"batch_label": b"training batch 1 of 5",
        b"labels": numbers.tolist(),
        b"data": np.ascontiguousarray(planes),
        b"filenames": [b"a_s_%06d.png" % number for number in range(len(pixels))],
    }


def save_digits(folder: Path, suffix: str = "", part: str = "train", first: int = 0, count: int = 3) -> Path:
    """A small MNIST in the IDX format: the path of its images."""
    pixels, numbers = digits(count, first)
    save_idx(folder, f"{part}-labels-idx1-ubyte{suffix}", numbers)
    return save_idx(folder, f"{part}-images-idx3-ubyte{suffix}", pixels)


def save_batches(folder: Path, is_binary: bool) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Two training batches and a test batch, of 4 pictures each: what is in them, by name."""
    folder.mkdir(parents=True, exist_ok=True)
    batches = {name: small_photos(4, seed) for seed, name in enumerate(("data_batch_1", "data_batch_2", "test_batch"))}
    for name, (pixels, numbers) in batches.items():
        if is_binary:
            (folder / f"{name}.bin").write_bytes(cifar_records(pixels, numbers))
        else:
            (folder / name).write_bytes(python2_pickle(cifar_content(pixels, numbers)))
    return batches


def pack(folder: Path, is_binary: bool) -> Path:
    """The archive of a folder of batches, in an order of its own, as that of the authors."""
    inner = "cifar-10-batches-bin" if is_binary else "cifar-10-batches-py"
    members = {f"{inner}/{file.name}": file.read_bytes() for file in sorted(folder.iterdir(), reverse=True)}
    path = folder.parent / f"cifar-10-{'binary' if is_binary else 'python'}.tar.gz"
    shard(path, members | {f"{inner}/readme.html": b"read me"}, "w:gz")
    return path
