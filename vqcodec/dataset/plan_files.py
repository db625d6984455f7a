"""The files of a plan: rows of pictures, a row group a shard, and a JSON file that is written when all are there.

plan/000.json is the first listing; what is appended later has 001.json and so on. None of them ever changes. Files of
rows are named by their content, so that jobs that plan at the same time never write over each other's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from vqcodec.dataset.entries import Entry
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.store import Store

FOLDER: Final = "plan"
#: shards whose rows lie in one file
SHARDS_A_PART: Final = 64
#: what stands before the names of columns that are kept
KEPT: Final = "kept_"
_FIELDS: Final = [
    ("key", pa.string()),
    ("root", pa.int32()),
    ("path", pa.string()),
    ("kind", pa.string()),
    ("member", pa.string()),
    ("offset", pa.int64()),
    ("length", pa.int64()),
    ("label", pa.string()),
]


@dataclass(frozen=True)
class Generation:
    """One listing of sources.

    first_shard: the number of its first one. parts: name and sha256 of each file of rows. labels: "names", "numbers" or
    "" for none. classes: the names of all classes so far, by label.
    """

    number: int
    sources: tuple[str, ...]
    pictures: int
    first_shard: int
    shards: int
    parts: tuple[tuple[str, str], ...]
    labels: str
    classes: tuple[str, ...]

    def write(self, store: Store) -> Generation:
        """Makes the listing count, or gives that of another job which was sooner.

        Raises StorageError where another job that failed took files of rows back which are those of this one, too.
        """
        sooner = [each for each in Generation.read_all(store) if each.number == self.number]
        if sooner:
            return sooner[0]
        if gone := {name for name, _ in self.parts}.difference(store.names(FOLDER)):
            raise StorageError(f"{store.url}/{FOLDER}/{min(gone)}: was deleted meanwhile; run it again")
        store.write(f"{FOLDER}/{self.number:03}.json", (json.dumps(asdict(self), indent=1) + "\n").encode())
        return self

    @staticmethod
    def read_all(store: Store) -> list[Generation]:
        """Those that are there. Raises DatasetError for damaged ones."""
        found = []
        for name in store.names(FOLDER):
            if name.endswith(".json"):
                try:
                    values = json.loads(store.read(f"{FOLDER}/{name}"))
                    lists = {each: tuple(values[each]) for each in ("sources", "classes")}
                    found.append(Generation(**values | lists | {"parts": tuple(map(tuple, values["parts"]))}))
                except (ValueError, KeyError, TypeError) as error:
                    raise DatasetError(f"{store.url}/{FOLDER}/{name}: is damaged ({error}); plan anew") from error
        return found


class RowWriter:
    """Writes rows shard by shard, in parts; keeps one shard in memory.

    kept_types: Arrow types of the columns that are kept, by name; those that are not there are taken from the first
    shard. Raises DatasetError for values of other types.
    """

    def __init__(self, store: Store, number: int, shard_size: int, keep: Sequence[str], kept_types: dict[str, Any]):
        self._store, self._number, self._shard_size, self._keep = store, number, shard_size, keep
        self.kept_types = dict(kept_types)
        self.parts: list[tuple[str, str]] = []
        self.shards = self.pictures = 0
        self._rows: list[tuple[int, Entry]] = []
        self._sink: Any = None
        self._writer: Any = None
        self._empty = set(keep)

    def add(self, root: int, entry: Entry) -> None:
        """One picture of source number `root`."""
        self._rows.append((root, entry))
        self.pictures += 1
        if len(self._rows) == self._shard_size:
            self._end_shard()

    def close(self) -> None:
        """The last shard and the last part. Raises DatasetError for a column that no picture of a first listing has."""
        if self._rows:
            self._end_shard()
        self._end_part()
        if self._empty and not self._number:
            raise DatasetError(f"no picture has a {min(self._empty)}: leave it out of --keep, or check its name")

    def delete(self, kept: Collection[tuple[str, str]] = ()) -> None:
        """Take back what was written, but for these parts."""
        for name, _ in set(self.parts).difference(kept):
            self._store.delete(f"{FOLDER}/{name}")

    def _end_shard(self) -> None:
        rows = self._rows
        columns = [
            [entry.key for _, entry in rows],
            [root for root, _ in rows],
            *([getattr(entry, name) for _, entry in rows] for name, _ in _FIELDS[2:-1]),
            [None if entry.label is None else str(entry.label) for _, entry in rows],
        ]
        try:
            arrays = [pa.array(values, kind) for values, (_, kind) in zip(columns, _FIELDS, strict=True)]
        except UnicodeEncodeError as error:
            raise DatasetError(f"{error.object!r}: a key, path or label that is no text; give another one") from error
        names = [name for name, _ in _FIELDS]
        for place, name in enumerate(self._keep):
            arrays.append(self._kept(name, [entry.kept[place] if entry.kept else None for _, entry in rows]))
            names.append(f"{KEPT}{name}")
        table = pa.table(arrays, names=names)
        if self._writer is None:
            self._sink = pa.BufferOutputStream()
            self._writer = pq.ParquetWriter(self._sink, table.schema, compression="zstd")
        self._writer.write_table(table, row_group_size=len(rows))
        self.shards += 1
        self._rows = []
        if self.shards % SHARDS_A_PART == 0:
            self._end_part()

    def _kept(self, name: str, values: list[Any]) -> Any:
        kind = self.kept_types.get(name)
        if any(value is not None for value in values):
            self._empty.discard(name)
        try:
            if kind is None and _are_lists_as_text(values):
                kind = self.kept_types[name] = pa.string()
            if kind is not None and pa.types.is_string(kind):
                values = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
            made = pa.array(values, kind)
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, OverflowError) as error:
            reason = " ".join(str(error).split())
            raise DatasetError(f"column {name}: not all values are {kind or 'of one type'} ({reason})") from error
        if kind is None:
            made = made.cast(pa.string()) if pa.types.is_null(made.type) else made
            self.kept_types[name] = made.type
        return made

    def _end_part(self) -> None:
        if self._writer is None:
            return
        self._writer.close()
        content = self._sink.getvalue().to_pybytes()
        digest = hashlib.sha256(content).hexdigest()
        name = f"{self._number:03}-{len(self.parts):05}-{digest[:12]}.parquet"
        self._store.write(f"{FOLDER}/{name}", content)
        self.parts.append((name, digest))
        self._writer = self._sink = None


def _are_lists_as_text(values: Sequence[Any]) -> bool:
    """Whether lists from JSON stand beside the text of others (see `as_kept`), or are all empty, of no type."""
    lists = [value for value in values if isinstance(value, list)]
    return bool(lists) and (not any(lists) or any(isinstance(value, str) for value in values))


class RowReader:
    """The rows of shards; keeps the part that was read last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._name, self._file = "", None

    def rows(self, generation: Generation, shard: int) -> Any:
        """The table of a shard of this generation, numbered from 0. Raises DatasetError for a part that is damaged."""
        part, group = divmod(shard, SHARDS_A_PART)
        return self._part(generation, part).read_row_group(group)

    def keys(self, generation: Generation) -> Iterator[list[str]]:
        """All keys, shard by shard."""
        for shard in range(generation.shards):
            part, group = divmod(shard, SHARDS_A_PART)
            yield self._part(generation, part).read_row_group(group, columns=["key"]).column("key").to_pylist()

    def kept_types(self, generation: Generation) -> dict[str, Any]:
        """Of the columns that are kept."""
        schema = self._part(generation, 0).schema_arrow if generation.parts else []
        return {field.name.removeprefix(KEPT): field.type for field in schema if field.name.startswith(KEPT)}

    def _part(self, generation: Generation, number: int) -> Any:
        name, digest = generation.parts[number]
        if name != self._name:
            content = self._store.read(f"{FOLDER}/{name}")
            if hashlib.sha256(content).hexdigest() != digest:
                raise DatasetError(f"{self._store.url}/{FOLDER}/{name}: is not what was planned; get it back")
            self._name, self._file = name, pq.ParquetFile(pa.BufferReader(content))
        return self._file
