"""The plan: made once, the same from any listing, never changed, and strict about what it was made for."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from dataset_helpers import content_of, make_folder, make_parquet, make_tar, spec_of

from vqcodec.cards.finding import DEFAULT_MODEL
from vqcodec.dataset import files as files_module
from vqcodec.dataset import plan as plan_module
from vqcodec.dataset import plan_files
from vqcodec.dataset.errors import DatasetError, PlanMismatch, StorageError
from vqcodec.dataset.plan import TokenPlan
from vqcodec.dataset.spec import TokenSpec


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "photos", 8)


def test_pictures_are_cut_into_numbered_shards(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    assert (plan.pictures, plan.shards) == (8, 3)
    assert [plan.pictures_of(shard) for shard in range(3)] == [3, 3, 2]
    keys = [key for shard in range(3) for key in plan.shard_rows(shard).keys]
    assert keys == [f"a/{number:04}.png" for number in (0, 2, 4, 6)] + [f"b/{number:04}.png" for number in (1, 3, 5, 7)]
    assert plan.shard_rows(0).names[0] == "photos/a/0000.png"
    with pytest.raises(DatasetError, match="shard 3 of 3"):
        plan.shard_rows(3)


def test_another_order_of_listing_gives_the_same_plan(
    tmp_path: Path, source: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    TokenPlan.make([source], tmp_path / "one", spec_of(tiny_model))
    scandir = files_module.os.scandir

    class Reversed:
        def __init__(self, folder: str) -> None:
            self._listing = scandir(folder)

        def __enter__(self) -> Any:
            return reversed(list(self._listing))

        def __exit__(self, *_: object) -> None:
            self._listing.close()

    monkeypatch.setattr(files_module.os, "scandir", Reversed)
    TokenPlan.make([source], tmp_path / "two", spec_of(tiny_model))
    assert content_of(tmp_path / "one") == content_of(tmp_path / "two")


def test_a_plan_that_is_there_is_taken_without_listing(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    before = content_of(tmp_path / "out")
    make_folder(source, 3, first=100)
    again = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    assert again.pictures == plan.pictures == TokenPlan.open(tmp_path / "out").pictures
    assert content_of(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": 1}, "levels 2, not 1"),
        ({"size": 48}, "size 32, not 48"),
        ({"size": None}, "size 32, not none"),
        ({"crops": "ten"}, "crops center, not ten"),
        ({"seed": 5, "shard_size": 9}, "seed 0, not 5; shard_size 3, not 9"),
        ({"model": DEFAULT_MODEL, "levels": 2}, f"model tiny .*, not {DEFAULT_MODEL}"),
    ],
)
def test_other_settings_are_refused_with_the_difference(
    tmp_path: Path, source: Path, tiny_model: Path, changes: dict[str, Any], message: str
) -> None:
    spec = spec_of(tiny_model, levels=2)
    TokenPlan.make([source], tmp_path / "out", spec)
    with pytest.raises(PlanMismatch, match=message):
        TokenPlan.make([source], tmp_path / "out", dataclasses.replace(spec, **changes))


def test_other_arithmetic_is_refused(
    tmp_path: Path, source: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VQCODEC_CORE", "auto")
    plan = TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))
    if plan.profile["arithmetic"] != "native":
        pytest.skip("the core was not built")
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    with pytest.raises(PlanMismatch, match="arithmetic native, not float32"):
        TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model))


def test_other_sources_are_refused_and_appended_when_asked_for(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    out, more = tmp_path / "out", make_folder(tmp_path / "more", 4, first=50)
    with pytest.raises(DatasetError, match="no dataset to append to"):
        TokenPlan.make([more], out, spec_of(tiny_model), append=True)
    TokenPlan.make([source], out, spec_of(tiny_model))
    before = content_of(out)
    with pytest.raises(PlanMismatch, match="was planned for other sources"):
        TokenPlan.make([more], out, spec_of(tiny_model))
    plan = TokenPlan.make([more], out, spec_of(tiny_model), append=True)
    assert (plan.pictures, plan.shards) == (12, 5)
    assert plan.shard_rows(3).keys == ["a/0050.png", "a/0052.png", "b/0051.png"]
    assert {name: content_of(out)[name] for name in before} == before
    again = TokenPlan.make([more], out, spec_of(tiny_model), append=True)
    assert again.shards == 5, "the same once more goes on"


def test_keys_that_occur_twice_are_named_and_nothing_stays(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    out = tmp_path / "out"
    other = make_folder(tmp_path / "other", 2, first=6)
    with pytest.raises(DatasetError, match=r"two pictures have the key a/0006\.png \(also b/0007\.png\)"):
        TokenPlan.make([source, other], out, spec_of(tiny_model))
    assert list(content_of(out)) == ["dataset.json"]
    TokenPlan.make([source], out, spec_of(tiny_model))
    with pytest.raises(DatasetError, match=r"a/0006\.png"):
        TokenPlan.make([other], out, spec_of(tiny_model), append=True)
    assert TokenPlan.open(out).pictures == 8


def test_jobs_that_plan_at_the_same_time_leave_each_other_their_files(
    tmp_path: Path, source: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other, spec, listed = tmp_path / "out", tmp_path / "other", spec_of(tiny_model), plan_module.entries
    places = [other, out]
    monkeypatch.setattr(plan_files, "SHARDS_A_PART", 1)

    def slower(*arguments: Any) -> Any:
        """Another job is done in the midst of this one."""
        found = list(listed(*arguments))
        yield from found[:4]
        monkeypatch.setattr(plan_module, "entries", listed)
        TokenPlan.make([source], places.pop(), spec)
        yield from found[4:]

    monkeypatch.setattr(plan_module, "entries", slower)
    plan = TokenPlan.make([source], out, spec)
    assert [len(plan.shard_rows(shard).keys) for shard in range(plan.shards)] == [3, 3, 2]
    before = content_of(out)

    def given_up(*arguments: Any) -> Any:
        yield from slower(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_module, "entries", given_up)
    with pytest.raises(KeyboardInterrupt):
        TokenPlan.make([source], other, spec)
    rest = TokenPlan.open(other)
    assert [len(rest.shard_rows(shard).keys) for shard in range(rest.shards)] == [3, 3, 2]
    assert {name for name in content_of(other) if "plan" in name} == {name for name in before if "plan" in name}


@pytest.mark.parametrize("changed", [{}, {"shard_size": 2}, {"crops": "random:2"}])
def test_a_job_that_fails_or_differs_leaves_a_plan_that_another_one_made(
    tmp_path: Path, source: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    out, listed = tmp_path / "out", plan_module.entries
    monkeypatch.setattr(plan_files, "SHARDS_A_PART", 1)

    def second(*arguments: Any) -> Any:
        yield from list(listed(*arguments))
        monkeypatch.setattr(plan_module, "entries", listed)
        TokenPlan.make([source], out, spec_of(tiny_model, **changed))
        if not changed:
            raise DatasetError("a file that is still being copied")

    monkeypatch.setattr(plan_module, "entries", second)
    with pytest.raises(PlanMismatch if changed else DatasetError, match=r"was made with|still being copied"):
        TokenPlan.make([source], out, spec_of(tiny_model))
    plan = TokenPlan.open(out)
    assert sum(len(plan.shard_rows(shard).keys) for shard in range(plan.shards)) == 8


def test_files_that_another_job_took_back_are_missed_before_the_plan_counts(
    tmp_path: Path, source: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, close = tmp_path / "out", plan_files.RowWriter.close

    def taken_back(writer: plan_files.RowWriter) -> None:
        close(writer)
        writer.delete()

    monkeypatch.setattr(plan_files.RowWriter, "close", taken_back)
    monkeypatch.setattr(plan_module, "duplicates", lambda hashes, keys: [])
    with pytest.raises(StorageError, match="was deleted meanwhile; run it again"):
        TokenPlan.make([source], out, spec_of(tiny_model))


def test_columns_that_are_kept(tmp_path: Path, tiny_model: Path) -> None:
    folder = make_folder(tmp_path / "photos", 4)
    rows = [{"path": str(path.relative_to(tmp_path))} for path in sorted(folder.rglob("*.png"))]
    for row, boxes, sides in zip(rows, ([{"cat": 1}], [], [], [{"dog": 2}]), ([], [], [], [1]), strict=True):
        row |= {"boxes": boxes, "sides": sides, "none": None}
    (tmp_path / "list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    spec = spec_of(tiny_model, shard_size=2, keep=("boxes", "sides"))
    plan = TokenPlan.make([tmp_path / "list.jsonl"], tmp_path / "out", spec)
    kept = [plan.shard_rows(shard).kept for shard in range(2)]
    assert [each["boxes"].to_pylist() for each in kept] == [['[{"cat": 1}]', "[]"], ["[]", '[{"dog": 2}]']]
    assert [each["sides"].to_pylist() for each in kept] == [["[]", "[]"], ["[]", "[1]"]]
    with pytest.raises(DatasetError, match="no picture has a none: leave it out of --keep, or check its name"):
        TokenPlan.make([tmp_path / "list.jsonl"], tmp_path / "other", spec_of(tiny_model, keep=("none",)))


def test_settings_may_change_until_there_is_a_plan(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_parquet(tmp_path / "x.parquet"), tmp_path / "out"
    with pytest.raises(DatasetError, match="no column photo"):
        TokenPlan.make([source], out, spec_of(tiny_model, image="photo"))
    with pytest.raises(DatasetError, match="its plan is not complete"):
        TokenPlan.open(out)
    assert TokenPlan.make([source], out, spec_of(tiny_model, image="picture")).pictures == 5


def test_classes_are_numbered_and_stay_when_more_come(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    out, spec = tmp_path / "out", spec_of(tiny_model, labels="folder")
    plan = TokenPlan.make([source], out, spec)
    assert plan.classes == ("a", "b")
    assert [plan.shard_rows(shard).labels for shard in range(3)] == [[0, 0, 0], [0, 1, 1], [1, 1]]
    more = make_folder(tmp_path / "more", 2, first=50)
    (more / "a").rename(more / "aa")
    plan = TokenPlan.make([more], out, spec, append=True)
    assert plan.classes == ("a", "b", "aa")
    assert plan.shard_rows(3).labels == [2, 1]


def test_numbers_of_classes_stay_numbers(tmp_path: Path, tiny_model: Path) -> None:
    plan = TokenPlan.make([make_tar(tmp_path / "x.tar", 3)], tmp_path / "out", spec_of(tiny_model, labels="cls"))
    assert plan.classes == ("0", "1", "2")
    assert plan.shard_rows(0).labels == [0, 1, 2]


def test_kept_columns_have_one_type(tmp_path: Path, tiny_model: Path) -> None:
    records = [{"path": f"{number}.png", "score": number} for number in range(4)]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, records)))
    plan = TokenPlan.make([tmp_path / "l.jsonl"], tmp_path / "out", spec_of(tiny_model, keep=("score",)))
    assert plan.shard_rows(1).kept["score"].to_pylist() == [3]
    records.append({"path": "4.png", "score": "high"})
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, records)))
    with pytest.raises(DatasetError, match="column score: not all values are int64"):
        TokenPlan.make([tmp_path / "m.jsonl"], tmp_path / "other", spec_of(tiny_model, keep=("score",)))
    with pytest.raises(DatasetError, match="--keep key: tokens have a column of this name"):
        TokenPlan.make([tmp_path / "m.jsonl"], tmp_path / "other", spec_of(tiny_model, keep=("key",)))


def test_tokens_do_not_go_into_their_source(source: Path, tiny_model: Path) -> None:
    with pytest.raises(DatasetError, match="which is read from"):
        TokenPlan.make([source], source / "out", spec_of(tiny_model))


def test_a_damaged_plan_is_told(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    out = tmp_path / "out"
    TokenPlan.make([source], out, spec_of(tiny_model))
    [part] = (out / "plan").glob("000-00000-*.parquet")
    whole = part.read_bytes()
    part.write_bytes(whole[:-20] + b"x" * 20)
    with pytest.raises(DatasetError, match=r"000-00000-\w+\.parquet: is not what was planned"):
        TokenPlan.open(out).shard_rows(0)
    (out / "dataset.json").write_text("{}")
    with pytest.raises(DatasetError, match=r"dataset\.json: is damaged"):
        TokenPlan.open(out)
    with pytest.raises(DatasetError, match="no dataset of tokens"):
        TokenPlan.open(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crops": "some"}, "take center, ten or random:N"),
        ({"size": None, "crops": "ten"}, "give a size"),
        ({"size": 0}, "take a side of up to 8192 pixels"),
        ({"shard_size": 0}, "take 1 or more"),
    ],
)
def test_a_spec_that_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        TokenSpec(**changes)


def test_levels_that_the_model_has_not_are_refused(tmp_path: Path, source: Path, tiny_model: Path) -> None:
    with pytest.raises(DatasetError, match="levels 3: model tiny has 1 to 2"):
        TokenPlan.make([source], tmp_path / "out", spec_of(tiny_model, levels=3))
