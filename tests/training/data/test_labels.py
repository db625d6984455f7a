"""Class labels of training pictures: folders of folders, `.cls` members of tar shards, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from data_helpers import few_examples, labels, png, save, shard, values
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.training.data.labels import number_classes, parse_class_number
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.data.types import DataError


def test_the_first_folder_below_the_path_is_the_class(tmp_path: Path) -> None:
    save(tmp_path / "set" / "dog" / "1.png", 1)
    save(tmp_path / "set" / "cat" / "2.png", 2)
    save(tmp_path / "set" / "dog" / "cat" / "3.png", 3)
    shard(tmp_path / "set" / "emu" / "a.tar", {"cat/4.png": png(4)})
    save(tmp_path / "set" / "0.png", 5)
    pictures = PictureSet([tmp_path / "set"], labels=True)
    assert pictures.classes == ("cat", "dog", "emu")
    assert dict(zip(values(pictures), labels(pictures), strict=True)) == {1: 1, 2: 0, 3: 1, 4: 2, 5: None}


def test_several_folders_share_their_classes(tmp_path: Path) -> None:
    save(tmp_path / "one" / "cat" / "1.png", 1)
    save(tmp_path / "two" / "ant" / "2.png", 2)
    save(tmp_path / "two" / "cat" / "3.png", 3)
    pictures = PictureSet([tmp_path / "one", tmp_path / "two"], labels=True)
    assert (pictures.classes, values(pictures), labels(pictures)) == (("ant", "cat"), [1, 2, 3], [1, 0, 1])


def test_numbers_lie_beside_the_pictures_of_a_shard(tmp_path: Path) -> None:
    members = {"a.cls": b"3", "a.png": png(1), "x/b.v2.png": png(2), "x/b.v2.cls": b" 0\n", "b.png": png(3)}
    shard(tmp_path / "a.tar", members)
    pictures = PictureSet([tmp_path / "a.tar"], labels=True)
    assert pictures.classes == ("0", "1", "2", "3")
    assert (values(pictures), labels(pictures)) == ([1, 2, 3], [3, 0, None])


def test_numbers_in_a_shard_go_before_the_folder_that_it_lies_in(tmp_path: Path) -> None:
    shard(tmp_path / "train" / "a.tar", {"a.cls": b"1", "a.png": png(1)})
    pictures = PictureSet([tmp_path], labels=True)
    assert (pictures.classes, labels(pictures)) == (("0", "1"), [1])


def test_the_label_is_that_of_the_picture_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.png").write_bytes(b"no picture")
    save(tmp_path / "b" / "small.png", 1, (15, 90))
    save(tmp_path / "c" / "good.png", 2)
    pictures = PictureSet([tmp_path], labels=True)
    assert pictures.classes == ("a", "b", "c")
    assert labels(pictures) == [2, 2, 2]
    pixels, label = pictures.item(0)
    assert (int(pixels[0, 0, 0]), label) == (2, 2)


def test_labels_are_not_looked_for_unless_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.png", 1)
    shard(tmp_path / "dog" / "a.tar", {"a.png": png(2), "a.cls": b"no number"})
    pictures = PictureSet([tmp_path])
    assert (pictures.classes, values(pictures), labels(pictures)) == ((), [1, 2], [None, None])


def test_a_set_without_any_label(tmp_path: Path) -> None:
    save(tmp_path / "1.png", 1)
    with pytest.raises(DataError, match=r"^[^\n]*: the pictures have no class labels; understood are [^\n]*KEY\.cls"):
        PictureSet([tmp_path], labels=True)


def test_names_and_numbers_do_not_mix(tmp_path: Path) -> None:
    save(tmp_path / "cat" / "1.png", 1)
    shard(tmp_path / "a.tar", {"a.png": png(2), "a.cls": b"7"})
    with pytest.raises(DataError, match=r"some classes have names \(cat, ...\), others only numbers \(7, ...\)"):
        PictureSet([tmp_path], labels=True)


@pytest.mark.parametrize("content", [b"", b"cat", b"-1", b"1.0", b"100000", b"1 2", "٣".encode(), b"7" * 500])
def test_what_is_no_number_of_a_class(tmp_path: Path, content: bytes) -> None:
    shard(tmp_path / "a.tar", {"a.png": png(2), "a.cls": content})
    with pytest.raises(DataError, match=r"a\.tar:a\.cls: not the number of a class .*write a decimal integer"):
        PictureSet([tmp_path], labels=True)


def test_a_shard_that_ends_within_a_label(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    shard(path, {"a.png": png(2), "a.cls": b"1"})
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"a.cls") + 512])
    with pytest.raises(DataError, match=r"a\.tar: not a readable tar shard"):
        PictureSet([path], labels=True)


@few_examples
@given(st.integers(0, 99_999), st.sampled_from([b"%d", b"%d\n", b" %d\r\n", b"0%d"]))
def test_numbers_are_read_as_they_are_written(number: int, form: bytes) -> None:
    if number < 10_000 or form != b"0%d":
        assert parse_class_number(form % number, "a.cls") == number


NAMES = st.sampled_from(["cat", "Cat", "ant", "10", "9", "é", ""])


@few_examples
@given(st.lists(st.none() | NAMES, min_size=1), st.sets(NAMES, min_size=1))
def test_names_are_numbered_in_their_order(found: list[str | None], more: set[str]) -> None:
    numbers, names = number_classes(found, more)
    assert list(names) == sorted(more.union(name for name in found if name is not None))
    assert [None if number is None else names[number] for number in numbers] == found


@few_examples
@given(st.lists(st.integers(0, 50), min_size=1))
def test_numbers_stay(found: list[int]) -> None:
    numbers, names = number_classes(found)
    assert numbers == found
    assert names == tuple(map(str, range(max(found) + 1)))
