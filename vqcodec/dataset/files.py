"""Files that pictures come from, on local disks and on any file system of fsspec's, in one order everywhere."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.patience import patiently
from vqcodec.dataset.store import file_system, is_url
from vqcodec.pictures.names import ALL_SUFFIXES

#: longest range that is read at once
MOST_RANGE_BYTES: Final = 1 << 31


class Files:
    """All files by path or URL. Every method raises StorageError for storage that fails beyond patience."""

    def __init__(self) -> None:
        self._systems: dict[str, Any] = {}
        #: how many files that look like pictures were passed over, by suffix or by reason
        self.passed_over: Counter[str] = Counter()

    def kind(self, place: str) -> str:
        """ "folder", "file" or "" where there is nothing."""
        if not is_url(place):
            path = Path(place)
            return "folder" if path.is_dir() else "file" if path.is_file() else ""
        files, path_there = self._at(place)

        def asked() -> str:
            try:
                return "folder" if files.info(path_there)["type"] == "directory" else "file"
            except FileNotFoundError:
                return ""

        return patiently(place, asked)

    def walk(self, folder: str) -> Iterator[tuple[str, int]]:
        """(path relative to the folder with /, bytes) of all files below, by name from folder to folder.

        Names that start with a point are left out. Links to folders are followed; what leads nowhere, and what is no
        file, is counted in `passed_over`.
        """
        if is_url(folder):
            yield from self._walk_there(folder, "")
        else:
            yield from _walk_here(folder, "", (os.path.realpath(folder),), self.passed_over)

    def pass_over(self, name: str) -> None:
        """Count a file that is no picture of a kind that is read here, if its name is that of a picture."""
        suffix = PurePosixPath(name).suffix.lower()
        if suffix in ALL_SUFFIXES:
            self.passed_over[suffix] += 1

    def size(self, place: str) -> int:
        """Bytes of a file."""
        if not is_url(place):
            return patiently(place, lambda: os.stat(place).st_size)
        files, path = self._at(place)
        return patiently(place, lambda: int(files.info(path)["size"]))

    def read(self, place: str, size: int = -1) -> bytes:
        """A whole file. size: what it should have, where that is known; a file that has become another one is fine."""

        def whole() -> bytes:
            if is_url(place):
                files, path = self._at(place)
                content = bytes(files.cat_file(path))
            else:
                with open(place, "rb") as file:
                    content = file.read()
            if size >= 0 and len(content) != size and len(content) != (now := self.size(place)):
                raise OSError(f"{len(content)} of {now} bytes came")
            return content

        return patiently(place, whole)

    def read_range(self, place: str, start: int, length: int) -> bytes:
        """Bytes start..start + length - 1 of a file, which must have them."""
        assert length <= MOST_RANGE_BYTES

        def part() -> bytes:
            if is_url(place):
                files, path = self._at(place)
                content = bytes(files.cat_file(path, start=start, end=start + length)) if length else b""
            else:
                with open(place, "rb") as file:
                    file.seek(start)
                    content = file.read(length)
            if len(content) != length:
                raise OSError(f"bytes {start} to {start + length} are asked for, {len(content)} came")
            return content

        return patiently(place, part)

    def open(self, place: str) -> Any:
        """A seekable binary stream."""
        if not is_url(place):
            return patiently(place, lambda: open(place, "rb"))
        files, path = self._at(place)
        return patiently(place, lambda: files.open(path, "rb"))

    def _walk_there(self, url: str, relative: str) -> Iterator[tuple[str, int]]:
        files, path = self._at(f"{url.rstrip('/')}/{relative}")

        def listed() -> list[tuple[str, str, int]]:
            try:
                found = files.ls(path, detail=True)
            except FileNotFoundError:
                return []
            each = [(str(one["name"]).rstrip("/").rsplit("/", 1)[-1], one["type"], one["size"] or 0) for one in found]
            return sorted(one for one, entry in zip(each, found, strict=True) if str(entry["name"]).rstrip("/") != path)

        for name, kind, size in patiently(f"{url}/{relative}", listed):
            if name.startswith("."):
                continue
            inner = f"{relative}/{name}" if relative else name
            if kind == "directory":
                yield from self._walk_there(url, inner)
            else:
                yield inner, size

    def _at(self, url: str) -> tuple[Any, str]:
        scheme, _, rest = url.partition("://")
        if scheme not in self._systems:
            self._systems[scheme] = file_system(url)[0]
        files = self._systems[scheme]
        return files, str(files._strip_protocol(url)).rstrip("/") or rest


def _walk_here(
    root: str, relative: str, above: tuple[str, ...], passed_over: Counter[str]
) -> Iterator[tuple[str, int]]:
    folder = os.path.join(root, relative)
    try:
        with os.scandir(folder) as listing:
            found = sorted((one for one in listing if not one.name.startswith(".")), key=lambda one: one.name)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be listed ({error.strerror}); check its rights") from error
    for one in found:
        inner = f"{relative}/{one.name}" if relative else one.name
        try:
            one.name.encode()
            facts = one.stat()
        except UnicodeEncodeError:
            passed_over["with names that are not UTF-8"] += 1
            continue
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise StorageError(f"{os.path.join(root, inner)}: {error.strerror}; check the storage") from error
            passed_over["links to nothing"] += 1
            continue
        if stat.S_ISREG(facts.st_mode):
            yield inner, facts.st_size
        elif not stat.S_ISDIR(facts.st_mode):
            passed_over["that are no files"] += 1
        else:
            real = (
                os.path.realpath(os.path.join(root, inner)) if one.is_symlink() else os.path.join(above[-1], one.name)
            )
            if real in above:
                raise DatasetError(f"{os.path.join(root, inner)}: a link to a folder that it lies in; take it away")
            yield from _walk_here(root, inner, (*above, real), passed_over)
