"""A checkpoint file to its tensors by name, whatever its format."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.stored_tensors import ITEM_BYTES, Storage, TensorsByName, ViewedTensor, checked_view
from vqcodec.checkpoints.torch_files import read_torch_file

#: where trainers put the state dict, and where averaged weights lie in a dict of their own
_PLACES: Final = ("state_dict", "model", "module", "model_state_dict")
_AVERAGED: Final = ("ema", "state_dict_ema", "model_ema", "ema_state_dict")
_SAFETENSORS_TYPES: Final = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_LARGEST_HEADER: Final = 100_000_000
SUFFIXES: Final = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")


@dataclass(frozen=True)
class CheckpointTensors:
    """tensors: by name. averaged: the same, averaged over training, where they lie in a dict of their own."""

    tensors: TensorsByName
    averaged: TensorsByName | None


def read_checkpoint(path: Path) -> CheckpointTensors:
    """The tensors of a file: safetensors, or what torch.save wrote; none of their values are read.

    A file is what its first bytes say. Raises ForeignCheckpointError for files that are neither, damaged, or ask for
    anything to be run; and for another format under a name that ends in .safetensors.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise ForeignCheckpointError(f"{path}: cannot be read ({error.strerror})") from error
    if head[8:] == b"{" and head[:4] != b"PK\x03\x04":
        return CheckpointTensors(_read_safetensors(path), None)
    if path.suffix == ".safetensors":
        raise ForeignCheckpointError(f"{path}: no safetensors file, whatever its name says; get it again")
    content = read_torch_file(path)
    plain = next((found for place in _PLACES if (found := _tensors(content, place))), None) or _only_tensors(content)
    averaged = next((found for place in _AVERAGED if (found := _tensors(content, place))), None)
    if not plain and not averaged:
        raise ForeignCheckpointError(f"{path}: it holds no tensors by name")
    return CheckpointTensors(plain or averaged or {}, averaged)


def _tensors(content: Any, place: str) -> TensorsByName:
    return _only_tensors(content.get(place)) if isinstance(content, dict) else {}


def _only_tensors(values: Any) -> dict[str, ViewedTensor]:
    if not isinstance(values, dict):
        return {}
    return {str(name): value for name, value in values.items() if isinstance(value, ViewedTensor)}


def _read_safetensors(path: Path) -> dict[str, ViewedTensor]:
    """The format is a length (8 bytes), a JSON header of that length, and the values."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            if length > min(_LARGEST_HEADER, size - 8):
                raise ForeignCheckpointError(f"{path}: cut off; get it again")
            header = json.loads(file.read(length))
        return {
            name: _safetensor(path, entry, 8 + length, size) for name, entry in header.items() if name != "__metadata__"
        }
    except ForeignCheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ForeignCheckpointError(f"{path}: damaged: no header of a safetensors file; get it again") from error


def _safetensor(path: Path, entry: Any, data_start: int, size: int) -> ViewedTensor:
    dtype, shape = _SAFETENSORS_TYPES[entry["dtype"]], tuple(entry["shape"])
    begin, end = entry["data_offsets"]
    strides = tuple(_strides(shape))
    count, left = divmod(end - begin, ITEM_BYTES[dtype])
    if left or not 0 <= begin <= end <= size - data_start:
        raise ForeignCheckpointError(f"{path}: cut off or damaged; get it again")
    return checked_view(Storage(path, data_start + begin, count, dtype), 0, shape, strides)


def _strides(shape: tuple[int, ...]) -> list[int]:
    strides, step = [], 1
    for side in reversed(shape):
        strides.append(step)
        step *= side
    return strides[::-1]
