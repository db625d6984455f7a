"""Sources: all their pictures in one order, whatever order a file system lists in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from vqcodec.dataset.archives import archive_entries
from vqcodec.dataset.entries import CONTAINERS, FILE, LISTS, TAR, Columns, Entry, is_picture
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.files import Files
from vqcodec.dataset.lists import list_entries
from vqcodec.dataset.spec import TokenSpec
from vqcodec.dataset.store import is_url
from vqcodec.dataset.tables import table_entries

#: what the cache of `datasets` writes beside the data
_CACHE_START: Final = "cache-"


def canonical(source: str | Path) -> str:
    """A source as plans have it: a URL, or an absolute path. Raises DatasetError for the web."""
    text = str(source)
    if text.startswith(("http://", "https://")):
        raise DatasetError(f"{text}: the web is no source; fetch the pictures with img2dataset first")
    return text.rstrip("/") if is_url(text) else os.path.abspath(text)


def entries(source: str, spec: TokenSpec, files: Files) -> Iterator[Entry]:
    """The pictures of a source as `canonical` gives it: a folder, an archive, a table, a list or a picture.

    Raises DatasetError for what cannot be read, StorageError.
    """
    try:
        yield from _entries(source, spec, files)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise StorageError(f"{source}: cannot be listed ({reason}); run the same command again") from error


def _entries(source: str, spec: TokenSpec, files: Files) -> Iterator[Entry]:
    kind, name = files.kind(source), PurePosixPath(source).name
    if not kind:
        raise DatasetError(f"{source}: no such file or folder")
    if kind == "folder":
        for path, size in files.walk(source):
            yield from _of_file(files, f"{source}/{path}", path, size, spec)
    elif PurePosixPath(name).suffix.lower() in LISTS:
        yield from list_entries(files, source, Columns.of(spec))
    else:
        yield from _of_file(files, source, name, files.size(source), spec)


def place_of(source: str, path: str) -> str:
    """Where the file of an entry lies, of this source."""
    if is_url(path) or os.path.isabs(path):
        return path
    if PurePosixPath(source).suffix.lower() in LISTS:
        return f"{source.rsplit('/', 1)[0]}/{path}"
    return source if PurePosixPath(source).name == path and not os.path.isdir(source) else f"{source}/{path}"


def _of_file(files: Files, place: str, path: str, size: int, spec: TokenSpec) -> Iterator[Entry]:
    suffix, columns = PurePosixPath(path).suffix.lower(), Columns.of(spec)
    folder = path.split("/", 1)[0] if spec.labels == "folder" and "/" in path else None
    if is_picture(path):
        for name in (columns.key, columns.label, *columns.keep):
            if name:
                raise DatasetError(f"{place}: a picture has no column {name}; give a list, an archive or a table")
        yield Entry(path, path, FILE, "", 0, size, folder, ())
    elif suffix in CONTAINERS and not (suffix == ".arrow" and PurePosixPath(path).name.startswith(_CACHE_START)):
        kind = CONTAINERS[suffix]
        if kind == TAR:
            found = archive_entries(files, place, path, columns, by_path=spec.key == "path")
        else:
            found = table_entries(files, place, path, kind, columns)
        yield from (entry._replace(label=folder) for entry in found) if folder else found
    else:
        files.pass_over(path)
