"""Folders as people have them: links, odd names, system files, what cannot be read, and the second run."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result

from vqcodec.pictures import further_readers

pytestmark = pytest.mark.usefixtures("installed")


def encode(*arguments: object) -> Result:
    return vqcodec("encode", "--model", "tiny", *arguments)


def picture_named(path: Path, kind: str = "PNG") -> Path:
    """A picture under a name that does not say its type."""
    made = make_picture(path.with_name("x." + kind.lower()))
    return made.rename(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


@pytest.fixture
def no_further_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further_readers, "is_there", lambda kind: False)


def test_pictures_of_all_names_are_found(folder: Path, tmp_path: Path) -> None:
    names = ["a.jfif", "b.jpe", "c.pbm", "d.apng", "e.mpo", "f.PNM", "g.dib"]
    for name in names:
        kind = {".pbm": "PPM", ".dib": "BMP", ".pnm": "PPM", ".apng": "PNG"}.get(Path(name).suffix.lower(), "JPEG")
        picture_named(folder / name, kind)
    result = encode(folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path / "out") == [f"{name[0]}.vq" for name in names]


@pytest.mark.usefixtures("no_further_readers")
def test_what_cannot_be_read_is_counted_in_one_line(folder: Path, tmp_path: Path) -> None:
    make_picture(folder / "a.png")
    for name in ("1.heic", "2.HEIC", "deep/3.dng", "4.jxl", "5.svg", "6.txt", "7"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "gone.png").symlink_to("nowhere")
    result = encode(folder, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert result.stderr == (
        f"warning: {folder}: passed over: 1 .dng, 2 .heic, 1 .jxl, 1 .svg, 1 links to nothing "
        "(pip install 'vqcodec[formats]' for .dng .heic .jxl)\n"
    )
    strict = encode(folder, "-o", tmp_path / "strict", "--strict")
    assert strict.exit_code == 1
    assert strict.stderr == result.stderr.replace("warning", "error")
    assert names_in(tmp_path / "strict") == names_in(tmp_path / "out") == ["a.vq"]
    (folder / "a.png").unlink()
    assert only_error(encode(folder, "-o", tmp_path / "out")).startswith(f"error: {folder}: no pictures there; passed")


def test_system_files_are_no_pictures(folder: Path, tmp_path: Path) -> None:
    make_picture(folder / "a.png")
    for name in ("._a.png", "__MACOSX/a.png", "@eaDir/a.png", ".Trash-1000/files/a.png", "Thumbs.db"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"none")
    result = encode(folder, "-o", tmp_path / "out", "--strict")
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path / "out") == ["a.vq"]


@pytest.mark.skipif(os.name != "posix", reason="links as on Unix")
def test_links_are_followed_and_circles_are_not(folder: Path, tmp_path: Path) -> None:
    elsewhere = make_picture(tmp_path / "elsewhere" / "b.png").parent
    make_picture(folder / "a.png")
    (folder / "c.png").symlink_to(folder / "a.png")
    (folder / "linked").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(folder)
    result = encode(folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path / "out") == ["a.vq", "c.vq", "linked/b.vq"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_a_folder_that_cannot_be_read_is_counted(folder: Path, tmp_path: Path) -> None:
    make_picture(folder / "a.png")
    (folder / "closed").mkdir(mode=0)
    result = encode(folder, "-o", tmp_path / "out")
    assert "passed over: 1 folders that cannot be read" in result.stderr


def test_names_keep_what_is_no_suffix(folder: Path, tmp_path: Path) -> None:
    picture = picture_named(tmp_path / "photo v1.5 final")
    assert encode(picture, "-o", tmp_path / "out").exit_code == 0
    assert names_in(tmp_path / "out") == ["photo v1.5 final.vq"]
    assert vqcodec("decode", tmp_path / "out", "-o", tmp_path / "back").exit_code == 0
    assert names_in(tmp_path / "back") == ["photo v1.5 final.png"]


def test_names_that_would_become_the_same_keep_their_suffix(folder: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg", "b.png", "deep/a.png"):
        make_picture(folder / name)
    result = encode(folder, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path / "out") == ["a.jpg.vq", "a.png.vq", "b.vq", "deep/a.vq"]


def test_two_folders_with_the_same_names_lose_no_more_than_those(folder: Path, tmp_path: Path) -> None:
    make_picture(folder / "a.png")
    other = make_picture(tmp_path / "other" / "a.png").parent
    make_picture(other / "b.png")
    result = encode(folder, other, "-o", tmp_path / "out")
    assert result.exit_code == 1
    first, total = result.stderr.splitlines()
    assert first.startswith(f"error: {other / 'a.png'}: would become ")
    assert total == "error: 1 of 3 files failed"
    assert names_in(tmp_path / "out") == ["a.png.vq", "b.vq"]


@pytest.mark.parametrize("name", ["b.heic", "b.jxl", "b.dng", "b.jfif", "b.svg", "b.PNG"])
def test_a_stream_never_gets_the_name_of_a_picture(name: str, photo: Path, tmp_path: Path) -> None:
    result = encode(photo, tmp_path / name)
    assert result.exit_code == 2
    assert "is a picture's name" in result.stderr


# ---- the second run ----


def test_a_second_run_makes_what_is_new_changed_or_broken(folder: Path, tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b", "c", "d")):
        make_picture(folder / f"{name}.png", seed=number)
    out = tmp_path / "out"
    assert encode(folder, "-o", out).exit_code == 0
    before = {name: (out / name).read_bytes() for name in names_in(out)}
    make_picture(folder / "b.png", seed=9)
    later = (out / "b.vq").stat().st_mtime + 5
    os.utime(folder / "b.png", (later, later))
    (out / "c.vq").write_bytes(before["c.vq"][:20])
    (out / "d.vq").unlink()
    make_picture(folder / "e.png")
    result = encode(folder, "-o", out, "--skip-existing", "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    values = [json.loads(line) for line in result.stdout.splitlines()]
    assert [Path(each["input"]).name for each in values if each.get("skipped")] == ["a.png"]
    assert names_in(out) == ["a.vq", "b.vq", "c.vq", "d.vq", "e.vq"]
    assert [(out / f"{name}.vq").read_bytes() == before[f"{name}.vq"] for name in "abcd"] == [True, False, True, True]


def test_dates_are_preserved_both_ways_and_skip_by_them(folder: Path, tmp_path: Path) -> None:
    picture = make_picture(folder / "a.png")
    os.utime(picture, ns=(10**18, 10**18 + 123_456_789))
    out, back = tmp_path / "out", tmp_path / "back"
    assert encode(folder, "-o", out, "--preserve-dates").exit_code == 0
    assert vqcodec("decode", out, "-o", back, "--preserve-dates").exit_code == 0
    for file in (out / "a.vq", back / "a.png"):
        assert file.stat().st_mtime_ns == picture.stat().st_mtime_ns
    assert "skipped" in encode(folder, "-o", out, "--skip-existing").stdout
    assert "skipped" in vqcodec("decode", out, "-o", back, "--skip-existing").stdout
    shutil.rmtree(back)
    assert "skipped" not in vqcodec("decode", out, "-o", back, "--skip-existing").stdout
