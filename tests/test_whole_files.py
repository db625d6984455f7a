"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vqcodec import whole_files
from vqcodec.whole_files import abandon_all, delete_left_overs, fill, replacing, replacing_several, write_whole


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fail(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_written_over_what_was_there(tmp_path: Path, durable: bool) -> None:
    write_whole(tmp_path / "page.html", b"first", durable=durable)
    write_whole(tmp_path / "page.html", "second, é", durable=durable)
    assert contents(tmp_path) == {"page.html": "second, é".encode()}


def test_what_fails_on_the_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(TypeError), replacing(path) as temporary:
        temporary.write_bytes("no bytes")  # type: ignore[arg-type]
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"after", durable=True)
    assert contents(tmp_path) == {"file": b"before"}


@pytest.mark.skipif(os.name != "posix", reason="permissions and links as on Unix")
def test_it_gets_the_permissions_and_follows_the_links_that_a_plain_write_would(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    (tmp_path / "private").touch(mode=0o400)
    write_whole(tmp_path / "private", b"x")
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o400
    (tmp_path / "link").symlink_to("real")
    write_whole(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"x"
    assert (tmp_path / "real").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_name_may_be_as_long_as_any(tmp_path: Path) -> None:
    name = "é" * 120 + ".vq"
    write_whole(tmp_path / name, b"x")
    assert contents(tmp_path) == {name: b"x"}


def test_left_overs_go_and_others_stay(tmp_path: Path) -> None:
    for name in (".run-1-0f.partial", ".other-0f.partial", "run-1.partial"):
        (tmp_path / name).touch()
    delete_left_overs(tmp_path, "run-")
    assert sorted(contents(tmp_path)) == [".other-0f.partial", "run-1.partial"]


def test_several_files_come_together_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "model"
    with pytest.raises(TypeError), replacing_several(folder, ["weights", "card"]) as draft:
        (draft / "weights").write_bytes("no bytes")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError), replacing_several(folder, ["weights", "card"]) as draft:
        (draft / "weights").write_bytes(b"all")
    assert not folder.exists()
    for text in (b"1", b"2"):
        with replacing_several(folder, ["weights", "card"]) as draft:
            (draft / "weights").write_bytes(text)
            (draft / "card").write_bytes(text)
        assert contents(folder) == {"weights": text, "card": text}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model"]


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_a_group_that_the_user_is_not_in_loses_its_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise PermissionError

    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o664)
    monkeypatch.setattr(os, "chown", refuse)
    write_whole(path, "new")
    assert path.stat().st_mode & 0o777 == 0o604


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_that_may_not_be_written_is_replaced(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    path.chmod(0o444)
    write_whole(path, "new", durable=durable)
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o444


def test_what_is_abandoned_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole_files, "_under_way", set())

    def write_late(path: Path) -> None:
        with replacing(path) as temporary:
            abandon_all()
            fill(temporary, b"late")

    with pytest.raises(FileNotFoundError):
        write_late(tmp_path / "file")
    with pytest.raises(InterruptedError):
        write_whole(tmp_path / "file", b"later")
    assert contents(tmp_path) == {}
