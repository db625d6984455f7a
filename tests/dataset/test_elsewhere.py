"""Tokens opened without vqcodec: by pandas, DuckDB and the package `datasets`, where they are installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dataset_helpers import make_dataset, make_folder

from vqcodec.dataset.reader import TokenDataset


@pytest.fixture(params=["crops", "native"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, tiny_model: Path) -> Path:
    changes = {"size": None} if request.param == "native" else {"labels": "folder"}
    make_dataset(tmp_path / "tokens", tiny_model, make_folder(tmp_path / "photos", 7, bad=1), **changes)
    return tmp_path / "tokens"


def expected(dataset: Path) -> list[tuple[str, list[int]]]:
    rows = [TokenDataset(dataset, columns=("key",))[number] for number in range(6)]
    return [(str(row["key"]), row["levels"][1].reshape(-1).tolist()) for row in rows]


def test_by_pandas(dataset: Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(dataset / "tokens", columns=["key", "level_2"])
    assert [(key, level.tolist()) for key, level in zip(table["key"], table["level_2"], strict=True)] == expected(
        dataset
    )
    assert {level.dtype for level in table["level_2"]} == {np.dtype(np.uint16)}


def test_by_duckdb(dataset: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = f"read_parquet('{dataset.as_posix()}/tokens/*.parquet', filename = true, file_row_number = true)"
    rows = duckdb.sql(f"select key, level_2 from {files} order by filename, file_row_number").fetchall()
    assert [(key, list(level)) for key, level in rows] == expected(dataset)
    [[count]] = duckdb.sql(f"select count(*) from (select unnest(level_2) from {files})").fetchall()
    assert count == sum(len(level) for _, level in expected(dataset))


def test_by_datasets(dataset: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = str(dataset / "tokens" / "*.parquet")
    for streaming in (False, True):
        table = datasets.load_dataset(
            "parquet", data_files=files, split="train", streaming=streaming, cache_dir=str(tmp_path / "cache")
        )
        assert [(row["key"], row["level_2"]) for row in table] == expected(dataset)
        assert table.features["level_2"].feature.dtype == "uint16"
