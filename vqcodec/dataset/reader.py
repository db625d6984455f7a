"""Tokens of a dataset, to read at random: in memory, or mapped from a cache on disk that is built once.

Shapes: N rows, B batch, h w rows and columns of a level's grid.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.manifest import ShardFacts, all_facts
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import TOKENS, shard_name
from vqcodec.dataset.spec import token_type
from vqcodec.dataset.store import LocalStore
from vqcodec.whole_files import replacing

#: tokens that are kept in memory, at most
_MEMORY_BYTES: Final = 4 << 30
#: label of a row that has none
UNLABELLED: Final = -1


@dataclass(frozen=True)
class TokenArrays:
    """A batch. rows: (B,) their numbers. levels: (B, h, w) int64 each. labels: (B,) int64, -1 where there is none."""

    rows: NDArray[np.int64]
    levels: list[NDArray[np.int64]]
    labels: NDArray[np.int64]


class TokenDataset:
    """The rows of a dataset that is complete, in the order of its plan.

    levels: the first so many; None for all. columns: others that `data[i]` gives, such as "key" or "label".
    memory_bytes: more than that is mapped from files in `cache`, by default OUT/cache, or ~/.cache/vqcodec for object
    storage. Raises DatasetError for a dataset that is not complete, damaged, or has no such levels or columns.

    `data[i]` is a dictionary: "levels", a list of (h, w) arrays, and the columns. `data.batches(seed)` gives batches of
    random rows by number of the step.
    """

    def __init__(
        self,
        out: str | Path,
        *,
        levels: int | None = None,
        columns: Sequence[str] = (),
        memory_bytes: int = _MEMORY_BYTES,
        cache: Path | None = None,
    ) -> None:
        self.plan = TokenPlan.open(out)
        facts = list(all_facts(self.plan))
        if len(facts) < self.plan.shards:
            left = self.plan.shards - len(facts)
            raise DatasetError(f"{out}: {left} of {self.plan.shards} shards are to do; run `vqcodec tokenize` again")
        self.level_count = levels or self.plan.levels
        if not 1 <= self.level_count <= self.plan.levels:
            raise DatasetError(f"{out}: tokens of {self.plan.levels} levels; {levels} are asked for")
        self._length = sum(each.rows for each in facts)
        if not self._length:
            raise DatasetError(f"{out}: not one picture could be read; `vqcodec tokens errors {out}` says why")
        self._columns = {name: self._column(name) for name in columns}
        self._labels = self._label_array()
        self._offsets, self._shapes = self._places()
        names = [f"level_{number}" for number in range(1, self.level_count + 1)]
        self._levels = [self._values(name, facts, memory_bytes, cache) for name in names]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Raises IndexError."""
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        row %= len(self)
        grids = []
        for values, offsets, shapes in zip(self._levels, self._offsets, self._shapes, strict=True):
            shape = tuple(shapes if isinstance(shapes, tuple) else shapes[row])
            start = row * shape[0] * shape[1] if offsets is None else int(offsets[row])
            grids.append(np.array(values[start : start + shape[0] * shape[1]]).reshape(shape))
        return {"levels": grids} | {name: column[row].as_py() for name, column in self._columns.items()}

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, by label; empty without labels."""
        return self.plan.classes

    @property
    def levels(self) -> list[NDArray[Any]]:
        """(N, h, w) of each level. Raises DatasetError for pictures in their native size."""
        self._check_one_size()
        return [values.reshape(-1, *shape) for values, shape in zip(self._levels, self._shapes, strict=True)]

    def column(self, name: str) -> list[Any]:
        """One of the columns that were asked for. Raises KeyError."""
        values: list[Any] = self._columns[name].to_pylist()
        return values

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,), -1 where there is none."""
        return self._labels

    def batches(self, seed: int, batch_size: int = 16, *, share: slice = slice(None)) -> Batches:
        """Batches of random rows. share: of several processes, the part of each batch that is this one's.

        Raises DatasetError for pictures in their native size, which make no arrays.
        """
        self._check_one_size()
        return Batches(self, seed, batch_size, share)

    def take(self, rows: NDArray[np.int64]) -> TokenArrays:
        """Rows (B,) of pictures of one size."""
        return TokenArrays(rows, [level[rows].astype(np.int64) for level in self.levels], self._labels[rows])

    def _check_one_size(self) -> None:
        if self.plan.spec.size is None:
            raise DatasetError(f"{self.plan.store.url}: its pictures have several sizes, which make no arrays")

    def _tables(self, columns: list[str]) -> Iterator[Any]:
        for shard in range(self.plan.shards):
            name = f"{TOKENS}/{shard_name(shard)}"
            with self.plan.store.open(name) as stream:
                try:
                    file = pq.ParquetFile(stream)
                    if missing := [each for each in columns if each not in file.schema_arrow.names]:
                        has = ", ".join(file.schema_arrow.names)
                        raise DatasetError(f"{self.plan.store.url}: has no column {missing[0]}; it has {has}")
                    yield file.read(columns=columns)
                except (pa.ArrowInvalid, OSError) as error:
                    reason = " ".join(str(error).split())
                    raise DatasetError(
                        f"{self.plan.store.url}/{name}: is damaged ({reason}); delete it and run `vqcodec tokenize`"
                    ) from error

    def _column(self, name: str) -> Any:
        return pa.chunked_array([chunk for table in self._tables([name]) for chunk in table.column(name).chunks])

    def _label_array(self) -> NDArray[np.int64]:
        if not self.plan.spec.labels:
            return np.full(len(self), UNLABELLED, np.int64)
        column = self._columns.get("label")
        column = self._column("label") if column is None else column
        made: NDArray[np.int64] = column.cast(pa.int64()).fill_null(UNLABELLED).to_numpy()
        return made

    def _places(self) -> tuple[list[Any], list[Any]]:
        """For each level where the tokens of each row begin, None for rows of one size, and the shape (h, w) of each
        row, or of all."""
        factors = self.plan.model["level_factors"][: self.level_count]
        if (side := self.plan.spec.size) is not None:
            return [None] * len(factors), [(-(-side // factor),) * 2 for factor in factors]
        finest = self.plan.model["level_factors"][-1]
        sizes = [
            np.stack([table.column(name).to_numpy() for name in ("rows", "cols")], axis=1)
            for table in self._tables(["rows", "cols"])
        ]
        shapes = [-(-np.concatenate(sizes).astype(np.int64) * finest // factor) for factor in factors]
        return [np.concatenate([[0], np.cumsum(shape.prod(axis=1))]) for shape in shapes], shapes

    def _values(self, name: str, facts: list[ShardFacts], memory_bytes: int, cache: Path | None) -> NDArray[Any]:
        """All tokens of a level, flat: in memory, or from the cache."""
        number = int(name.removeprefix("level_")) - 1
        kind = token_type(self.plan.model["codebook_sizes"][number])
        shape = self._shapes[number]
        if isinstance(shape, tuple):
            count = len(self) * shape[0] * shape[1]
        else:
            count = int(self._offsets[number][-1])
        if count * kind.itemsize * self.level_count <= memory_bytes:
            values = np.empty(count, kind)
            self._fill(values, name)
            return values
        digest = hashlib.sha256("".join(each.tokens_sha256 for each in facts).encode()).hexdigest()[:16]
        path = (cache or self._cache_folder()) / f"{name}-{digest}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path, durable=True) as temporary:
                mapped = np.lib.format.open_memmap(temporary, "w+", kind, (count,))
                self._fill(mapped, name)
                mapped.flush()
                del mapped
        loaded: NDArray[Any] = np.load(path, mmap_mode="r")
        return loaded

    def _fill(self, values: NDArray[Any], name: str) -> None:
        start = 0
        for table in self._tables([name]):
            for chunk in table.column(name).chunks:
                flat = chunk.flatten().to_numpy()
                values[start : start + len(flat)] = flat
                start += len(flat)
        if start != len(values):
            raise DatasetError(f"{self.plan.store.url}: has {start} tokens in {name}, not {len(values)}; verify it")

    def _cache_folder(self) -> Path:
        if isinstance(self.plan.store, LocalStore):
            return Path(self.plan.store.url) / "cache"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqcodec"


@dataclass(frozen=True)
class Batches:
    """Batch number `step` of random rows, a function of (seed, step) alone."""

    data: TokenDataset
    seed: int
    batch_size: int
    share: slice

    def __call__(self, step: int) -> TokenArrays:
        rows = np.random.default_rng((self.seed, step)).integers(len(self.data), size=self.batch_size)
        return self.data.take(rows[self.share])
