"""Where the training pictures lie: in nested folders, in tar shards, as single files, in the files of toy sets."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import load_image
from vqcodec.pictures.names import picture_suffixes
from vqcodec.training.data.labels import ClassLabel, parse_class_number
from vqcodec.training.data.toy_sets import ToyPicture, chosen_toy_files, is_toy_file, read_toy_file
from vqcodec.training.data.types import DataError

__all__ = ["Entry", "PictureFile", "find_entries"]

_CLASS_SUFFIX = ".cls"
# more than any number of a class takes, so that a wrong file is not read as a whole
_CLASS_BYTES = 64


@dataclass(frozen=True)
class PictureFile:
    """One encoded picture: a file, or `length` bytes from `offset` of a tar shard, where it is called `name`."""

    path: Path
    offset: int = 0
    length: int = -1
    name: str = ""
    label: ClassLabel = None

    def load(self) -> Pixels:
        """(H, W, 3) uint8. Raises OSError or ImageError."""
        with self.path.open("rb") as file:
            file.seek(self.offset)
            content = file.read(self.length)
        return load_image(content, alpha="drop", look_for_damage=False).rgb

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.name else str(self.path)


#: what a PictureSet holds of each of its pictures
Entry: TypeAlias = PictureFile | ToyPicture


def find_entries(place: Path, *, labels: bool) -> Iterator[Entry]:
    """All pictures of a folder, a tar shard, a picture file or the file of a toy set, always in the same order.

    Their labels are looked for only with `labels`. Raises DataError for what does not exist or cannot be read.
    """
    if place.is_dir():
        yield from _in_folder(place, labels)
    elif not place.is_file():
        raise DataError(f"{place}: no such file or folder")
    elif is_toy_file(place):
        yield from read_toy_file(place, labels=labels)
    elif place.suffix == ".tar":
        yield from _in_shard(place, labels)
    else:
        yield PictureFile(place)


def _in_folder(folder: Path, labels: bool) -> Iterator[Entry]:
    suffixes = picture_suffixes()
    files = [
        child
        for child in sorted(folder.rglob("*"))
        if (child.suffix.lower() in suffixes or child.suffix == ".tar" or is_toy_file(child)) and not child.is_dir()
    ]
    toy_files = chosen_toy_files(files)
    for file in files:
        if is_toy_file(file) and file not in toy_files:
            continue
        inner = file.relative_to(folder).parts[:-1]
        for entry in find_entries(file, labels=labels):
            if labels and inner and isinstance(entry, PictureFile) and entry.label is None:
                yield replace(entry, label=inner[0])
            else:
                yield entry


def _in_shard(path: Path, labels: bool) -> Iterator[Entry]:
    try:
        with tarfile.open(path, "r:") as shard:  # not a compressed one, whose pictures have no place in the file
            members = [info for info in shard if info.isfile()]
            numbers = {
                _key(info): _class_number(shard, info, f"{path}:{info.name}")
                for info in members
                if labels and PurePosixPath(info.name).suffix == _CLASS_SUFFIX
            }
    except tarfile.TarError as error:
        raise DataError(f"{path}: not a readable tar shard ({error})") from error
    suffixes = picture_suffixes()
    for info in members:
        if PurePosixPath(info.name).suffix.lower() in suffixes:
            yield PictureFile(path, info.offset_data, info.size, info.name, numbers.get(_key(info)))


def _key(info: tarfile.TarInfo) -> str:
    """What a picture and its label have in common: the name without its last suffix."""
    return str(PurePosixPath(info.name).with_suffix(""))


def _class_number(shard: tarfile.TarFile, info: tarfile.TarInfo, name: str) -> int:
    file = shard.extractfile(info)
    assert file is not None  # it is a regular file
    return parse_class_number(file.read(_CLASS_BYTES), name)
