"""What is in a dataset: counts, bytes, failures, and how its tokens are spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from vqcodec.dataset.manifest import all_facts, is_current
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import ERRORS, TOKENS
from vqcodec.dataset.stored import parquet_file, stored_table


def about(plan: TokenPlan) -> dict[str, Any]:
    """The facts, by name. Raises DatasetError or StorageError."""
    facts = list(all_facts(plan))
    rows = sum(each.rows for each in facts)
    size = sum(each.bytes for each in facts)
    return {
        "sources": [list(generation.sources) for generation in plan.generations],
        "model": plan.model["name"],
        "model_id": plan.model["model_id"],
        "levels": plan.levels,
        "codebook_sizes": plan.model["codebook_sizes"],
        "size": plan.spec.size or "native",
        "crops": plan.spec.crops,
        "arithmetic": plan.profile["arithmetic"],
        "pictures": plan.pictures,
        "done": sum(each.pictures for each in facts),
        "failed": sum(each.failed for each in facts),
        "rows": rows,
        "shards": plan.shards,
        "shards_done": len(facts),
        "complete": is_current(plan),
        "bytes": size,
        "bytes_a_row": round(size / rows, 1) if rows else None,
        "classes": len(plan.classes),
    }


def failures(plan: TokenPlan) -> Iterator[dict[str, str]]:
    """key, source, kind and message of each picture that failed."""
    for name in plan.store.names(ERRORS):
        yield from stored_table(plan.store, f"{ERRORS}/{name}").to_pylist()


def level_statistics(plan: TokenPlan) -> list[dict[str, Any]]:
    """Of each level: tokens, codes in use, entropy in bits a token, and bytes on disk in bits a token."""
    counts = [np.zeros(size, np.int64) for size in plan.model["codebook_sizes"]]
    stored = np.zeros(len(counts), np.int64)
    for name in plan.store.names(TOKENS):
        with parquet_file(plan.store, f"{TOKENS}/{name}") as file:
            for group in range(file.metadata.num_row_groups):
                columns = file.metadata.row_group(group)
                for number in range(columns.num_columns):
                    path = columns.column(number).path_in_schema.split(".")[0]
                    if path.startswith("level_"):
                        stored[int(path.removeprefix("level_")) - 1] += columns.column(number).total_compressed_size
            for level, count in enumerate(counts, start=1):
                for chunk in file.read(columns=[f"level_{level}"]).column(0).chunks:
                    count += np.bincount(chunk.flatten().to_numpy(), minlength=len(count))
    made = []
    for level, (count, size) in enumerate(zip(counts, stored.tolist(), strict=True), start=1):
        total = int(count.sum())
        shares = count[count > 0] / max(1, total)
        made.append(
            {
                "level": level,
                "tokens": total,
                "codes": len(count),
                "codes_used": int(np.count_nonzero(count)),
                "entropy_bits": round(float(-(shares * np.log2(shares)).sum()), 3) if total else 0.0,
                "stored_bits": round(8 * size / total, 3) if total else 0.0,
            }
        )
    return made
