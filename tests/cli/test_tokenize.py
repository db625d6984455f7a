"""vqcodec tokenize: what it prints, its exit codes, and that the same command again goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_helpers import only_error, vqcodec
from click.testing import Result
from dataset_helpers import content_of, make_dataset, make_folder, make_tar


def tokenize(model: Path, *words: object) -> Result:
    return vqcodec("tokenize", *words, "--model", model, "--size", 32, "--shard-size", 3, "--workers", 1)


def test_a_folder_becomes_tokens_and_the_second_run_does_nothing(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 8), tmp_path / "out"
    result = tokenize(tiny_model, source, "-o", out)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{out}: 8 pictures in 3 shards",
        f"{out}: 8 pictures tokenized, 0 failed; complete",
    ]
    assert "8 of 8 pictures" in result.stderr
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert tokenize(tiny_model, source, "-o", out).exit_code == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    make_dataset(tmp_path / "other", tiny_model, source)
    assert content_of(out) == content_of(tmp_path / "other")


def test_too_many_failures_end_with_1(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 8, bad=2), tmp_path / "out"
    result = tokenize(tiny_model, source, "-o", out)
    assert result.exit_code == 1
    assert f"error: {out}: 2 of 8 pictures failed, more than 0.100%" in result.stderr
    assert "1 damaged, 1 empty" in result.stderr
    assert tokenize(tiny_model, source, "-o", out, "--max-failures", "25%").exit_code == 0


def test_json_tells_each_shard(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 4, bad=1), tmp_path / "out"
    result = tokenize(tiny_model, source, "-o", out, "--json", "--max-failures", "50%")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["shard"], each["rows"], each["failed"]) for each in told[:-1]] == [(0, 2, {"damaged": 1}), (1, 1, {})]
    assert told[-1] == {"pictures": 4, "failed": 1, "complete": True}


def test_planning_alone_then_parts_then_more(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 8), tmp_path / "out"
    assert tokenize(tiny_model, source, "-o", out, "--plan-only").exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["dataset.json", "plan"]
    assert "other parts are to do" in tokenize(tiny_model, source, "-o", out, "--part", "1/2").stdout
    assert sorted(content_of(out, "tokens")) == ["tokens/shard-000001.parquet"]
    assert "complete" in tokenize(tiny_model, source, "-o", out, "--part", "0/2").stdout
    more = make_folder(tmp_path / "more", 2, first=50)
    assert "was planned for other sources" in only_error(tokenize(tiny_model, more, "-o", out))
    assert "10 pictures tokenized" in tokenize(tiny_model, more, "-o", out, "--append").stdout


def test_options_reach_the_tokens(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_tar(tmp_path / "x.tar", 4), tmp_path / "out"
    words = ("--levels", 1, "--crops", "random:2", "--labels", "cls", "--keep", "url,caption", "--key", "path")
    words = (*words, "--decode", "scaled")
    assert tokenize(tiny_model, source, "-o", out, *words).exit_code == 0
    facts = json.loads(vqcodec("tokens", "info", out, "--json").stdout)
    assert (facts["levels"], facts["rows"], facts["classes"]) == (1, 8, 3)
    spec = json.loads((out / "dataset.json").read_text())["spec"]
    assert (spec["keep"], spec["key"], spec["labels"]) == (["url", "caption"], "path", "cls")
    assert spec["decode"] == "scaled"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--size", "some"), "neither a side in pixels nor native"),
        (("--part", "2/2"), "is not I/N"),
        (("--max-failures", "3"), "is not a share"),
        (("--crops", "five"), "take center, ten or random:N"),
        (("--decode", "half"), "is not one of 'full', 'scaled'"),
    ],
)
def test_wrong_usage_ends_with_2(tmp_path: Path, tiny_model: Path, words: tuple[str, str], message: str) -> None:
    result = vqcodec("tokenize", tmp_path, "-o", tmp_path / "out", *words)
    assert result.exit_code == 2
    assert message in result.stderr


def test_what_cannot_be_is_one_line(tmp_path: Path, tiny_model: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no pictures" in only_error(tokenize(tiny_model, tmp_path / "empty", "-o", tmp_path / "out"))
    assert "no such file or folder" in only_error(tokenize(tiny_model, tmp_path / "gone", "-o", tmp_path / "out"))


@pytest.mark.skipif(sys.platform == "win32", reason="process groups of POSIX")
def test_a_killed_run_goes_on_to_the_same_files(tmp_path: Path, tiny_model: Path) -> None:
    source, out = make_folder(tmp_path / "photos", 60), tmp_path / "out"
    command = ["tokenize", source, "-o", out, "--model", tiny_model, "--size", 32, "--shard-size", 2, "--workers", 2]
    words = [sys.executable, "-m", "vqcodec.cli.main", *map(str, command)]
    process = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((out / "tokens").glob("shard*"))) < 3:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 3 <= len(list((out / "tokens").glob("shard*"))) < 30
    assert vqcodec(*command[:-1], 1).exit_code == 0
    make_dataset(tmp_path / "other", tiny_model, source, shard_size=2)
    assert content_of(out) == content_of(tmp_path / "other"), "no left-overs, the same bytes"


def test_what_is_passed_over_is_told(tmp_path: Path, tiny_model: Path) -> None:
    source = make_folder(tmp_path / "photos", 2)
    (source / "a.exr").write_bytes(b"x")
    result = tokenize(tiny_model, source, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert f"warning: {source}: passed over: 1 .exr\n" in result.stderr
    assert "passed over" not in tokenize(tiny_model, source, "-o", tmp_path / "out").stderr


def test_parts_and_workers_are_not_for_ray(tmp_path: Path, tiny_model: Path) -> None:
    result = tokenize(tiny_model, tmp_path, "-o", tmp_path / "out", "--ray", "local")
    assert (result.exit_code, "no --part, no --workers" in result.stderr) == (2, True)
