"""Ray: what its actors do, and pools that leave room. Two nodes, killed actors: benchmarks/dataset/ray_nodes.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dataset_helpers import content_of, make_dataset, make_folder, run, spec_of

from vqcodec.dataset import on_ray, packages
from vqcodec.dataset.errors import DatasetError, PackagesError
from vqcodec.dataset.local import ShardsLeft
from vqcodec.dataset.on_ray import TokenizeShard, _room, tokenize_on_ray
from vqcodec.dataset.patience import PATIENCE_VARIABLE
from vqcodec.dataset.plan import TokenPlan


class Cluster:
    """What is asked of the module `ray`."""

    def __init__(self, **resources: float) -> None:
        self.resources = resources

    def is_initialized(self) -> bool:
        return True

    def cluster_resources(self) -> dict[str, float]:
        return self.resources


class Rows:
    """What is asked of a dataset of Ray's: every block is computed twice, as after an actor was lost."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def map_batches(self, kind: Any, *, fn_constructor_args: tuple[Any, ...], **options: Any) -> Rows:
        assert Data.DataContext.target_max_block_size <= 1 << 20
        assert (options["batch_size"], options["num_cpus"], options["concurrency"]) == (1, 1.0, (1, 3))
        actors = [kind(*fn_constructor_args) for _ in range(2)]
        told = [[actor({"shard": [row["shard"]]}) for actor in actors][-1] for row in self.rows]
        return Rows([{"told": text} for each in told for text in each["told"]])

    def iter_rows(self) -> Any:
        return iter(self.rows)


class Data:
    """What is asked of the module `ray.data`."""

    class DataContext:
        enable_progress_bars = True
        target_max_block_size = 128 << 20

        @classmethod
        def get_current(cls) -> Any:
            return cls

    @staticmethod
    def from_items(rows: list[dict[str, Any]], override_num_blocks: int) -> Rows:
        assert override_num_blocks == len(rows)
        return Rows(rows)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"ray": Cluster(CPU=4), "ray.data": Data}
    monkeypatch.setattr(on_ray, "needed", lambda name, extra: modules[name])


@pytest.mark.usefixtures("cluster")
def test_shards_that_are_computed_twice_are_there_once(tmp_path: Path, tiny_model: Path) -> None:
    source = make_folder(tmp_path / "photos", 8, bad=1)
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    results = list(tokenize_on_ray(plan))
    assert [(result.shard, result.rows, sum(result.failed.values())) for result in results] == [
        (0, 2, 1),
        (1, 3, 0),
        (2, 2, 0),
    ]
    make_dataset(tmp_path / "other", tiny_model, source)
    assert content_of(tmp_path / "out") == content_of(tmp_path / "other")
    assert list(tokenize_on_ray(plan)) == []
    assert Data.DataContext.target_max_block_size == 128 << 20, "the user's own settings come back"


@pytest.mark.usefixtures("cluster")
def test_what_fails_stays_to_do(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    source = make_folder(tmp_path / "photos", 8)
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    (source / "a" / "0000.png").rename(tmp_path / "away.png")
    with pytest.raises(ShardsLeft, match=r"1 of 3 shards stay to do; shard 0: .*put it back"):
        list(tokenize_on_ray(plan))
    (tmp_path / "away.png").rename(source / "a" / "0000.png")
    assert [result.shard for result in run(plan)] == [0]


def test_an_actor_makes_again_what_it_is_told_to(tmp_path: Path, tiny_model: Path) -> None:
    plan = make_dataset(tmp_path / "out", tiny_model, make_folder(tmp_path / "photos", 3))
    path = tmp_path / "out" / "tokens" / "shard-000000.parquet"
    before = path.stat().st_ino
    for again, same in ((False, True), (True, False)):
        [told] = TokenizeShard(plan.store.url, "cpu", again)({"shard": [0]})["told"]
        assert json.loads(told)["rows"] == 3
        assert (path.stat().st_ino == before) == same


@pytest.mark.parametrize(
    ("resources", "num_gpus", "most", "expected"),
    [
        ({"CPU": 8}, 0, 64, (1.0, 7)),
        ({"CPU": 8}, 0, 3, (1.0, 3)),
        ({"CPU": 2}, 0, 64, (1.0, 1)),
        ({"CPU": 1}, 0, 64, (0.5, 1)),
        ({"CPU": 32, "GPU": 4}, 0.5, 64, (1.0, 8)),
    ],
)
def test_a_pool_leaves_room_for_ray(
    resources: dict[str, float], num_gpus: float, most: int, expected: tuple[float, int]
) -> None:
    assert _room(Cluster(**resources), num_gpus, most) == expected


def test_a_cluster_without_room_is_told() -> None:
    with pytest.raises(DatasetError, match="has 0 GPUs, an actor needs 1"):
        _room(Cluster(CPU=4), 1, 64)
    with pytest.raises(DatasetError, match="no processors"):
        _room(Cluster(), 0, 64)


def test_a_package_that_is_missing_is_told() -> None:
    with pytest.raises(PackagesError, match=r"need no_such_package: pip install 'vqcodec\[ray\]'"):
        packages.needed("no_such_package.data", "ray")
