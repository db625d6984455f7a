"""All shards of a plan on one machine: processes with one thread each, and what they tell meanwhile."""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from multiprocessing.connection import Connection, wait
from typing import Any, Final

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.manifest import MANIFEST_FILE, is_current, write_manifest
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.progress import Progress
from vqcodec.dataset.shard import ERRORS, TOKENS, ShardResult, make_tokenizer, shard_name, tokenize_shard
from vqcodec.native.library import use_threads

#: seconds between two reports of a worker, and between two looks whether its parent lives
_TELL_SECONDS: Final = 0.5
#: so many shards that fail one after another end the run: the storage is gone
_MOST_IN_A_ROW: Final = 3
#: variables of threads that libraries start in a process
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VQCODEC_THREADS")

#: told the progress, a few times a second
Report = Callable[[Progress], None]


class ShardsLeft(DatasetError):
    """Some shards could not be made; they stay to do."""


def shards_to_do(plan: TokenPlan, part: tuple[int, int] = (0, 1), *, retry_failed: bool = False) -> list[int]:
    """Those of part I of N (numbers n with n % N = I) that have no file of tokens yet; with `retry_failed` also those
    with failures. Raises DatasetError for a part that cannot be."""
    index, count = part
    if not 0 <= index < count:
        raise DatasetError(f"part {index}/{count}: parts are numbered 0 to N - 1")
    done = set(plan.store.names(TOKENS))
    if retry_failed:
        done -= set(plan.store.names(ERRORS))
    return [shard for shard in range(index, plan.shards, count) if shard_name(shard) not in done]


def tokenize(
    plan: TokenPlan,
    *,
    workers: int | None = None,
    device: str = "auto",
    part: tuple[int, int] = (0, 1),
    retry_failed: bool = False,
    progress: Report | None = None,
) -> Iterator[ShardResult]:
    """Make what is to do, and yield the result of each shard as it is committed; at the end the manifest.

    workers: processes; by default one a processor. With one, the shards are made in this process. Raises ShardsLeft at
    the end, or after three failures in a row, with the first reason.
    """
    plan.store.sweep()
    shards = shards_to_do(plan, part, retry_failed=retry_failed)
    if shards:
        plan.store.delete(MANIFEST_FILE)  # it will not be true of what comes, nor one that another job writes meanwhile
    state = Progress(sum(map(plan.pictures_of, shards)))
    count = min(workers or _processors(), len(shards))
    failures: list[tuple[int, str]] = []
    in_a_row = 0
    with closing((_alone if count <= 1 else _in_processes)(plan, shards, count, device, state, progress)) as made:
        for shard, result in made:
            if isinstance(result, ShardResult):
                if retry_failed:
                    plan.store.delete(MANIFEST_FILE)
                for kind, number in result.failed.items():
                    state.kinds[kind] = state.kinds.get(kind, 0) + number
                in_a_row = 0
                yield result
            else:
                failures.append((shard, result))
                in_a_row += 1
                if in_a_row >= _MOST_IN_A_ROW:
                    break
    plan.store.sweep()
    if progress and shards:
        progress(state)
    left = shards_to_do(plan, part, retry_failed=retry_failed) if failures else []
    if left:  # a process may have ended after it had committed its shard
        shard, reason = next((failure for failure in failures if failure[0] in left), failures[0])
        raise ShardsLeft(f"{len(left)} of {len(shards)} shards stay to do; shard {shard}: {reason}")
    if shards or not is_current(plan):
        write_manifest(plan)


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: what ends the work on a shard, and not that on the others; DatasetError and StorageError are among them
_OF_A_SHARD: Final = (ValueError, RuntimeError, OSError, MemoryError)


def _reason(error: BaseException) -> str:
    return "not enough memory" if isinstance(error, MemoryError) else str(error) or type(error).__name__


_Made = Iterator[tuple[int, "ShardResult | str"]]


def _alone(
    plan: TokenPlan, shards: Sequence[int], workers: int, device: str, state: Progress, progress: Report | None
) -> Any:
    last = time.monotonic()

    def note(done: int, failed: int, stage: str, seconds: float) -> None:
        nonlocal last
        state.add(done, failed, stage, seconds)
        if progress and time.monotonic() - last > _TELL_SECONDS:
            last = time.monotonic()
            progress(state)

    tokenizer = make_tokenizer(plan, device) if shards else None
    for shard in shards:
        assert tokenizer is not None
        try:
            yield shard, tokenize_shard(plan, shard, tokenizer, note)
        except _OF_A_SHARD as error:
            yield shard, _reason(error)


def _in_processes(
    plan: TokenPlan, shards: Sequence[int], workers: int, device: str, state: Progress, progress: Report | None
) -> Any:
    context = multiprocessing.get_context("spawn")
    waiting = list(reversed(shards))
    busy: dict[Connection, tuple[Any, int | None]] = {}

    def start() -> None:
        here, there = context.Pipe()
        process = context.Process(target=_work, args=(there, plan.store.url, device), daemon=True)
        with _one_thread():
            process.start()
        there.close()
        busy[here] = process, None
        give(here)

    def give(connection: Connection) -> None:
        process, _ = busy[connection]
        shard = waiting.pop() if waiting else None
        busy[connection] = process, shard
        connection.send(shard)
        if shard is None:
            busy.pop(connection)
            connection.close()
            process.join()

    try:
        for _ in range(workers):
            start()
        while busy:
            for ready in wait(list(busy), timeout=_TELL_SECONDS):
                assert isinstance(ready, Connection)
                process, shard = busy[ready]
                assert shard is not None
                try:
                    told = ready.recv()
                except (EOFError, OSError):
                    busy.pop(ready)
                    process.join()
                    if waiting:
                        start()
                    yield shard, f"its process ended with {process.exitcode} (-9: killed, often for lack of memory)"
                    continue
                if isinstance(told, list):
                    for each in told:
                        state.add(*each)
                else:
                    give(ready)
                    yield shard, told
            if progress:
                progress(state)
    finally:
        for process, _ in busy.values():
            process.terminate()
        for process, _ in busy.values():
            process.join()


class _one_thread:
    """What is started in the block has libraries with one thread each."""

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, "1"))

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _work(connection: Connection, out: str, device: str) -> None:
    """A worker: gets numbers of shards, sends lists of what it did meanwhile and then the result, or what was wrong."""
    _end_with(os.getppid())
    use_threads(1)
    notes: dict[str, list[float]] = {}
    last = time.monotonic()

    def note(done: int, failed: int, stage: str, seconds: float) -> None:
        nonlocal last
        own = notes.setdefault(stage, [0, 0, 0.0])
        own[0] += done
        own[1] += failed
        own[2] += seconds
        if time.monotonic() - last > _TELL_SECONDS:
            tell()

    def tell() -> None:
        nonlocal last
        last = time.monotonic()
        connection.send([(int(done), int(failed), stage, spent) for stage, (done, failed, spent) in notes.items()])
        notes.clear()

    try:
        plan: TokenPlan | None = None
        tokenizer: Any = None
        while (shard := connection.recv()) is not None:
            try:
                if plan is None or tokenizer is None:
                    plan = TokenPlan.open(out)
                    tokenizer = make_tokenizer(plan, device)
                result: ShardResult | str = tokenize_shard(plan, shard, tokenizer, note)
            except _OF_A_SHARD as error:
                result = _reason(error)
            except Exception as error:  # else the process ends and nobody says why
                result = f"unexpected {type(error).__name__} ({error})"
            tell()
            connection.send(result)
    except (EOFError, KeyboardInterrupt, BrokenPipeError):
        pass  # the parent has ended, or ends now


def _end_with(parent: int) -> None:
    """End this process when its parent has ended, even in the middle of a shard."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_TELL_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
