"""vqcodec tokens: looking into datasets of tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import only_error, vqcodec
from dataset_helpers import make_dataset, make_folder, spec_of

from vqcodec.dataset.plan import TokenPlan


@pytest.fixture(scope="module")
def out(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokens")
    make_dataset(folder / "out", tiny_model, make_folder(folder / "photos", 8, bad=1))
    return folder / "out"


def test_info(out: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in vqcodec("tokens", "info", out).stdout.splitlines())
    assert (lines["pictures"], lines["failed"], lines["rows"], lines["arithmetic"]) == ("8", "1", "7", "native")
    assert json.loads(vqcodec("tokens", "info", out, "--json").stdout)["complete"] is True


def test_stats(out: Path) -> None:
    lines = vqcodec("tokens", "stats", out).stdout.splitlines()
    assert [line.split(",")[0] for line in lines] == ["level 1: 28 tokens", "level 2: 28 tokens"]
    assert json.loads(vqcodec("tokens", "stats", out, "--json").stdout.splitlines()[1])["level"] == 2


def test_errors(out: Path) -> None:
    [line] = vqcodec("tokens", "errors", out).stdout.splitlines()
    assert line.startswith("photos/a/0000.png: the picture is damaged")
    assert json.loads(vqcodec("tokens", "errors", out, "--json").stdout)["kind"] == "damaged"


def test_verify(out: Path, tmp_path: Path, tiny_model: Path) -> None:
    result = vqcodec("tokens", "verify", out, "--sample", 20)
    assert (result.exit_code, result.stdout) == (
        0,
        f"{out}: 3 of 3 shards, 8 pictures, 7 rows, 1 failed; 7 tokenized again; 0 wrong\n",
    )
    assert json.loads(vqcodec("tokens", "verify", out, "--json").stdout)["wrong"] == []
    plan = make_dataset(tmp_path / "out", tiny_model, make_folder(tmp_path / "photos", 4))
    (tmp_path / "out" / "tokens" / "shard-000000.parquet").write_bytes(b"")
    result = vqcodec("tokens", "verify", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'out'}/tokens/shard-000000.parquet: is damaged")
    plan.store.delete("tokens/shard-000000.parquet")
    result = vqcodec("tokens", "verify", tmp_path / "out")
    assert result.exit_code == 1
    assert "1 of 2 shards are to do" in result.stderr


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("npy", {"keys.txt", "level_1.npy", "level_2.npy"}),
        ("webdataset", {f"shard-00000{number}.tar" for number in range(3)}),
        ("streams", {f"shard-00000{number}.parquet" for number in range(3)}),
    ],
)
def test_export(out: Path, tmp_path: Path, form: str, names: set[str]) -> None:
    result = vqcodec("tokens", "export", out, "-o", tmp_path / "x", "--to", form)
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'x'}: written\n")
    assert {path.name for path in (tmp_path / "x").iterdir()} == names


def test_an_export_overwrites_when_it_is_told_to_and_leaves_nothing_of_a_larger_one(out: Path, tmp_path: Path) -> None:
    words = ("tokens", "export", out, "-o", tmp_path / "x", "--to", "webdataset")
    assert vqcodec(*words).exit_code == 0
    assert "holds files already; give -f" in only_error(vqcodec(*words))
    (tmp_path / "x" / "shard-000007.tar").write_bytes(b"")
    (tmp_path / "x" / "mine.txt").write_bytes(b"")
    assert vqcodec(*words, "-f").exit_code == 0
    left = {path.name for path in (tmp_path / "x").iterdir()}
    assert left == {"mine.txt", *(f"shard-00000{number}.tar" for number in range(3))}


def test_what_is_no_dataset_is_told(tmp_path: Path, tiny_model: Path, out: Path) -> None:
    for command in ("info", "stats", "errors", "verify"):
        assert "no dataset of tokens" in only_error(vqcodec("tokens", command, tmp_path))
    TokenPlan.make([make_folder(tmp_path / "photos", 3)], tmp_path / "out", spec_of(tiny_model))
    words = ("-o", tmp_path / "x", "--to")
    assert "1 of 1 shards are to do" in only_error(vqcodec("tokens", "export", tmp_path / "out", *words, "npy"))
    result = vqcodec("tokens", "export", out, *words, "npy", "--entropy", "static")
    assert (result.exit_code, "--entropy is for --to streams" in result.stderr) == (2, True)
