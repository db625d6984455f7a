"""Sources: every kind of them, one order, and one line for what cannot be a source."""

from __future__ import annotations

import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from dataset_helpers import encoded, make_arrow, make_folder, make_parquet, make_tar

from vqcodec.dataset import patience, tables
from vqcodec.dataset.entries import Entry
from vqcodec.dataset.errors import DatasetError, StorageError
from vqcodec.dataset.files import Files
from vqcodec.dataset.reading import Row, pictures
from vqcodec.dataset.sources import canonical, entries
from vqcodec.dataset.spec import TokenSpec


def listed(place: Path, **changes: object) -> list[Entry]:
    return list(entries(canonical(place), TokenSpec(**changes), Files()))  # type: ignore[arg-type]


def contents(place: Path, **changes: object) -> list[bytes | None]:
    rows = [Row(canonical(place), each.path, each.kind, each.offset, each.length) for each in listed(place, **changes)]
    return list(pictures(Files(), rows, None))


def test_a_folder_is_listed_by_name_from_folder_to_folder(tmp_path: Path) -> None:
    for name in ("b/2.png", "b.png", "b/1.JPG", "a/z.webp", "a/note.md", ".hidden/x.png", "a/._z.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [entry.key for entry in listed(tmp_path)] == ["a/z.webp", "b/1.JPG", "b/2.png", "b.png"]
    assert [entry.label for entry in listed(tmp_path, labels="folder")] == ["a", "b", "b", None]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="no links")
def test_links_to_folders_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    make_folder(tmp_path / "far", 2)
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / "link").symlink_to(tmp_path / "far")
    assert [entry.key for entry in listed(tmp_path / "near")] == ["link/a/0000.png", "link/b/0001.png"]
    (tmp_path / "far" / "back").symlink_to(tmp_path / "near")
    with pytest.raises(DatasetError, match="a link to a folder that it lies in"):
        listed(tmp_path / "near")


def test_an_archive_has_its_pictures_with_what_stands_beside_them(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", 3)
    found = listed(path, labels="cls", keep=("caption", "url", "score"))
    assert [(entry.key, entry.label, entry.kept) for entry in found] == [
        (f"{number:04}", number % 3, (f"caption {number}", f"u{number}", number / 2)) for number in range(3)
    ]
    assert contents(path) == [encoded(number) for number in range(3)]
    assert [entry.key for entry in listed(tmp_path, key="path")] == [f"x.tar/{number:04}" for number in range(3)]


def test_an_archive_that_is_cut_off_or_compressed_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", 3)
    whole = path.read_bytes()
    path.write_bytes(whole[:700])
    with pytest.raises(DatasetError, match=r"x\.tar: .*(cut off|not a readable)"):
        listed(path)
    path.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(DatasetError, match=r"x\.tar: not a readable tar archive"):
        listed(path)


@pytest.mark.parametrize("struct", [False, True])
def test_parquet_files_have_bytes_or_the_hubs_struct(tmp_path: Path, struct: bool) -> None:
    path = make_parquet(tmp_path / "x.parquet", 5, struct=struct)
    found = listed(path, key="id", labels="kind", keep=("caption",))
    assert found[3][:1] + found[3][4:] == ("id-3", 3, -1, 1, ("caption 3",))
    assert listed(path)[4].key == "x.parquet#4"
    assert contents(path) == [encoded(number) for number in range(5)]
    rows = [Row(canonical(path), "x.parquet", "parquet", number, -1) for number in (1, 4)]
    assert list(pictures(Files(), rows, None)) == [encoded(1), encoded(4)]


def test_tables_go_on_where_storage_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, failures = make_parquet(tmp_path / "x.parquet", 7), iter([False, True, True, False, True, *[False] * 9])
    rows = [Row(canonical(path), "x.parquet", "parquet", number, -1) for number in range(7)]
    batches = tables._Parquet.batches

    def failing(self: tables._Parquet, *arguments: Any) -> Any:
        for found in batches(self, *arguments):
            if next(failures):
                raise OSError("503")
            yield found

    monkeypatch.setattr(tables._Parquet, "batches", failing)
    monkeypatch.setattr(patience.time, "sleep", lambda seconds: None)
    assert list(pictures(Files(), rows, None)) == [encoded(number) for number in range(7)]
    assert next(failures) is False
    monkeypatch.setattr(tables._Parquet, "batches", lambda *_: (_ for _ in [0]).throw(OSError("503")))
    with pytest.raises(StorageError, match=r"x\.parquet: cannot be listed \(503\)"):
        listed(path, key="id")


def test_a_table_that_is_damaged_in_the_middle_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_parquet(tmp_path / "x.parquet", 7)
    rows = [Row(canonical(path), "x.parquet", "parquet", number, -1) for number in range(7)]
    whole = bytearray(path.read_bytes())
    whole[200 : len(whole) // 2] = bytes(len(whole) // 2 - 200)
    path.write_bytes(whole)
    monkeypatch.setenv(patience.PATIENCE_VARIABLE, "0")
    with pytest.raises(DatasetError, match=r"x\.parquet: "):
        list(pictures(Files(), rows, None))


def test_a_dataset_on_disk_is_read(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    make_arrow(tmp_path / "train" / "data-00000-of-00001.arrow", 5)
    (tmp_path / "train" / "cache-1.arrow").write_bytes(b"no matter")
    assert [entry.key for entry in listed(tmp_path, key="id")] == [f"id-{number}" for number in range(5)]
    assert contents(tmp_path) == [encoded(number) for number in range(5)]


def test_lists_name_files_beside_them(tmp_path: Path) -> None:
    make_folder(tmp_path / "p", 2)
    names = ["p/b/0001.png", "p/a/0000.png"]
    (tmp_path / "l.txt").write_text("\n".join(names))
    (tmp_path / "l.csv").write_text("file,kind,name\n" + "".join(f"{name},{n},n{n}\n" for n, name in enumerate(names)))
    records = [{"path": name, "kind": n, "name": f"n{n}"} for n, name in enumerate(names)]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, records)))
    assert [entry.key for entry in listed(tmp_path / "l.txt")] == names
    for suffix in ("csv", "jsonl"):
        found = listed(tmp_path / f"l.{suffix}", key="name", labels="kind", keep=("kind",))
        assert [(entry.key, entry.label) for entry in found] == [("n0", 0), ("n1", 1)]
        whole = [(tmp_path / name).read_bytes() for name in names]
        assert contents(tmp_path / f"l.{suffix}") == whole


def test_kinds_of_sources_can_lie_in_one_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "m", 2)
    make_tar(tmp_path / "m" / "t.tar", 2)
    make_parquet(tmp_path / "m" / "p.parquet", 2)
    expected = [(tmp_path / "m" / name).read_bytes() for name in ("a/0000.png", "b/0001.png")]
    assert contents(tmp_path / "m") == [*expected, *[encoded(0), encoded(1)] * 2]


def test_fsspec_file_systems_are_sources(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    make_folder(tmp_path, 5)
    make_tar(tmp_path / "t.tar", 3)
    for path in tmp_path.rglob("*.*"):
        memory.pipe_file(f"/sources/{path.relative_to(tmp_path).as_posix()}", path.read_bytes())
    there = list(entries("memory://sources", TokenSpec(), Files()))
    assert [entry.key for entry in there] == [entry.key for entry in listed(tmp_path)]
    rows = [Row("memory://sources", each.path, each.kind, each.offset, each.length) for each in there]
    assert list(pictures(Files(), rows, None)) == contents(tmp_path)
    memory.rm("/sources", recursive=True)


@pytest.mark.parametrize(
    ("name", "text", "changes", "message"),
    [
        ("l.txt", "https://x.org/1.png", {}, "img2dataset"),
        ("l.csv", "name\nx", {}, "column of paths with --image"),
        ("l.jsonl", "[1]", {}, r"l\.jsonl:1: is no JSON object"),
        ("l.jsonl", '{"path": "x"}', {"labels": "kind"}, r"l\.jsonl:1: has no kind"),
        ("p.parquet", "no table", {}, r"p\.parquet: not a readable parquet file"),
        ("p.arrow", "no table", {}, r"p\.arrow: not a readable arrow file"),
        ("x.png", "", {"keep": ("caption",)}, "a picture has no column caption"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    tmp_path: Path, name: str, text: str, changes: dict[str, object], message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError, match=message) as caught:
        listed(tmp_path / name, **changes)
    assert "\n" not in str(caught.value)


def test_columns_that_are_not_there_or_hold_no_pictures_are_named(tmp_path: Path) -> None:
    path = make_parquet(tmp_path / "x.parquet")
    for changes, message in (
        ({"image": "caption"}, "column caption holds string"),
        ({"image": "photo"}, "no column photo; it has id, picture"),
        ({"key": "name"}, "no column name; it has"),
    ):
        with pytest.raises(DatasetError, match=message):
            listed(path, **changes)


def test_no_source_is_not_silently_empty(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such file or folder"):
        listed(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="img2dataset"):
        canonical("https://example.org/photos")


def test_what_looks_like_a_picture_and_is_none_is_counted(tmp_path: Path) -> None:
    make_folder(tmp_path, 1)
    (tmp_path / "a.jpe").write_bytes(encoded(1))
    (tmp_path / "b.exr").write_bytes(b"x")
    (tmp_path / "c.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "d.png").symlink_to(tmp_path / "d.png")
    os.mkfifo(tmp_path / "e.png")
    (tmp_path / "f.txt").write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/g\xff.png")).write_bytes(encoded(1))
    with tarfile.open(make_tar(tmp_path / "x.tar", 1), "a") as archive:
        archive.addfile(tarfile.TarInfo("more.svg"))
    files = Files()
    assert [each.key for each in entries(canonical(tmp_path), TokenSpec(), files)] == ["a/0000.png", "a.jpe", "0000"]
    assert files.passed_over == {
        ".exr": 1,
        ".svg": 1,
        "links to nothing": 2,
        "that are no files": 1,
        "with names that are not UTF-8": 1,
    }


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "path,label\na.png,1,2\n", "a.csv:2: has no caption; it has path, label, None"),
        ("a.csv", f"path,caption\na.png,{'x' * 200_000}\n", "a.csv: is no CSV after line 1"),
        ("a.jsonl", "[" * 100_000, "a.jsonl:1: is no JSON"),
        ("a.jsonl", '{"path": "a\\u0000.png", "caption": ""}', "a.jsonl:1: names no picture"),
        ("a.jsonl", '{"path": "a.png", "caption": "", "id": null}', "a.jsonl:1: has no id; choose another --key"),
    ],
)
def test_rows_of_lists_that_cannot_be(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DatasetError) as caught:
        listed(tmp_path / name, keep=("caption",), key="id" if '"id"' in text else None)
    assert told in str(caught.value)


def test_objects_in_lists_are_kept_as_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '{"path": "a.png", "meta": {"a": 1}, "sides": [1, 2]}\n{"path": "b.png", "meta": [{"b": "ü"}], "sides": []}'
    )
    found = [entry.kept for entry in listed(tmp_path / "a.jsonl", keep=("meta", "sides"))]
    assert found == [('{"a": 1}', [1, 2]), ('[{"b": "ü"}]', [])]
