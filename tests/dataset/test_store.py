"""Stores: what has a name is whole, whatever happens meanwhile."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import fsspec
import pytest
from dataset_helpers import content_of

from vqcodec.dataset import patience
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.patience import PATIENCE_VARIABLE, patiently
from vqcodec.dataset.store import Store, open_store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    fsspec.filesystem("memory").store.clear()
    return open_store(tmp_path / "out" if request.param == "local" else "memory://bucket/out")


def test_bytes_come_back(store: Store) -> None:
    assert store.names("tokens") == []
    assert not store.exists("tokens/b")
    store.write("tokens/b", b"12")
    store.write("tokens/a", b"3")
    store.write("tokens/b", b"456")
    assert store.names("tokens") == ["a", "b"]
    assert (store.exists("tokens/b"), store.size("tokens/b"), store.read("tokens/b")) == (True, 3, b"456")
    with store.open("tokens/b") as stream:
        stream.seek(1)
        assert stream.read() == b"56"
    store.delete("tokens/b")
    store.delete("tokens/b")
    assert store.names("tokens") == ["a"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    store = open_store(tmp_path)
    store.write("tokens/a", b"before")

    def fails(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(StorageError, match="No space left on device; make room, then run the same command again"):
        store.write("tokens/a", b"after")
    assert content_of(tmp_path) == {"tokens/a": b"before"}


def test_a_put_that_fails_leaves_no_object(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PATIENCE_VARIABLE, "0")
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    store = open_store("memory://bucket/out")

    def fails(path: str, value: bytes, **_: Any) -> None:
        raise OSError("Please reduce your request rate (503)")

    monkeypatch.setattr(type(memory), "pipe_file", lambda self, path, value, **_: fails(path, value))
    with pytest.raises(StorageError, match=r"503.*run the same command again when it is back"):
        store.write("tokens/a", b"after")
    assert store.names("tokens") == []


@pytest.mark.parametrize("reaped", [True, False])
def test_left_overs_of_dead_processes_are_swept_and_others_stay(tmp_path: Path, reaped: bool) -> None:
    if not reaped and not Path("/proc/self/stat").exists():
        pytest.skip("no /proc")
    store, host = open_store(tmp_path), socket.gethostname()
    store.write("tokens/a", b"")
    dead = os.spawnlp(os.P_NOWAIT, "true", "true")
    if reaped:
        os.waitpid(dead, 0)
    else:
        while Path(f"/proc/{dead}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
            time.sleep(0.01)
    names = [f".a@{host}@{dead}@00.partial", f".a@{host}@{os.getppid()}@00.partial", ".a@elsewhere@1@00.partial"]
    for name in (*names, ".a@elsewhere@2@00.partial", ".unknown.partial"):
        (tmp_path / "tokens" / name).write_bytes(b"x")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / "tokens" / ".a@elsewhere@2@00.partial", (long_ago, long_ago))
    store.sweep()
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == sorted(
        [*names[1:], ".unknown.partial", "a"]
    )
    assert store.names("tokens") == ["a"]
    if not reaped:
        os.waitpid(dead, 0)


def test_storage_that_comes_back_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(patience.time, "sleep", waits.append)
    answers = iter([OSError("away"), TimeoutError(), ConnectionResetError(104, "reset")])

    def action() -> str:
        for error in answers:
            raise error
        return "here"

    assert patiently("x", action) == "here"
    assert waits == [0.25, 0.5, 1.0]


def test_what_waiting_does_not_change_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: pytest.fail("waited"))
    for error, message in (
        (FileNotFoundError(2, "No such file"), "put it back"),
        (PermissionError(13, "Permission denied"), "check the rights"),
        (OSError(28, "No space left on device"), "make room"),
    ):

        def action(error: OSError = error) -> None:
            raise error

        with pytest.raises(StorageError, match=message):
            patiently("x", action)
    monkeypatch.setenv(PATIENCE_VARIABLE, "long")
    with pytest.raises(DatasetError, match="take a number of seconds"):
        patience.patience_seconds()


def test_a_file_is_no_folder_and_unknown_file_systems_are_told(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(DatasetError, match="is a file; name a folder"):
        open_store(tmp_path / "x")
    with pytest.raises(DatasetError, match="nothing://x: cannot be opened"):
        open_store("nothing://x")
