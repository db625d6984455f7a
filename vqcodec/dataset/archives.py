"""Tar archives, WebDataset's too: KEY.jpg with KEY.cls, KEY.txt and KEY.json beside it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, BinaryIO, Final

from vqcodec.dataset.entries import TAR, Columns, Entry, as_kept, is_picture, key_text
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.files import MOST_RANGE_BYTES, Files

#: more than what stands beside a picture takes
_MOST_SIDE_BYTES: Final = 1 << 20


def archive_entries(files: Files, place: str, path: str, columns: Columns, by_path: bool) -> Iterator[Entry]:
    """The pictures of an archive in its order. path: how the plan names it. by_path: its name goes before the keys.

    Links, and members that are too large for a picture, are counted in `files.passed_over`. Raises DatasetError for
    archives that are damaged, cut off or compressed, and for pictures without a key.
    """
    groups = _Groups(path, columns, by_path)
    end = files.size(place)
    try:
        with files.open(place) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if (info.islnk() or info.issym()) and is_picture(info.name):
                    files.passed_over["links in archives"] += 1
                if not info.isfile():
                    continue
                if info.offset_data + info.size > end:
                    raise DatasetError(f"{place}: the archive is cut off in {info.name}; get a whole copy of it")
                yield from groups.enter(str(PurePosixPath(info.name).with_suffix("")))
                if not is_picture(info.name):
                    files.pass_over(info.name)
                    if groups.wants(info.name) and info.size <= _MOST_SIDE_BYTES:
                        member = archive.extractfile(info)
                        assert member is not None  # it is a regular file
                        groups.add_beside(info.name, member.read())
                elif info.size > MOST_RANGE_BYTES:
                    files.passed_over["of more than 2 GiB"] += 1
                else:
                    groups.add(info.name, info.offset_data, info.size)
            yield from groups.end()
            _check_end(stream, archive.offset, place)
    except tarfile.TarError as error:
        raise DatasetError(f"{place}: not a readable tar archive ({error}); give an uncompressed, whole one") from error


def _check_end(stream: BinaryIO, offset: int, place: str) -> None:
    """Raises DatasetError unless an archive ends here, with zeros alone: tarfile takes damage for the end, too."""
    stream.seek(offset)
    block = stream.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE and not any(block):
        raise DatasetError(f"{place}: the archive is cut off at byte {offset}; get a whole copy of it")
    while block:
        if any(block):
            raise DatasetError(
                f"{place}: the archive is damaged after byte {offset}, or another one was appended to it; get a whole "
                "copy, or give them one by one"
            )
        block = stream.read(_MOST_SIDE_BYTES)


class _Groups:
    """Pictures with one name, and what stands beside them."""

    def __init__(self, path: str, columns: Columns, by_path: bool) -> None:
        self._path, self._columns, self._by_path = path, columns, by_path
        self._wanted = {*columns.keep, columns.label, columns.key} - {None}
        self._key = ""
        self._pictures: list[tuple[str, int, int]] = []
        self._beside: dict[str, bytes] = {}

    def enter(self, key: str) -> Iterator[Entry]:
        """Gives the pictures of the group before where the next file is of another one."""
        if key != self._key:
            yield from self._flushed()
            self._key, self._pictures, self._beside = key, [], {}

    def add(self, name: str, offset: int, size: int) -> None:
        """A picture."""
        self._pictures.append((name, offset, size))

    def wants(self, name: str) -> bool:
        """Whether a file that is no picture may hold a column."""
        return bool(self._wanted) and _suffix(name) in (*self._wanted, "json", "txt")

    def add_beside(self, name: str, content: bytes) -> None:
        """Such a file."""
        self._beside[_suffix(name)] = content

    def end(self) -> Iterator[Entry]:
        """The last group."""
        yield from self._flushed()

    def _flushed(self) -> Iterator[Entry]:
        if not self._pictures:
            return
        facts = self._facts()
        label = self._value(self._columns.label, facts)
        kept = tuple(self._value(column, facts) for column in self._columns.keep)
        key = self._key
        if self._columns.key:
            key = key_text(self._value(self._columns.key, facts), f"{self._path}#{self._key}", self._columns.key)
        for name, offset, size in self._pictures:
            yield Entry(
                f"{self._path}/{key}" if self._by_path else key, self._path, TAR, name, offset, size, label, kept
            )

    def _facts(self) -> dict[str, Any]:
        if "json" not in self._beside:
            return {}
        try:
            loaded = json.loads(self._beside["json"])
        except ValueError as error:
            raise DatasetError(
                f"{self._path}#{self._key}.json: is no JSON ({error}); leave it out of the archive"
            ) from error
        return loaded if isinstance(loaded, dict) else {}

    def _value(self, column: str | None, facts: dict[str, Any]) -> Any:
        if column is None:
            return None
        text = self._beside.get(column)
        if text is None and column == "caption" and column not in facts:
            text = self._beside.get("txt")
        if text is None and column not in facts:
            return None
        if text is None:
            return as_kept(facts[column])
        value = text.decode("utf-8", "replace").strip()
        return int(value) if column == "cls" and value.isdecimal() else value


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.removeprefix(".").lower()
