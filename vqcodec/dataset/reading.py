"""The bytes of the pictures of a shard, in the order of the plan, as storage has them: read whole, or StorageError."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, Final, NamedTuple

from vqcodec.dataset.entries import ARROW, FILE, PARQUET, TAR
from vqcodec.dataset.files import Files
from vqcodec.dataset.sources import place_of
from vqcodec.dataset.store import is_url
from vqcodec.dataset.tables import table_pictures

#: archives are read in ranges of up to so many bytes, over gaps of up to so many
_RANGE_BYTES: Final = 8 << 20
_GAP_BYTES: Final = 64 << 10
#: requests at a time to storage that is not local, and how many results may wait
_REQUESTS: Final = 8
_AHEAD: Final = 16


class Row(NamedTuple):
    """Where one picture of a plan lies. source: as `canonical` gives it."""

    source: str
    path: str
    kind: str
    offset: int
    length: int


def pictures(files: Files, rows: Sequence[Row], image: str | None) -> Iterator[bytes | None]:
    """The bytes of each, None for a row of a table that has none. Raises StorageError or DatasetError."""

    def together(row: Row) -> tuple[str, str, str]:
        return ("", "", FILE) if row.kind == FILE else (row.source, row.path, row.kind)

    for (source, path, kind), group in groupby(rows, key=together):
        if kind == FILE:
            yield from _of_files(files, list(group))
        else:
            yield from _of_container(files, place_of(source, path), kind, list(group), image)


def _of_files(files: Files, rows: Sequence[Row]) -> Iterator[bytes]:
    def read(row: Row) -> Callable[[], bytes]:
        return lambda: files.read(place_of(row.source, row.path), row.length)

    far = is_url(place_of(rows[0].source, rows[0].path))
    yield from _ahead([read(row) for row in rows]) if far else (read(row)() for row in rows)


def _of_container(files: Files, place: str, kind: str, rows: list[Row], image: str | None) -> Iterator[bytes | None]:
    if kind in (PARQUET, ARROW):
        yield from table_pictures(files, place, kind, image, [row.offset for row in rows])
        return
    assert kind == TAR
    spans = list(_spans(rows))

    def read(span: list[Row]) -> Callable[[], bytes]:
        start, end = span[0].offset, span[-1].offset + span[-1].length
        return lambda: files.read_range(place, start, end - start)

    contents = _ahead([read(span) for span in spans], ahead=2) if is_url(place) else (read(span)() for span in spans)
    for span, content in zip(spans, contents, strict=True):
        start = span[0].offset
        for row in span:
            yield content[row.offset - start : row.offset - start + row.length]


def _spans(rows: list[Row]) -> Iterator[list[Row]]:
    """Neighbours in an archive that are read at once."""
    span: list[Row] = []
    for row in rows:
        end = span[-1].offset + span[-1].length if span else 0
        if span and not (
            0 <= row.offset - end <= _GAP_BYTES and row.offset + row.length - span[0].offset <= _RANGE_BYTES
        ):
            yield span
            span = []
        span.append(row)
    if span:
        yield span


def _ahead(actions: list[Callable[[], bytes]], ahead: int = _AHEAD) -> Iterator[bytes]:
    """The results in order, the next ones being fetched meanwhile."""
    with ThreadPoolExecutor(_REQUESTS) as threads:
        pending: deque[Any] = deque(threads.submit(action) for action in actions[:ahead])
        try:
            for number in range(len(actions)):
                result: bytes = pending.popleft().result()
                if number + ahead < len(actions):
                    pending.append(threads.submit(actions[number + ahead]))
                yield result
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
