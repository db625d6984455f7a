"""Tar archives, WebDataset's too: KEY.jpg with KEY.cls, KEY.txt and KEY.json beside it."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from vqcodec.dataset.entries import TAR, Columns, Entry, is_picture
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.files import Files

#: more than what stands beside a picture takes
_MOST_SIDE_BYTES: Final = 1 << 20


def archive_entries(files: Files, place: str, path: str, columns: Columns, by_path: bool) -> Iterator[Entry]:
    """The pictures of an archive in its order. path: how the plan names it. by_path: its name goes before the keys.

    Raises DatasetError for archives that are damaged, cut off or compressed.
    """
    wanted = {*columns.keep, columns.label} - {None}
    end = files.size(place)
    try:
        with files.open(place) as stream, tarfile.open(fileobj=stream, mode="r:") as archive:
            group: list[tuple[str, int, int]] = []
            beside: dict[str, bytes] = {}
            key = ""
            while (info := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if not info.isfile():
                    continue
                if info.offset_data + info.size > end:
                    raise DatasetError(f"{place}: the archive is cut off in {info.name}; get a whole copy of it")
                own = str(PurePosixPath(info.name).with_suffix(""))
                if own != key:
                    yield from _flushed(path, key, group, beside, columns, by_path)
                    key, group, beside = own, [], {}
                if is_picture(info.name):
                    group.append((info.name, info.offset_data, info.size))
                    continue
                files.pass_over(info.name)
                if wanted and info.size <= _MOST_SIDE_BYTES:
                    suffix = PurePosixPath(info.name).suffix.removeprefix(".").lower()
                    if suffix in wanted or suffix in ("json", "txt"):
                        member = archive.extractfile(info)
                        assert member is not None  # it is a regular file
                        beside[suffix] = member.read()
            yield from _flushed(path, key, group, beside, columns, by_path)
    except tarfile.TarError as error:
        raise DatasetError(f"{place}: not a readable tar archive ({error}); give an uncompressed, whole one") from error


def _flushed(
    path: str, key: str, group: list[tuple[str, int, int]], beside: dict[str, bytes], columns: Columns, by_path: bool
) -> Iterator[Entry]:
    if not group:
        return
    facts: dict[str, Any] = {}
    if "json" in beside:
        try:
            loaded = json.loads(beside["json"])
        except ValueError as error:
            raise DatasetError(f"{path}#{key}.json: is no JSON ({error}); leave it out of the archive") from error
        facts = loaded if isinstance(loaded, dict) else {}

    def value(column: str | None) -> Any:
        if column is None:
            return None
        if column in beside:
            text = beside[column].decode("utf-8", "replace").strip()
            return int(text) if column == "cls" and text.isdecimal() else text
        if column in facts:
            return facts[column]
        if column == "caption" and "txt" in beside:
            return beside["txt"].decode("utf-8", "replace").strip()
        return None

    label, kept = value(columns.label), tuple(value(column) for column in columns.keep)
    for name, offset, size in group:
        named = str(value(columns.key)) if columns.key else key
        yield Entry(f"{path}/{named}" if by_path else named, path, TAR, name, offset, size, label, kept)
