"""The pool: the same bytes whoever makes a shard, in whatever order, however often it is interrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from dataset_helpers import content_of, make_dataset, make_folder, run, spec_of

from vqcodec.dataset import local
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.local import ShardsLeft, shards_to_do, tokenize
from vqcodec.dataset.local import _work as work
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.progress import Progress
from vqcodec.dataset.shard import make_tokenizer, tokenize_shard


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", 13, bad=2)


@pytest.fixture
def expected(tmp_path: Path, tiny_model: Path, source: Path) -> dict[str, bytes]:
    make_dataset(tmp_path / "expected", tiny_model, source)
    return content_of(tmp_path / "expected")


def test_two_processes_make_the_same_files(
    tmp_path: Path, tiny_model: Path, source: Path, expected: dict[str, bytes]
) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    seen: list[Progress] = []
    results = run(plan, workers=2, progress=seen.append)
    assert sorted(result.shard for result in results) == [0, 1, 2, 3, 4]
    assert content_of(tmp_path / "out") == expected
    last = seen[-1]
    assert (last.done, last.planned, last.failed) == (13, 13, 2)
    assert sum(last.kinds.values()) == 2
    assert all(last.seconds[stage] > 0 for stage in ("read", "decode", "encode", "write"))
    assert "13 of 13 pictures" in last.line()
    assert last.values()["seconds_left"] == 0


def test_parts_make_up_the_whole(tmp_path: Path, tiny_model: Path, source: Path, expected: dict[str, bytes]) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    shards = [[result.shard for result in run(plan, part=(index, 3))] for index in (2, 0, 1)]
    assert shards == [[2], [0, 3], [1, 4]]
    assert content_of(tmp_path / "out") == expected
    with pytest.raises(DatasetError, match="part 3/3"):
        shards_to_do(plan, (3, 3))


def test_a_run_that_is_given_up_goes_on(
    tmp_path: Path, tiny_model: Path, source: Path, expected: dict[str, bytes]
) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    for result in tokenize(plan, workers=1, device="cpu"):
        if result.shard == 1:
            break
    assert len(plan.store.names("tokens")) == 2
    assert not plan.store.exists("manifest.parquet")
    assert [result.shard for result in run(plan)] == [2, 3, 4]
    assert content_of(tmp_path / "out") == expected
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert run(plan) == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == times


def _killed_before(connection: Any, out: str, device: str) -> None:
    """A worker; the first of all is killed when it has got its shard."""
    if _is_first(out):
        connection.recv()
        os.kill(os.getpid(), signal.SIGKILL)
    work(connection, out, device)


def _killed_after(connection: Any, out: str, device: str) -> None:
    """A worker; the first of all is killed when it has committed its shard, before it can tell."""
    if _is_first(out):
        plan = TokenPlan.open(out)
        tokenize_shard(plan, connection.recv(), make_tokenizer(plan, device), lambda *_: None)
        os.kill(os.getpid(), signal.SIGKILL)
    work(connection, out, device)


def _is_first(out: str) -> bool:
    try:
        Path(out).with_name("first").touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def test_a_process_that_is_killed_leaves_its_shard_to_do(
    tmp_path: Path, tiny_model: Path, source: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    monkeypatch.setattr(local, "_work", _killed_before)
    with pytest.raises(ShardsLeft, match=r"1 of 5 shards stay to do; shard \d: its process ended with -9"):
        run(plan, workers=2)
    assert len(plan.store.names("tokens")) == 4
    run(plan)
    assert content_of(tmp_path / "out") == expected


def test_a_process_that_is_killed_after_its_shard_leaves_nothing_to_do(
    tmp_path: Path, tiny_model: Path, source: Path, expected: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    monkeypatch.setattr(local, "_work", _killed_after)
    run(plan, workers=2)
    assert content_of(tmp_path / "out") == expected


def test_storage_that_is_gone_ends_the_run(
    tmp_path: Path, tiny_model: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    tried: list[int] = []

    def fails(plan: TokenPlan, shard: int, *_: Any) -> None:
        tried.append(shard)
        raise StorageError("photos: away")

    monkeypatch.setattr(local, "tokenize_shard", fails)
    with pytest.raises(ShardsLeft, match="5 of 5 shards stay to do; shard 0: photos: away"):
        run(plan)
    assert tried == [0, 1, 2]
