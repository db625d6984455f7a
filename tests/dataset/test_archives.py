"""Archives are whole or refused, and what is left out of them is counted."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from dataset_helpers import encoded, make_tar

from vqcodec.dataset.entries import Entry
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.files import MOST_RANGE_BYTES, Files
from vqcodec.dataset.sources import canonical, entries
from vqcodec.dataset.spec import TokenSpec


def listed(place: Path, files: Files | None = None, **changes: object) -> list[Entry]:
    return list(entries(canonical(place), TokenSpec(**changes), files or Files()))  # type: ignore[arg-type]


def headers_of(path: Path) -> list[int]:
    """Where the headers of members start."""
    with tarfile.open(path) as archive:
        return [info.offset for info in archive]


@pytest.mark.parametrize("member", [1, 5])
def test_a_header_that_is_damaged_is_not_the_end(tmp_path: Path, member: int) -> None:
    path = make_tar(tmp_path / "x.tar", 3)
    content = bytearray(path.read_bytes())
    content[headers_of(path)[member] + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"x\.tar: the archive is damaged after byte \d+"):
        listed(path)


@pytest.mark.parametrize("into", [0, 100, 512])
def test_an_archive_that_is_cut_anywhere_is_refused(tmp_path: Path, into: int) -> None:
    path = make_tar(tmp_path / "x.tar", 3)
    path.write_bytes(path.read_bytes()[: headers_of(path)[4] + into])
    with pytest.raises(DatasetError, match=r"x\.tar: the archive is (cut off|damaged after byte)"):
        listed(path)


def test_archives_one_after_the_other_are_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", 2)
    path.write_bytes(path.read_bytes() + make_tar(tmp_path / "y.tar", 2, first=2).read_bytes())
    with pytest.raises(DatasetError, match="another one was appended to it"):
        listed(path)


def test_links_and_members_that_are_too_large_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("a.png", tarfile.REGTYPE), ("b.png", tarfile.LNKTYPE), ("c.png", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "a.png"
            info.size = len(encoded(1)) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(encoded(1)))
        large = tarfile.TarInfo("d.png")
        large.size = MOST_RANGE_BYTES + 1
        header = large.tobuf()
        start = archive.offset
    with path.open("r+b") as file:  # sparse
        file.seek(start)
        file.write(header)
        file.truncate(start + 512 + MOST_RANGE_BYTES + 512 + 1024)
    files = Files()
    assert [entry.key for entry in listed(path, files)] == ["a"]
    assert files.passed_over == {"links in archives": 2, "of more than 2 GiB": 1}


def test_keys_come_from_what_stands_beside_a_picture(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "x.tar", 2)
    assert [entry.key for entry in listed(path, key="url")] == ["u0", "u1"]
    with pytest.raises(DatasetError, match=r"x\.tar#0000: has no typo; choose another --key"):
        listed(path, key="typo")
