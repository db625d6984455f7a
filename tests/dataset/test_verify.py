"""Verification finds what is wrong, and statistics count what is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dataset_helpers import encoded, make_dataset, make_folder, rows_of, run

from vqcodec.dataset import local
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.manifest import MANIFEST_FILE, is_current, write_manifest
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.statistics import about, failures, level_statistics
from vqcodec.dataset.verify import Verdict, verify


@pytest.fixture
def plan(tmp_path: Path, tiny_model: Path) -> TokenPlan:
    return make_dataset(tmp_path / "out", tiny_model, make_folder(tmp_path / "photos", 8, bad=2), crops="random:2")


def verdict_of(plan: TokenPlan, sample: int = 0) -> Verdict:
    return verify(TokenPlan.open(plan.store.url), sample)


def test_a_whole_dataset_is_whole(plan: TokenPlan) -> None:
    verdict = verdict_of(plan, 100)
    assert verdict == Verdict(shards=3, pictures=8, rows=12, failed=2, compared=6, wrong=[])


def rewrite(path: Path, change: object) -> None:
    table = pq.read_table(path)
    pq.write_table(change(table), path)  # type: ignore[operator]


def test_what_is_wrong_is_named(plan: TokenPlan, tmp_path: Path) -> None:
    shard = tmp_path / "out" / "tokens" / "shard-000001.parquet"
    whole = shard.read_bytes()

    def tokens_changed(table: pa.Table) -> pa.Table:
        values = table.column("level_1").combine_chunks().flatten().to_numpy().copy()
        values[0] = 31 - values[0]
        column = pa.FixedSizeListArray.from_arrays(pa.array(values), table.schema.field("level_1").type.list_size)
        return table.set_column(table.schema.get_field_index("level_1"), "level_1", column)

    rewrite(shard, tokens_changed)
    assert verdict_of(plan).wrong == ["tokens/shard-000001.parquet: its tokens are not those that were written"]
    shard.write_bytes(whole)
    rewrite(shard, lambda table: table.slice(1))
    assert any("rows are not those that are planned" in line for line in verdict_of(plan).wrong)
    shard.write_bytes(whole[:-9])
    assert ["is damaged" in line for line in verdict_of(plan).wrong] == [True]
    shard.write_bytes(whole)
    shutil.copy(shard, shard.with_name("shard-000009.parquet"))
    assert verdict_of(plan).wrong == ["tokens/shard-000009.parquet: is no shard of the plan"]
    shard.with_name("shard-000009.parquet").unlink()
    (tmp_path / "out" / "errors" / "shard-000000.parquet").unlink()
    assert "says 3 planned and 1 failed; there are 3 and 0" in verdict_of(plan).wrong[0]


def test_a_picture_that_has_changed_is_found_when_it_is_looked_at(plan: TokenPlan, tmp_path: Path) -> None:
    (tmp_path / "photos" / "b" / "0005.png").write_bytes(encoded(99))
    assert verdict_of(plan).wrong == []
    assert verdict_of(plan, 100).wrong == ["photos/b/0005.png: is another picture than was tokenized"]


def test_statistics(plan: TokenPlan, tmp_path: Path) -> None:
    facts = about(plan)
    assert (facts["pictures"], facts["done"], facts["failed"], facts["rows"]) == (8, 8, 2, 12)
    assert (facts["shards"], facts["shards_done"], facts["complete"]) == (3, 3, True)
    assert facts["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out" / "tokens").iterdir())
    assert {failure["key"] for failure in failures(plan)} == {"a/0000.png", "b/0001.png"}
    table = rows_of(tmp_path / "out")
    for number, level in enumerate(level_statistics(plan), start=1):
        tokens = np.concatenate(table.column(f"level_{number}").to_pylist())
        shares = np.bincount(tokens)[np.unique(tokens)] / len(tokens)
        assert (level["tokens"], level["codes"], level["codes_used"]) == (len(tokens), 32, len(np.unique(tokens)))
        assert level["entropy_bits"] == pytest.approx(float(-(shares * np.log2(shares)).sum()), abs=1e-3)
        assert level["stored_bits"] > 5


@pytest.mark.parametrize("folder", ["tokens", "errors"])
def test_a_damaged_file_is_named_with_the_remedy(plan: TokenPlan, tmp_path: Path, folder: str) -> None:
    path = sorted((Path(plan.store.url) / folder).iterdir())[0]
    path.write_bytes(path.read_bytes()[:-20])
    wrong = verdict_of(plan).wrong
    assert len(wrong) == 1
    assert f"delete {path.name} in tokens/ and errors/, and run `vqcodec tokenize` again" in wrong[0]
    with pytest.raises(DatasetError, match=f"{folder}/{path.name}: is damaged"):
        list(failures(plan)) if folder == "errors" else level_statistics(plan)


def test_a_dataset_without_a_shard_is_not_complete(plan: TokenPlan) -> None:
    assert is_current(plan)
    (Path(plan.store.url) / "tokens" / "shard-000000.parquet").unlink()
    assert not is_current(plan)
    assert not about(plan)["complete"]


def test_a_manifest_goes_before_shards_are_made_anew(plan: TokenPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "write_manifest", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(plan, retry_failed=True)
    monkeypatch.undo()
    assert not is_current(plan)
    assert run(plan) == []
    assert is_current(plan)


def _interrupted(plan: TokenPlan) -> None:
    raise KeyboardInterrupt


def test_a_manifest_of_other_shards_is_wrong(plan: TokenPlan) -> None:
    path = Path(plan.store.url) / MANIFEST_FILE
    table = pq.read_table(path)
    pq.write_table(table.set_column(3, "rows", pa.array([9] * len(table))), path)
    assert verdict_of(plan).wrong == [
        "manifest.parquet: is not of the shards there; delete it and run `vqcodec tokenize` again"
    ]


def test_a_damaged_manifest_is_written_anew(plan: TokenPlan) -> None:
    path = Path(plan.store.url) / MANIFEST_FILE
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    assert not is_current(plan)
    assert write_manifest(plan)
    assert path.read_bytes() == whole
