"""Checkpoints are whole or not there, and only the newest are kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vqcodec.training.common import checkpoint as checkpoint_module
from vqcodec.training.common.checkpoint import (
    CheckpointError,
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)


def state(value: float = 1) -> dict[str, Any]:
    return {"model": {"weight": torch.full((50,), value)}, "config": {"steps": 5, "names": ["a", None]}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path / "new" / "folder", 7, state(3))
    assert path.name == "checkpoint-00000007.pt"
    loaded = load_checkpoint(path)
    assert loaded["step"] == 7
    assert loaded["config"] == state()["config"]
    assert torch.equal(loaded["model"]["weight"], torch.full((50,), 3.0))


@pytest.mark.parametrize(("keep", "kept"), [(1, [100]), (3, [10, 20, 100]), (0, [5, 9, 10, 20, 100])])
def test_the_newest_are_kept(tmp_path: Path, keep: int, kept: list[int]) -> None:
    for name in ("notes.txt", "checkpoint-1.pt", "checkpoint-final.pt"):
        (tmp_path / name).touch()
    for step in (5, 10, 100, 20, 9):
        save_checkpoint(tmp_path, step, state(), keep=keep)
    assert [int(path.stem.split("-")[1]) for path in checkpoints(tmp_path)] == kept
    assert newest_checkpoint(tmp_path).name == "checkpoint-00000100.pt"
    assert {path.name for path in tmp_path.iterdir()} >= {"notes.txt", "checkpoint-1.pt", "checkpoint-final.pt"}


def test_two_are_kept_unless_told_otherwise(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, step, state())
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-00000002.pt", "checkpoint-00000003.pt"]


def test_a_negative_number_to_keep(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="keep -1 checkpoints: take 0 for all"):
        save_checkpoint(tmp_path, 1, state(), keep=-1)
    assert list(tmp_path.iterdir()) == []


def test_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there to resume from"):
        newest_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "checkpoint-00000001.pt")


def test_a_save_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = save_checkpoint(tmp_path, 1, state(1))

    def half(values: object, file: Any) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_module.torch, "save", half)
    for step in (1, 2):
        with pytest.raises(OSError, match="No space left"):
            save_checkpoint(tmp_path, step, state(2))
    assert list(tmp_path.iterdir()) == [old]
    assert torch.equal(load_checkpoint(old)["model"]["weight"], torch.ones(50))


KILLED = """
import sys, time
from pathlib import Path
import torch
from vqcodec.training.common.checkpoint import save_checkpoint

folder, save = Path(sys.argv[1]), torch.save

def slowly(values, file):
    class Half:
        def write(self, data):
            written = file.write(data)
            file.flush()
            print("in the middle", flush=True)
            time.sleep(60)
            return written
    save(values, Half(), _use_new_zipfile_serialization=False)

save_checkpoint(folder, 1, {"weight": torch.ones(10)})
torch.save = slowly
save_checkpoint(folder, 2, {"weight": torch.zeros(10)})
"""


def test_a_process_killed_while_saving_leaves_a_good_checkpoint(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "in the middle\n"
        finally:
            process.kill()
    partial = [path for path in tmp_path.iterdir() if path.suffix == ".partial"]
    assert len(partial) == 1
    assert partial[0].stat().st_size > 0
    assert load_checkpoint(newest_checkpoint(tmp_path))["step"] == 1
    save_checkpoint(tmp_path, 2, state())
    assert load_checkpoint(newest_checkpoint(tmp_path))["step"] == 2


# Reads folders from stdin; for each, a fork (torch is imported once) writes checkpoints there until it is killed.
WRITER = """
import itertools, os, sys
from pathlib import Path
import torch
from vqcodec.training.common.checkpoint import checkpoints, save_checkpoint

for line in sys.stdin:
    folder = Path(line.rstrip())
    first = 1 + max((int(path.stem[-8:]) for path in checkpoints(folder)), default=0)
    child = os.fork()
    if child == 0:
        for step in itertools.count(first):
            save_checkpoint(folder, step, {"weight": torch.full((300_000,), step)})
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def writer() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", WRITER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # and what it forked


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_killed_at_any_moment_leaves_a_good_checkpoint(tmp_path: Path, writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    assert writer.stdout is not None
    rng = np.random.default_rng()
    newest = save_checkpoint(tmp_path, 1, state())
    for _ in range(8):
        print(tmp_path, file=writer.stdin, flush=True)
        child, before, deadline = int(writer.stdout.readline()), newest, time.monotonic() + 60
        while newest_checkpoint(tmp_path) == before:  # so that every round gets on
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert int(writer.stdout.readline()) == -signal.SIGKILL
        newest = newest_checkpoint(tmp_path)
        loaded = load_checkpoint(newest)
        assert newest.name == f"checkpoint-{loaded['step']:08d}.pt"
        assert bool((loaded["weight"] == loaded["step"]).all())


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"PK\x03\x04", bytes(100), b"\x80\x04N.", b"text\n" * 50],
    ids=["empty", "word", "zip", "zeros", "pickle", "text"],
)
def test_a_file_that_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint-00000001.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"^.*checkpoint-00000001\.pt: not a "):
        load_checkpoint(path)


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(tmp_path)


def test_a_tensor_or_a_foreign_dictionary_is_no_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    for content in (torch.zeros(3), {"weight": torch.zeros(3)}):
        torch.save(content, path)
        with pytest.raises(CheckpointError, match=r"a\.pt: not a checkpoint of vqcodec"):
            load_checkpoint(path)


def test_random_damage_is_a_checkpoint_error_or_a_checkpoint(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, state())
    raw, rng, errors = path.read_bytes(), np.random.default_rng(0), 0
    for number in range(150):
        damaged = bytearray(raw if number % 3 else raw[: rng.integers(len(raw))])
        for place in rng.integers(len(damaged), size=2) if damaged else ():
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            load_checkpoint(path)
        except CheckpointError:
            errors += 1
    assert errors > 50


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (tmp_path / "touched",))  # type: ignore[return-value]

    path = tmp_path / "a.pt"
    torch.save({"step": Harmful()}, path)
    with pytest.raises(CheckpointError, match="not a readable checkpoint"):
        load_checkpoint(path)
    assert not (tmp_path / "touched").exists()
