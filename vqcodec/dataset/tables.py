"""Tables of pictures: Parquet files and the Arrow files of datasets on disk.

A picture is a column of bytes, or the struct {bytes, path} that the hub's image feature is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from vqcodec.dataset.entries import ARROW, PARQUET, Columns, Entry
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.files import Files
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.patience import patiently

#: rows that are read at once, without and with pictures
_ROWS: Final = 1024
_BATCH: Final = 32


def table_entries(files: Files, place: str, path: str, kind: str, columns: Columns) -> Iterator[Entry]:
    """The rows of a table in its order. path: how the plan names it. Raises DatasetError."""
    with _opened(files, place, kind) as table:
        image_column(table.schema, columns.image, place)
        wanted = list(dict.fromkeys(name for name in (columns.key, columns.label, *columns.keep) if name))
        for name in wanted:
            if name not in table.schema.names:
                raise DatasetError(f"{place}: has no column {name}; it has {', '.join(table.schema.names)}")
        row = 0
        for count, batch in table.batches(wanted, 0, table.rows, _ROWS):
            lists = {name: batch.column(name).to_pylist() for name in wanted} if batch is not None else {}
            for inner in range(count):
                key = lists[columns.key][inner] if columns.key else f"{path}#{row}"
                if key is None:
                    raise DatasetError(f"{place}: row {row} has no {columns.key}; take another --key")
                label = lists[columns.label][inner] if columns.label else None
                kept = tuple(lists[name][inner] for name in columns.keep)
                yield Entry(str(key), path, kind, "", row, -1, label, kept)
                row += 1


def table_pictures(
    files: Files, place: str, kind: str, image: str | None, rows: Sequence[int]
) -> Iterator[bytes | None]:
    """The bytes of the pictures in rows that ascend, None for those that have none. Raises StorageError, DatasetError.

    Where storage fails on the way the table is opened again at the row that is next.
    """
    values = _pictures(files, place, kind, image, rows)
    for done in range(len(rows)):

        def read(done: int = done) -> bytes | None:
            nonlocal values
            try:
                return next(values)
            except Exception:
                values = _pictures(files, place, kind, image, rows[done:])
                raise

        yield patiently(place, read)


def _pictures(files: Files, place: str, kind: str, image: str | None, rows: Sequence[int]) -> Iterator[bytes | None]:
    with _opened(files, place, kind) as table:
        name = image_column(table.schema, image, place)
        wanted = iter(rows)
        row, here, end = next(wanted, None), rows[0], rows[-1] + 1
        if end > table.rows:
            raise DatasetError(f"{place}: has {table.rows} rows, planned were {end}; plan anew into another folder")
        for count, batch in table.batches([name], here, end, _BATCH):
            while row is not None and row < here + count:
                value = batch.column(0)[row - here].as_py()
                yield value.get("bytes") if isinstance(value, dict) else value
                row = next(wanted, None)
            here += count


def image_column(schema: Any, wanted: str | None, place: str) -> str:
    """The column of pictures: the one that is wanted, else the only one that can be. Raises DatasetError."""

    def fits(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(kind.field(number).name == "bytes" for number in range(kind.num_fields))
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    fitting = [field.name for field in schema if fits(field.type)]
    if wanted is not None:
        if wanted in fitting:
            return wanted
        if wanted in schema.names:
            raise DatasetError(
                f"{place}: column {wanted} holds {schema.field(wanted).type}, not the bytes of pictures; of addresses "
                "on the web img2dataset makes archives, which are read"
            )
        raise DatasetError(f"{place}: has no column {wanted}; it has {', '.join(schema.names)}")
    if len(fitting) == 1:
        return str(fitting[0])
    if not fitting:
        raise DatasetError(
            f"{place}: no column holds the bytes of pictures (it has {', '.join(schema.names)}); of addresses on the "
            "web img2dataset makes archives, which are read"
        )
    raise DatasetError(f"{place}: several columns may hold pictures; choose with --image: {', '.join(fitting)}")


class _Parquet:
    def __init__(self, stream: Any) -> None:
        self._file = pq.ParquetFile(stream)
        self.schema, self.rows = self._file.schema_arrow, self._file.metadata.num_rows

    def batches(self, columns: list[str], first: int, end: int, size: int) -> Iterator[tuple[int, Any]]:
        """(rows, batch) of rows first..end-1; without columns the batch is None."""
        if not columns:
            yield end - first, None
            return
        start = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if start < end and start + count > first:
                here = start
                for batch in self._file.iter_batches(batch_size=size, row_groups=[group], columns=columns):
                    part = batch.slice(max(0, first - here), max(0, min(end, here + len(batch)) - max(first, here)))
                    here += len(batch)
                    if len(part):
                        yield len(part), part
                    if here >= end:
                        return
            start += count


class _Arrow:
    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._reopen()
        self.schema = self._reader.schema
        self.rows = sum(len(batch) for batch in self._all())

    def batches(self, columns: list[str], first: int, end: int, size: int) -> Iterator[tuple[int, Any]]:
        here = 0
        for batch in self._all():
            start, stop = max(first, here), min(end, here + len(batch))
            if start < stop:
                part = batch.slice(start - here, stop - start)
                yield len(part), part.select(columns) if columns else None
            here += len(batch)
            if here >= end:
                return

    def _all(self) -> Iterator[Any]:
        self._reopen()
        if hasattr(self._reader, "num_record_batches"):
            yield from (self._reader.get_batch(number) for number in range(self._reader.num_record_batches))
        else:
            yield from self._reader

    def _reopen(self) -> None:
        self._stream.seek(0)
        try:
            self._reader = pa.ipc.open_stream(self._stream)
        except pa.ArrowInvalid:
            self._stream.seek(0)
            self._reader = pa.ipc.open_file(self._stream)


@contextmanager
def _opened(files: Files, place: str, kind: str) -> Iterator[Any]:
    """A table; what is no table is a DatasetError that names it."""
    make = {PARQUET: _Parquet, ARROW: _Arrow}[kind]
    with files.open(place) as stream:
        try:
            table = make(stream)
        except pa.ArrowInvalid as error:
            raise DatasetError(
                f"{place}: not a readable {kind} file ({_flat(error)}); get a whole copy of it"
            ) from error
        try:
            yield table
        except pa.ArrowInvalid as error:
            raise DatasetError(f"{place}: is damaged ({_flat(error)}); get a whole copy of it") from error


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
