"""Reading at random: rows, batches by step, in memory and from the cache."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_helpers import content_of, make_dataset, make_folder, make_tar, rows_of, spec_of

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.reader import TokenDataset


@pytest.fixture(scope="module")
def out(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reader")
    make_dataset(folder / "out", tiny_model, make_tar(folder / "x.tar", 8), labels="cls", size=48)
    return folder / "out"


def test_rows_are_those_of_the_files(out: Path) -> None:
    data, table = TokenDataset(out, columns=("key", "label")), rows_of(out)
    assert len(data) == len(table) == 8
    for number, record in enumerate(table.to_pylist()):
        row = data[number]
        assert (row["key"], row["label"]) == (record["key"], record["label"])
        assert [grid.shape for grid in row["levels"]] == [(3, 3), (3, 3)]
        assert [grid.reshape(-1).tolist() for grid in row["levels"]] == [record["level_1"], record["level_2"]]
    assert data[-1]["key"] == "0007"
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert data.classes == ("0", "1", "2")
    with pytest.raises(IndexError):
        data[8]


def test_batches_depend_on_seed_and_step(out: Path) -> None:
    data = TokenDataset(out, levels=1)
    batches = data.batches(seed=3, batch_size=5)
    batch = batches(7)
    assert [level.shape for level in batch.levels] == [(5, 3, 3)]
    for row, grid, label in zip(batch.rows, batch.levels[0], batch.labels, strict=True):
        assert np.array_equal(grid, data[row]["levels"][0])
        assert label == data.labels[row]
    assert np.array_equal(batches(7).rows, batch.rows)
    others = [batches(8).rows, data.batches(seed=4, batch_size=5)(7).rows]
    assert not any(np.array_equal(other, batch.rows) for other in others)
    shares = [data.batches(3, 5, share=slice(rank, None, 2))(7).rows for rank in (0, 1)]
    assert [*shares[0], *shares[1]] == [*batch.rows[::2], *batch.rows[1::2]]


def test_what_does_not_fit_into_memory_is_mapped_from_a_cache_that_is_built_once(out: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(out, tmp_path / "out")
    whole, mapped = TokenDataset(copy), TokenDataset(copy, memory_bytes=0)
    assert sorted(path.suffix for path in (copy / "cache").iterdir()) == [".npy", ".npy"]
    before = {path: path.stat().st_mtime_ns for path in (copy / "cache").iterdir()}
    again = TokenDataset(copy, memory_bytes=0)
    assert {path: path.stat().st_mtime_ns for path in (copy / "cache").iterdir()} == before
    one, two, three = (data.batches(0, 6)(1) for data in (whole, mapped, again))
    for levels in zip(one.levels, two.levels, three.levels, strict=True):
        assert all(np.array_equal(level, levels[0]) for level in levels)
    TokenDataset(copy, memory_bytes=0, cache=tmp_path / "elsewhere")
    assert len(content_of(tmp_path / "elsewhere")) == 2


@pytest.mark.parametrize("memory_bytes", [0, 1 << 20])
def test_pictures_in_their_native_size(tmp_path: Path, hierarchical_model: Path, memory_bytes: int) -> None:
    make_dataset(tmp_path / "out", hierarchical_model, make_folder(tmp_path / "photos", 5), size=None)
    data, table = TokenDataset(tmp_path / "out", memory_bytes=memory_bytes), rows_of(tmp_path / "out")
    for number, record in enumerate(table.to_pylist()):
        grids = data[number]["levels"]
        assert [grid.reshape(-1).tolist() for grid in grids] == [record[f"level_{n}"] for n in (1, 2, 3, 4)]
        assert grids[-1].shape == (record["rows"], record["cols"])
    with pytest.raises(DatasetError, match="several sizes"):
        data.batches(0)


def test_a_dataset_without_labels_has_none(tmp_path: Path, tiny_model: Path) -> None:
    make_dataset(tmp_path / "out", tiny_model, make_folder(tmp_path / "photos", 2))
    data = TokenDataset(tmp_path / "out")
    assert (data.labels.tolist(), data.classes) == ([-1, -1], ())


def test_what_is_not_there_is_told(out: Path, tmp_path: Path, tiny_model: Path) -> None:
    with pytest.raises(DatasetError, match="tokens of 2 levels; 3 are asked for"):
        TokenDataset(out, levels=3)
    with pytest.raises(DatasetError, match="no column caption; it has key, source"):
        TokenDataset(out, columns=("caption",))
    TokenPlan.make([make_folder(tmp_path / "photos", 4)], tmp_path / "out", spec_of(tiny_model))
    with pytest.raises(DatasetError, match="2 of 2 shards are to do"):
        TokenDataset(tmp_path / "out")
    make_dataset(tmp_path / "bad", tiny_model, make_folder(tmp_path / "bad-photos", 3, bad=3))
    with pytest.raises(DatasetError, match="not one picture could be read"):
        TokenDataset(tmp_path / "bad")
    copy = shutil.copytree(out, tmp_path / "copy")
    (copy / "tokens" / "shard-000001.parquet").write_bytes(b"cut")
    with pytest.raises(DatasetError, match=r"shard-000001\.parquet: is damaged"):
        TokenDataset(copy)
