"""Lists of picture files: .txt with a path a line, .csv and .jsonl with columns. Paths are relative to the list."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

from vqcodec.dataset.entries import FILE, Columns, Entry, as_kept, key_text
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.files import Files

#: columns that paths are looked for in, unless --image says another one
_PATH_COLUMNS: Final = ("path", "file", "filename", "file_name", "image")


def list_entries(files: Files, place: str, columns: Columns) -> Iterator[Entry]:
    """The pictures that a list names, in its order. Raises DatasetError."""
    is_csv = PurePosixPath(place).suffix.lower() == ".csv"
    with files.open(place) as stream, io.TextIOWrapper(stream, "utf-8-sig", newline="") as text:
        try:
            for line, record in _records(place, text):
                path = record[_path_column(place, record, columns.image)]
                if not isinstance(path, str) or not path or "\0" in path:
                    raise DatasetError(f"{place}:{line}: names no picture")
                if path.startswith(("http://", "https://")):
                    raise DatasetError(
                        f"{place}:{line}: {path} lies on the web; fetch the pictures with img2dataset first, whose "
                        "archives are read"
                    )
                for name in (columns.key, columns.label, *columns.keep):
                    if name and name not in record:
                        raise DatasetError(f"{place}:{line}: has no {name}; it has {', '.join(map(str, record))}")
                key = key_text(record[columns.key], f"{place}:{line}", columns.key) if columns.key else path
                label = record[columns.label] if columns.label else None
                if is_csv and isinstance(label, str) and label.isdecimal():
                    label = int(label)
                yield Entry(key, path, FILE, "", 0, -1, label, tuple(as_kept(record[name]) for name in columns.keep))
        except UnicodeDecodeError as error:
            raise DatasetError(f"{place}: is no text in UTF-8 ({error.reason}); save it so") from error


def _records(place: str, text: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any]]]:
    suffix = PurePosixPath(place).suffix.lower()
    if suffix == ".csv":
        reader = csv.DictReader(text)
        try:
            for record in reader:
                yield reader.line_num, record
        except csv.Error as error:
            raise DatasetError(f"{place}: is no CSV after line {reader.line_num} ({error}); mend it there") from error
        return
    for number, line in enumerate(text, start=1):
        content = line.rstrip("\r\n")
        if not content.strip():
            continue
        if suffix == ".txt":
            yield number, {"path": content}
            continue
        try:
            record = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{place}:{number}: is no JSON ({error})") from error
        if not isinstance(record, dict):
            raise DatasetError(f"{place}:{number}: is no JSON object")
        yield number, record


def _path_column(place: str, record: dict[str, Any], wanted: str | None) -> str:
    for name in (wanted,) if wanted else _PATH_COLUMNS:
        if name in record:
            return name
    raise DatasetError(f"{place}: name the column of paths with --image; it has {', '.join(map(str, record))}")
