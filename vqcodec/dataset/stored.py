"""Files of a dataset of tokens, read; one line for what is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.store import Store

#: what pyarrow raises for files that are cut off or hold other bytes: OSError is for its thrift
_DAMAGED: Final = (pa.ArrowException, OSError, KeyError, TypeError)


@contextmanager
def parquet_file(store: Store, name: str) -> Iterator[Any]:
    """A `pyarrow.parquet.ParquetFile` of the store, to be read in the block. Raises DatasetError for a damaged one."""
    with store.open(name) as stream:
        try:
            yield pq.ParquetFile(stream)
        except _DAMAGED as error:
            raise _damaged(store, name, error) from error


def stored_table(store: Store, name: str, columns: Sequence[str] | None = None) -> Any:
    """The `pyarrow.Table` of a file, or these of its columns. Raises DatasetError for a damaged one, StorageError."""
    content = store.read(name)
    try:
        return pq.read_table(pa.BufferReader(content), columns=columns)
    except _DAMAGED as error:
        raise _damaged(store, name, error) from error


def _damaged(store: Store, name: str, error: Exception) -> DatasetError:
    shard = name.rsplit("/", 1)[-1]
    return DatasetError(
        f"{store.url}/{name}: is damaged ({' '.join(str(error).split())}); delete {shard} in tokens/ and errors/, and "
        "run `vqcodec tokenize` again"
    )
