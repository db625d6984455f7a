"""Files of `torch.save`, both layouts, read without torch's unpickler.

Since torch 1.6 a file is a zip archive with a pickle, data.pkl, and one member a storage; before, it was five pickles
and the storages after them. `vqcodec.checkpoints.pickled_data` reads the pickles; storages are found, checked against
the size of the file, and not read.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.pickled_data import Name, check_keys, read_pickle
from vqcodec.checkpoints.stored_tensors import ITEM_BYTES, Storage, checked_view

_ZIP_START: Final = b"PK\x03\x04"
_OLD_MAGIC: Final = 0x1950A86A20F9469CFC6C
_OLD_PROTOCOL: Final = 1001
_TYPES: Final = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
#: the length of the names in a zip archive's local header, and of what comes after them
_LOCAL_HEADER: Final = struct.Struct("<26xHH")


@dataclass(frozen=True)
class _Stated:
    """What the pickle says of a storage."""

    key: str
    dtype: str
    count: int


@dataclass(frozen=True, eq=False)  # a key by what it is, as torch's tensors are, not by what a pickle says of it
class _StatedTensor:
    """What the pickle says of a tensor; where the storage lies is known later."""

    storage: _Stated
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch_file(path: Path) -> Any:
    """The content of a file of `torch.save`: dicts, lists and so on, with a `ViewedTensor` for each tensor.

    Raises ForeignCheckpointError for files that are damaged, of another kind, or ask for anything to be run.
    """
    try:
        with path.open("rb") as file:
            return _read_zip(file, path) if file.read(4) == _ZIP_START else _read_old(file, path)
    except OSError as error:
        raise ForeignCheckpointError(f"{path}: cannot be read ({error.strerror})") from error


def _read_zip(file: IO[bytes], path: Path) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            members = {member.filename: member for member in archive.infolist()}
            pickles = [name for name in members if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(pickles) != 1:
                raise ForeignCheckpointError(f"{path}: a zip archive, but not of torch.save: {len(pickles)} data.pkl")
            folder = pickles[0].removesuffix("data.pkl")
            if any(members[name].compress_type != zipfile.ZIP_STORED for name in members if name.startswith(folder)):
                raise ForeignCheckpointError(
                    f"{path}: refused: its tensors are compressed, which torch.save never does"
                )
            if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
                raise ForeignCheckpointError(f"{path}: written on a big-endian machine, which is not supported")
            content = read_pickle(archive.read(pickles[0]), _reduce, _stated_storage, str(path))
    except ForeignCheckpointError:
        raise
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error) as error:
        raise ForeignCheckpointError(f"{path}: damaged ({error}); get it again") from error

    def find(stated: _Stated) -> Storage:
        member = members.get(f"{folder}data/{stated.key}")
        if member is None or member.file_size < stated.count * ITEM_BYTES[stated.dtype]:
            raise ForeignCheckpointError(f"{path}: damaged: storage {stated.key} is missing or too short; get it again")
        file.seek(member.header_offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) != _LOCAL_HEADER.size:
            raise ForeignCheckpointError(f"{path}: cut off; get it again")
        start = member.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
        return Storage(path, start, stated.count, stated.dtype)

    return _with_storages(content, find, path)


def _read_old(file: IO[bytes], path: Path) -> Any:
    file.seek(0)
    if file.read(1) != b"\x80":
        raise ForeignCheckpointError(f"{path}: neither safetensors nor a file of torch.save")
    file.seek(0)
    heads = [read_pickle(file, _reduce, _no_storage, str(path)) for _ in range(3)]
    if heads[:2] != [_OLD_MAGIC, _OLD_PROTOCOL] or not isinstance(heads[2], dict):
        raise ForeignCheckpointError(f"{path}: a pickle, but not of torch.save")
    if heads[2].get("little_endian") is not True:
        raise ForeignCheckpointError(f"{path}: written on a big-endian machine, which is not supported")
    stated: dict[str, _Stated] = {}

    def noted(persistent_id: Any) -> _Stated:
        storage = _stated_storage(persistent_id)
        return stated.setdefault(storage.key, storage)

    content = read_pickle(file, _reduce, noted, str(path))
    keys = read_pickle(file, _reduce, _no_storage, str(path))
    if not isinstance(keys, list):
        raise ForeignCheckpointError(f"{path}: damaged: no list of storages")
    size, places = path.stat().st_size, {}
    for key in keys:
        count_bytes = file.read(8)
        if not isinstance(key, str) or key not in stated or len(count_bytes) != 8:
            raise ForeignCheckpointError(f"{path}: cut off; get it again")
        start, count = file.tell(), int.from_bytes(count_bytes, "little", signed=True)
        end = start + count * ITEM_BYTES[stated[key].dtype]
        if not count >= 0 or stated[key].count > count or end > size:
            raise ForeignCheckpointError(f"{path}: damaged: storage {key} is too short; get it again")
        places[key] = Storage(path, start, stated[key].count, stated[key].dtype)
        file.seek(end)

    def find(wanted: _Stated) -> Storage:
        if wanted.key not in places:
            raise ForeignCheckpointError(f"{path}: damaged: storage {wanted.key} is missing; get it again")
        return places[wanted.key]

    return _with_storages(content, find, path)


def _reduce(name: Name, arguments: tuple[Any, ...]) -> Any:
    """What calls of torch's own functions give. Without arguments: whether the name is known."""
    known = _CALLS.get(str(name))
    if known is None:
        is_storage = name.module in ("torch", "torch.storage") and name.attribute in _TYPES
        return None if is_storage and not arguments else NotImplemented
    return known(*arguments) if arguments or known is _dict else None


def _dict(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    entries = [(key, value) for key, value in (pairs.items() if isinstance(pairs, dict) else pairs)]
    check_keys(key for key, _ in entries)
    return dict(entries)


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _StatedTensor:
    if not isinstance(storage, _Stated):
        raise ValueError("a tensor without a storage")
    return _StatedTensor(storage, offset, tuple(shape), tuple(strides))


def _rebuild_typed(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> _StatedTensor:
    """As torch 2 writes tensors of newer types: the storage has bytes, the type stands beside it."""
    dtype = next((part.attribute for part in rest if isinstance(part, Name) and part.attribute in ITEM_BYTES), None)
    if dtype is None or not isinstance(storage, _Stated):
        raise ValueError("a tensor of a type that is not supported")
    return _rebuild(replace(storage, dtype=dtype, count=storage.count // ITEM_BYTES[dtype]), offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _of_type(function: Any, _: Any, arguments: Any, *rest: Any) -> Any:
    """A tensor of a subclass: the tensor."""
    if not isinstance(function, Name):
        raise ValueError("a call of what is no name")
    made = _reduce(function, tuple(arguments))
    if not isinstance(made, _StatedTensor):
        raise ValueError("a tensor that is made in a way which is not supported")
    return made


def _size(*parts: Any) -> tuple[Any, ...]:
    return tuple(parts[0])


_CALLS: Final[dict[str, Callable[..., Any]]] = {
    "collections.OrderedDict": _dict,
    "torch.Size": _size,
    "torch._utils._rebuild_tensor_v2": _rebuild,
    "torch._utils._rebuild_tensor": _rebuild,
    "torch._utils._rebuild_tensor_v3": _rebuild_typed,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _of_type,
}


def _stated_storage(stated: Any) -> _Stated:
    kind, storage_type, key, _, count, *_view = stated
    dtype = _TYPES.get(storage_type.attribute) if isinstance(storage_type, Name) else None
    if kind != "storage" or dtype is None or type(count) is not int or count < 0:
        raise ValueError("a storage of a type that is not supported")
    return _Stated(str(key), dtype, count)


def _no_storage(_: Any) -> Any:
    raise ValueError("a storage where none can be")


def _with_storages(content: Any, find: Callable[[_Stated], Storage], path: Path) -> Any:
    """The same dicts, with tensors in the place of what was said of them. Raises ForeignCheckpointError."""
    known: dict[_Stated, Storage] = {}
    dicts: dict[int, dict[Any, Any]] = {}

    def replaced(value: Any, depth: int) -> Any:
        if isinstance(value, _StatedTensor):
            if value.storage not in known:
                known[value.storage] = find(value.storage)
            return checked_view(known[value.storage], value.offset, value.shape, value.strides)
        if isinstance(value, dict) and depth < _DEEPEST:
            if id(value) not in dicts:  # one that holds itself is looked at once
                dicts[id(value)] = made = {}
                made.update({key: replaced(item, depth + 1) for key, item in value.items()})
            return dicts[id(value)]
        return value

    return replaced(content, 0)


#: dicts in dicts that are looked through: a checkpoint has its state dict at the top, or one below
_DEEPEST: Final = 4
