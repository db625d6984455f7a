"""The shards of a plan on a Ray cluster. Each is committed by the actor that makes it: what Ray repeats or loses
changes nothing, and no picture passes through Ray's object store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.local import ShardsLeft, shards_to_do
from vqcodec.dataset.manifest import MANIFEST_FILE, is_current, shard_facts, write_manifest
from vqcodec.dataset.packages import needed
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.shard import TOKENS, ShardResult, make_tokenizer, shard_name, tokenize_shard

#: blocks that Ray divides the numbers of the shards into, at most
_MOST_BLOCKS: Final = 20_000
#: a block is as large as Ray plans room for; ours are some hundred bytes. With Ray's own 128 MiB, nodes with a small
#: object store would wait for room for ever
_BLOCK_BYTES: Final = 1 << 20


class TokenizeShard:
    """An actor: numbers of shards to what became of each. again: make shards that are there, too."""

    def __init__(self, out: str, device: str, again: bool) -> None:
        self._plan = TokenPlan.open(out)
        self._tokenizer = make_tokenizer(self._plan, device)
        self._again = again

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[Any]]:
        made = [self._made(int(shard)) for shard in batch["shard"]]
        return {"told": list(map(json.dumps, made))}

    def _made(self, shard: int) -> dict[str, Any]:
        """The fields of a ShardResult, or `shard` and what is `wrong`."""
        if not self._again and self._plan.store.exists(f"{TOKENS}/{shard_name(shard)}"):
            facts = shard_facts(self._plan, shard)  # made before an actor or a node was lost
            failed = {"in a run before": facts.failed} if facts.failed else {}
            return vars(ShardResult(shard, facts.pictures, facts.rows, failed, {}, facts.bytes))
        try:
            return vars(tokenize_shard(self._plan, shard, self._tokenizer))
        except (DatasetError, OSError, MemoryError) as error:
            return {"shard": shard, "wrong": str(error) or type(error).__name__}


def tokenize_on_ray(
    plan: TokenPlan,
    address: str | None = None,
    *,
    num_gpus: float = 0,
    pool: tuple[int, int] = (1, 64),
    retry_failed: bool = False,
) -> Iterator[ShardResult]:
    """Make what is to do, and yield results as they come; at the end the manifest.

    address: of a cluster; "auto" for the one that this machine belongs to, "local" or None for a new one here.
    num_gpus: of each actor. pool: the least and the most actors; one processor is always left to Ray, which would else
    wait for ever. The dataset must lie where all nodes see it. Raises ShardsLeft at the end for shards that could not
    be made, DatasetError for a cluster without room for one actor, PackagesError.
    """
    ray = needed("ray", "ray")
    data = needed("ray.data", "ray")
    plan.store.sweep()
    shards = shards_to_do(plan, retry_failed=retry_failed)
    if not shards:
        if not is_current(plan):
            write_manifest(plan)
        return
    if not ray.is_initialized():
        ray.init(address=None if address in (None, "local") else address, log_to_driver=False)
    processors, most = _room(ray, num_gpus, pool[1])
    plan.store.delete(MANIFEST_FILE)  # it will not be true of what comes
    context = data.DataContext.get_current()
    before = {name: getattr(context, name) for name in ("enable_progress_bars", "target_max_block_size")}
    context.enable_progress_bars, context.target_max_block_size = False, _BLOCK_BYTES
    failures: list[tuple[int, str]] = []
    try:
        blocks = min(len(shards), _MOST_BLOCKS)
        numbers = data.from_items([{"shard": shard} for shard in shards], override_num_blocks=blocks)
        results = numbers.map_batches(
            TokenizeShard,
            fn_constructor_args=(plan.store.url, "cuda" if num_gpus else "cpu", retry_failed),
            batch_size=1,
            num_cpus=processors,
            num_gpus=num_gpus or None,
            concurrency=(min(pool[0], most), most),
        )
        for row in results.iter_rows():
            told = json.loads(row["told"])
            if "wrong" in told:
                failures.append((told["shard"], told["wrong"]))
            else:
                yield ShardResult(**told)
    finally:
        for name, value in before.items():
            setattr(context, name, value)
    if failures:
        left = len(shards_to_do(plan, retry_failed=retry_failed))
        raise ShardsLeft(f"{left} of {len(shards)} shards stay to do; shard {failures[0][0]}: {failures[0][1]}")
    write_manifest(plan)


def _room(ray: Any, num_gpus: float, most: int) -> tuple[float, int]:
    """Processors of an actor, and how many actors there may be, so that one processor is left. Raises DatasetError."""
    there = ray.cluster_resources()
    processors = float(there.get("CPU", 0))
    if num_gpus:
        most = min(most, int(there.get("GPU", 0) / num_gpus))
        if not most:
            raise DatasetError(
                f"the cluster has {there.get('GPU', 0)} GPUs, an actor needs {num_gpus}; use --device cpu"
            )
    if processors < 1:
        raise DatasetError("the cluster has no processors; start Ray with --num-cpus")
    if processors < 2:
        return 0.5, 1
    return 1.0, max(1, min(most, int(processors) - 1))
