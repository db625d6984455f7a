"""One picture of a source as the plan has it, and what kinds of files pictures come in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import PurePosixPath
from typing import Any, Final, NamedTuple

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.spec import TokenSpec
from vqcodec.pictures.names import picture_suffixes

TAR, PARQUET, ARROW, FILE = "tar", "parquet", "arrow", "file"
CONTAINERS: Final = {".tar": TAR, ".parquet": PARQUET, ".arrow": ARROW}
LISTS: Final = frozenset({".txt", ".csv", ".jsonl"})


class Entry(NamedTuple):
    """path: of the file, relative to the source, or whole. member: the name in an archive.

    offset: the first byte in an archive, or the row in a table. length: bytes; -1 where they are not known.
    label: a class's name or number. kept: the values of the columns that go with the tokens.
    """

    key: str
    path: str
    kind: str
    member: str = ""
    offset: int = 0
    length: int = -1
    label: Any = None
    kept: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Columns:
    """Which columns of a table, list or archive are wanted, by the spec."""

    image: str | None
    key: str | None
    label: str | None
    keep: tuple[str, ...]

    @staticmethod
    def of(spec: TokenSpec) -> Columns:
        label = None if spec.labels == "folder" else spec.labels
        return Columns(spec.image, None if spec.key == "path" else spec.key, label, spec.keep)


def key_text(value: Any, where: str, column: str) -> str:
    """A key from a column. where: the picture, for the message. Raises DatasetError where there is none."""
    if value is None:
        raise DatasetError(f"{where}: has no {column}; choose another --key")
    return str(value)


def as_kept(value: Any) -> Any:
    """A value from JSON, for a column: objects as their text, as no two need to have the same fields."""
    is_object = isinstance(value, dict) or (isinstance(value, list) and any(isinstance(e, dict | list) for e in value))
    return json.dumps(value, ensure_ascii=False) if is_object else value


#: asked for once: a source may have millions of files
_suffixes = cache(picture_suffixes)


def is_picture(path: str) -> bool:
    """Whether a file's name is that of a picture that is read here."""
    return PurePosixPath(path).suffix.lower() in _suffixes()
