"""manifest.parquet: the shards of a dataset that is complete, with their counts and the digest of their tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from vqcodec.dataset.columns import DIGEST, FAILED, PLANNED
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.packages import pa, pq
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import ERRORS, TOKENS, shard_name
from vqcodec.dataset.stored import parquet_file

MANIFEST_FILE: Final = "manifest.parquet"


@dataclass(frozen=True)
class ShardFacts:
    """What the file of a shard says of itself: pictures planned, of these failed, rows, bytes, sha256 of the tokens."""

    shard: int
    pictures: int
    failed: int
    rows: int
    bytes: int
    tokens_sha256: str


def shard_facts(plan: TokenPlan, shard: int) -> ShardFacts:
    """Read from the end of its file. Raises DatasetError for a file that is damaged."""
    name = f"{TOKENS}/{shard_name(shard)}"
    with parquet_file(plan.store, name) as file:
        said = file.metadata.metadata
        facts = int(said[PLANNED]), int(said[FAILED]), file.metadata.num_rows
        return ShardFacts(shard, *facts, plan.store.size(name), said[DIGEST].decode())


def all_facts(plan: TokenPlan) -> Iterator[ShardFacts]:
    """Of the shards that are there, by number."""
    there = set(plan.store.names(TOKENS))
    return (shard_facts(plan, shard) for shard in range(plan.shards) if shard_name(shard) in there)


def is_current(plan: TokenPlan) -> bool:
    """Whether there is a manifest of all shards, and these are there. A damaged one is not: it is written anew."""
    if not plan.store.exists(MANIFEST_FILE) or not _all_there(plan):
        return False
    try:
        with parquet_file(plan.store, MANIFEST_FILE) as file:
            return bool(file.metadata.num_rows == plan.shards)
    except StorageError:
        raise
    except DatasetError:
        return False


def write_manifest(plan: TokenPlan) -> bool:
    """Where all shards are there, unless it says the same already. Gives whether the dataset is complete."""
    if not _all_there(plan):
        return False
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([vars(each) for each in all_facts(plan)]), sink, compression="zstd")
    content = sink.getvalue().to_pybytes()
    if not (plan.store.exists(MANIFEST_FILE) and plan.store.read(MANIFEST_FILE) == content):
        plan.store.write(MANIFEST_FILE, content)
    return True


def says(plan: TokenPlan, facts: Iterable[ShardFacts]) -> bool:
    """Whether the manifest that is there says this of all shards; a damaged one does not."""
    try:
        with parquet_file(plan.store, MANIFEST_FILE) as file:
            return bool(file.read().to_pylist() == [vars(each) for each in facts])
    except StorageError:
        raise
    except DatasetError:
        return False


def _all_there(plan: TokenPlan) -> bool:
    there = set(plan.store.names(TOKENS))
    return all(shard_name(shard) in there for shard in range(plan.shards))


def count_failures(plan: TokenPlan, part: tuple[int, int] = (0, 1)) -> int:
    """Failed pictures of the shards of a part that are there."""
    index, count = part
    chosen = {shard_name(shard) for shard in range(index, plan.shards, count)}
    total = 0
    for name in plan.store.names(ERRORS):
        if name in chosen:
            with parquet_file(plan.store, f"{ERRORS}/{name}") as file:
                total += file.metadata.num_rows
    return total
