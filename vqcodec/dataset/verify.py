"""Whether a dataset is what its plan says: counts, digests, ranges, and tokens made again of some pictures."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vqcodec.dataset.columns import tokens_digest
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.files import Files
from vqcodec.dataset.manifest import MANIFEST_FILE, all_facts, says, shard_facts
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.reading import pictures
from vqcodec.dataset.shard import ERRORS, TOKENS, decoded, make_tokenizer, shard_name
from vqcodec.dataset.stored import stored_table


@dataclass
class Verdict:
    """What was looked at, and what is wrong, one line each."""

    shards: int = 0
    pictures: int = 0
    rows: int = 0
    failed: int = 0
    compared: int = 0
    wrong: list[str] = field(default_factory=list)


def verify(plan: TokenPlan, sample: int = 0, seed: int = 0, device: str = "auto") -> Verdict:
    """Look through all shards that are there. sample: rows whose pictures are read and tokenized again.

    Raises StorageError for storage that fails, and DatasetError where this machine cannot compute as the plan says.
    """
    verdict = Verdict()
    there = set(plan.store.names(TOKENS))
    for name in sorted(there - {shard_name(shard) for shard in range(plan.shards)}):
        verdict.wrong.append(f"{TOKENS}/{name}: is no shard of the plan")
    present = [shard for shard in range(plan.shards) if shard_name(shard) in there]
    for shard in present:
        verdict.wrong += [f"{TOKENS}/{shard_name(shard)}: {what}" for what in _wrong_in(plan, shard, verdict)]
    is_whole = len(present) == plan.shards and not verdict.wrong
    if is_whole and plan.store.exists(MANIFEST_FILE) and not says(plan, all_facts(plan)):
        verdict.wrong.append(f"{MANIFEST_FILE}: is not of the shards there; delete it and run `vqcodec tokenize` again")
    if sample and present and not verdict.wrong:
        verdict.wrong += _compared(plan, present, sample, seed, device, verdict)
    return verdict


def _wrong_in(plan: TokenPlan, shard: int, verdict: Verdict) -> Iterator[str]:
    planned = plan.shard_rows(shard)
    try:
        table, facts = stored_table(plan.store, f"{TOKENS}/{shard_name(shard)}"), shard_facts(plan, shard)
        failed = _failed_keys(plan, shard)
    except StorageError:
        raise
    except DatasetError as error:
        yield str(error).removeprefix(f"{plan.store.url}/{TOKENS}/{shard_name(shard)}: ")
        return
    verdict.shards += 1
    verdict.pictures += len(planned.keys)
    verdict.rows += len(table)
    verdict.failed += len(failed)
    if (facts.pictures, facts.failed) != (len(planned.keys), len(failed)):
        said = f"says {facts.pictures} planned and {facts.failed} failed"
        yield f"{said}; there are {len(planned.keys)} and {len(failed)}"
    crops = plan.spec.crops_per_picture
    expected = [key for key in planned.keys if key not in failed for _ in range(crops)]
    if table.column("key").to_pylist() != expected:
        yield f"{len(table)} rows are not those that are planned, {len(expected)}, in their order"
    if tokens_digest(table, plan.levels) != facts.tokens_sha256:
        yield "its tokens are not those that were written"
    for number, size in enumerate(plan.model["codebook_sizes"], start=1):
        values = np.concatenate([chunk.flatten().to_numpy() for chunk in table.column(f"level_{number}").chunks])
        if values.size and int(values.max()) >= size:
            yield f"level {number} has token {values.max()}, the codebook {size} codes"


def _failed_keys(plan: TokenPlan, shard: int) -> set[str]:
    name = f"{ERRORS}/{shard_name(shard)}"
    if not plan.store.exists(name):
        return set()
    return set(stored_table(plan.store, name, ["key"]).column("key").to_pylist())


def _compared(
    plan: TokenPlan, present: list[int], sample: int, seed: int, device: str, verdict: Verdict
) -> Iterator[str]:
    """Make the tokens of random rows again."""
    sizes = np.array([plan.pictures_of(shard) for shard in present])
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(int(sizes.sum()), size=min(sample, int(sizes.sum())), replace=False))
    ends = np.cumsum(sizes)
    by_shard: dict[int, list[int]] = defaultdict(list)
    for number in chosen.tolist():
        place = int(np.searchsorted(ends, number, side="right"))
        by_shard[present[place]].append(number - int(ends[place] - sizes[place]))
    tokenizer, files = make_tokenizer(plan, device), Files()
    for shard, inner in by_shard.items():
        planned = plan.shard_rows(shard)
        table = stored_table(plan.store, f"{TOKENS}/{shard_name(shard)}")
        failed, keys = _failed_keys(plan, shard), table.column("key").to_pylist()
        first: dict[str, int] = {}
        for row, key in enumerate(keys):
            first.setdefault(key, row)
        wanted = [number for number in inner if planned.keys[number] not in failed]
        contents = pictures(files, [planned.rows[number] for number in wanted], plan.spec.image)
        for number, content in zip(wanted, contents, strict=True):
            key = planned.keys[number]
            row = first[key]
            verdict.compared += 1
            if content is None or hashlib.sha256(content).digest() != table.column("sha256")[row].as_py():
                yield f"{planned.names[number]}: is another picture than was tokenized"
                continue
            grids = tokenizer.tokens([crop.pixels for crop in decoded(content, key, plan.spec)[1]])
            if any(not _same(table, row + place, each) for place, each in enumerate(grids)):
                yield f"{planned.names[number]}: gives other tokens than are stored"


def _same(table: Any, row: int, grids: Any) -> bool:
    return all(
        np.array_equal(table.column(f"level_{number}")[row].values.to_numpy(), np.asarray(grid).reshape(-1))
        for number, grid in enumerate(grids, start=1)
    )


def check_complete(plan: TokenPlan) -> None:
    """Raises DatasetError for a dataset of which shards are to do."""
    left = plan.shards - len(plan.store.names(TOKENS))
    if left > 0:
        raise DatasetError(f"{plan.store.url}: {left} of {plan.shards} shards are to do; run `vqcodec tokenize` again")
