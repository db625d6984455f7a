"""Tensors that lie in a file: shape and type are known, the values are read when they are asked for."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from vqcodec.checkpoints.errors import ForeignCheckpointError

if TYPE_CHECKING:
    from torch import Tensor

#: bytes of an element, by the name that torch gives the type
ITEM_BYTES: Final = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "uint8": 1,
    "bool": 1,
}


class StoredTensor(Protocol):
    """A tensor in a file."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""

    def read(self) -> Tensor:
        """A copy of it, float32 or int64, on the CPU."""


TensorsByName: TypeAlias = Mapping[str, StoredTensor]


@dataclass(frozen=True)
class Storage:
    """A run of `count` elements of type `dtype` (as torch calls it) in a file, from byte `start`."""

    path: Path
    start: int
    count: int
    dtype: str


@dataclass(frozen=True)
class ViewedTensor:
    """A view of a storage. strides, offset: in elements. Make one with `checked_view`."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> Tensor:
        """A copy of it, float32 or int64, on the CPU; no more of the file is read. Raises ForeignCheckpointError."""
        import torch

        dtype, item = getattr(torch, self.storage.dtype), ITEM_BYTES[self.storage.dtype]
        wanted = torch.float32 if dtype.is_floating_point else torch.int64
        if not math.prod(self.shape):
            return torch.empty(self.shape, dtype=wanted)
        begin = self.storage.start + self.offset * item
        length = (1 + _reach(self.shape, self.strides)) * item
        try:
            with self.storage.path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                raw = bytearray(mapped[begin : begin + length])
        except (OSError, ValueError) as error:
            raise ForeignCheckpointError(f"{self.storage.path}: cannot be read ({error})") from error
        if len(raw) != length:
            raise ForeignCheckpointError(f"{self.storage.path}: cut off; get it again")
        flat = torch.frombuffer(raw, dtype=dtype)
        return flat.as_strided(self.shape, self.strides).to(wanted, copy=True).contiguous()


@dataclass(frozen=True)
class Zeros:
    """In the place of a tensor whose values do not count."""

    shape: tuple[int, ...]

    def read(self) -> Tensor:
        """float32, on the CPU."""
        import torch

        return torch.zeros(self.shape)


@dataclass(frozen=True)
class Part:
    """Part `number` of `count` equal ones along the first dimension of a tensor."""

    whole: StoredTensor
    number: int
    count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.whole.shape[0] // self.count, *self.whole.shape[1:]

    def read(self) -> Tensor:
        """A copy of it, as `StoredTensor.read` gives it."""
        return self.whole.read().chunk(self.count)[self.number]


def checked_view(storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> ViewedTensor:
    """A view that lies in its storage. Raises ForeignCheckpointError for one that does not, or repeats elements."""
    numbers = (offset, *shape, *strides)
    if len(shape) != len(strides) or not all(type(number) is int and number >= 0 for number in numbers):
        raise ForeignCheckpointError(f"{storage.path}: damaged: a tensor of shape {shape}, strides {strides}")
    elements = math.prod(shape)
    if elements and (offset + _reach(shape, strides) >= storage.count or elements > storage.count):
        raise ForeignCheckpointError(
            f"{storage.path}: damaged: a tensor of shape {shape} lies outside its {storage.count} stored values"
        )
    return ViewedTensor(storage, offset, shape, strides)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from the first to the last one of a view that has any."""
    return sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
