"""MNIST, Fashion-MNIST and CIFAR-10 from their files: what is recognised, taken and refused."""

from __future__ import annotations

import gzip
import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from data_helpers import (
    cifar_content,
    cifar_records,
    few_examples,
    idx,
    labels,
    pack,
    png,
    save,
    save_batches,
    save_digits,
    save_idx,
    shard,
    small_photos,
    values,
)
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.training.data import toy_sets
from vqcodec.training.data.crops import CropBatches, CropConfig
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.data.toy_sets import CIFAR10_CLASSES, is_toy_file, read_toy_file
from vqcodec.training.data.types import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


# ---- IDX ----


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_digits_from_a_file_or_the_folder_that_holds_it(tmp_path: Path, suffix: str) -> None:
    path = save_digits(tmp_path / "MNIST" / "raw", suffix)
    for place in (path, path.parent, tmp_path):
        pictures = PictureSet([place], labels=True, minimum_side=32)
        assert (values(pictures), labels(pictures)) == ([0, 1, 2], [9, 8, 7])
        assert pictures.classes == tuple("0123456789")
        assert all(pictures[index].shape == (28, 28, 3) for index in range(3))
        assert pictures[0].dtype == np.uint8


@few_examples
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)), st.sampled_from(["", ".gz"]), st.integers(0, 9)
)
def test_every_idx_file_comes_back(
    tmp_path_factory: pytest.TempPathFactory, shape: tuple[int, int, int], suffix: str, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("idx")
    rng = np.random.default_rng(seed)
    pixels, numbers = rng.integers(256, size=shape, dtype=np.uint8), rng.integers(256, size=shape[0], dtype=np.uint8)
    path = save_idx(folder, f"x-images.idx3-ubyte{suffix}", pixels)
    save_idx(folder, "x-labels.idx1-ubyte", numbers)
    found = list(read_toy_file(path, labels=True))
    assert np.array_equal(np.stack([picture.load() for picture in found]), np.repeat(pixels[..., None], 3, axis=3))
    assert [picture.label for picture in found] == numbers.tolist()


def test_the_training_part_of_a_folder_is_taken_and_the_test_part_when_named(tmp_path: Path) -> None:
    save_digits(tmp_path, ".gz", "train", first=10)
    save_digits(tmp_path, "", "t10k", first=20)
    assert values(PictureSet([tmp_path])) == [10, 11, 12]
    assert values(PictureSet([tmp_path / "t10k-images-idx3-ubyte"], labels=True)) == [20, 21, 22]


def test_a_test_part_alone_is_taken(tmp_path: Path) -> None:
    save_digits(tmp_path, "", "t10k", first=20)
    assert values(PictureSet([tmp_path])) == [20, 21, 22]


def test_a_file_and_its_compressed_twin_count_once(tmp_path: Path) -> None:
    save_digits(tmp_path, ".gz")
    save_digits(tmp_path, "")
    assert values(PictureSet([tmp_path])) == [0, 1, 2]


def test_a_gz_that_a_browser_unpacked(tmp_path: Path) -> None:
    save_digits(tmp_path).rename(tmp_path / f"{IMAGES}.gz")
    assert values(PictureSet([tmp_path], labels=True)) == [0, 1, 2]


def test_digits_beside_photos(tmp_path: Path) -> None:
    save_digits(tmp_path / "digits")
    save(tmp_path / "photos" / "a.png", 99)
    assert values(PictureSet([tmp_path])) == [0, 1, 2, 99]


def test_digits_become_crops_that_are_larger(tmp_path: Path) -> None:
    pictures = PictureSet([save_digits(tmp_path)], labels=True)
    crop = CropConfig(size=32, resized=0, pad=True, flip=False)
    batch, numbers = CropBatches(pictures, batch_size=6, crop=crop, seed=0).with_labels(0)
    assert batch.shape == (6, 32, 32, 3)
    assert np.array_equal(9 - batch[:, 0, 0, 0], numbers)


def test_labels_are_needed_only_when_asked_for(tmp_path: Path) -> None:
    path = save_digits(tmp_path)
    (tmp_path / LABELS).unlink()
    assert labels(PictureSet([path])) == [None] * 3
    with pytest.raises(DataError, match=rf"{IMAGES}: its labels are missing; put {LABELS} or {LABELS}\.gz beside it"):
        PictureSet([path], labels=True)


def test_labels_without_pictures(tmp_path: Path) -> None:
    save_digits(tmp_path).unlink()
    with pytest.raises(DataError, match=f"{LABELS}: holds the labels alone; give the file of the images"):
        PictureSet([tmp_path / LABELS])
    with pytest.raises(DataError, match=r"no pictures and no tar shards .* nor MNIST"):
        PictureSet([tmp_path])


def test_labels_of_another_number_of_pictures(tmp_path: Path) -> None:
    path = save_digits(tmp_path)
    save_idx(tmp_path, LABELS, np.zeros(4, np.uint8))
    with pytest.raises(DataError, match=f"{LABELS}: 4 labels for the 3 pictures of {IMAGES}; download both again"):
        PictureSet([path], labels=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file of bytes in 3 dimensions"),
        (b"<html>not found</html>", "not an IDX file"),
        (idx(np.zeros(40, np.uint8)), "not an IDX file"),
        (idx(np.zeros((2, 5, 5), np.uint8))[:-1], "its header claims 50 bytes, there are 49"),
        (idx(np.zeros((2, 5, 5), np.uint8)) + b"x", "its header claims 50 bytes, there are more"),
        (idx(np.zeros((0, 5, 5), np.uint8)), r"its header claims 0 bytes of shape \(0, 5, 5\)"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12, "its header claims [0-9]{20,} bytes"),
        (bytes([0, 0, 8, 3]) + b"\0\0\xff\xff\0\0\0\xff\0\0\0\xff", "its header claims 4261413375 bytes, there are 0"),
    ],
    ids=["empty", "a page", "labels", "short", "long", "no pictures", "absurd", "a lie"],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_an_idx_file_that_is_wrong(tmp_path: Path, content: bytes, message: str, is_compressed: bool) -> None:
    path = tmp_path / IMAGES
    path.write_bytes(gzip.compress(content) if is_compressed else content)
    with pytest.raises(DataError, match=rf"^[^\n]*{IMAGES}: {message}[^\n]*; download it again$"):
        PictureSet([path])


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_header_that_lies_takes_no_memory(tmp_path: Path, is_compressed: bool) -> None:
    content = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**20, 32, 32)
    path = tmp_path / IMAGES
    path.write_bytes(gzip.compress(content) if is_compressed else content)
    tracemalloc.start()
    with pytest.raises(DataError, match="claims 1073741824 bytes, there are 0"):
        PictureSet([path])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("change", ["cut", "flipped", "header"])
def test_a_compressed_file_that_is_damaged(tmp_path: Path, change: str) -> None:
    path = save_digits(tmp_path, ".gz")
    content = bytearray(path.read_bytes())
    if change == "cut":
        del content[len(content) // 2 :]
    else:
        content[-5 if change == "flipped" else 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"^[^\n]*{IMAGES}\.gz: damaged or cut off [^\n]*; download it again$"):
        PictureSet([path])


# ---- CIFAR-10 ----


@pytest.mark.parametrize("is_binary", [True, False])
def test_both_versions_of_cifar_from_folder_file_and_archive(tmp_path: Path, is_binary: bool) -> None:
    folder = tmp_path / "unpacked"
    batches = save_batches(folder, is_binary)
    archive = pack(folder, is_binary)
    test_file = next(folder.glob("test_batch*"))
    for place, names in (
        (folder, ["data_batch_1", "data_batch_2"]),
        (archive, ["data_batch_1", "data_batch_2"]),
        (test_file, ["test_batch"]),
    ):
        pictures = PictureSet([place], labels=True, minimum_side=64)
        assert pictures.classes == CIFAR10_CLASSES
        for offset, (pixels, numbers) in enumerate(batches[name] for name in names):
            for index in range(4):
                found, label = pictures.item(4 * offset + index)
                assert np.array_equal(found, pixels[index])
                assert label == numbers[index]
        assert len(pictures) == 4 * len(names)


@pytest.mark.parametrize("is_binary", [True, False])
def test_an_archive_and_its_unpacked_folder_count_once(tmp_path: Path, is_binary: bool) -> None:
    folder = tmp_path / ("cifar-10-batches-bin" if is_binary else "cifar-10-batches-py")
    save_batches(folder, is_binary)
    pack(folder, is_binary)
    assert len(PictureSet([tmp_path])) == 8


def test_classes_keep_their_numbers_where_some_are_missing(tmp_path: Path) -> None:
    pixels, _ = small_photos(2, 0)
    (tmp_path / "data_batch_1.bin").write_bytes(cifar_records(pixels, np.array([9, 3], np.uint8)))
    pictures = PictureSet([tmp_path], labels=True)
    assert [pictures.classes[label or 0] for label in labels(pictures)] == ["truck", "cat"]
    assert labels(pictures) == [9, 3]


def test_cifar_joins_folders_of_the_same_names_and_not_numbers(tmp_path: Path) -> None:
    save_batches(tmp_path / "cifar", is_binary=True)
    save(tmp_path / "photos" / "cat" / "a.png", 1)
    pictures = PictureSet([tmp_path / "photos", tmp_path / "cifar"], labels=True)
    assert (pictures.classes, pictures.label(0)) == (CIFAR10_CLASSES, 3)
    save_digits(tmp_path / "digits")
    with pytest.raises(DataError, match="some classes have names"):
        PictureSet([tmp_path / "cifar", tmp_path / "digits"], labels=True)


@pytest.mark.parametrize(
    "content", [b"", cifar_records(*small_photos(2, 0))[:-1], png(1)], ids=["empty", "short", "a picture"]
)
def test_a_binary_batch_of_another_length(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(DataError, match=r"data_batch_1\.bin: \d+ bytes are not records of 3073; download it again"):
        PictureSet([tmp_path])


@pytest.mark.parametrize("is_binary", [True, False])
def test_a_batch_with_a_class_that_does_not_exist(tmp_path: Path, is_binary: bool) -> None:
    pixels, numbers = small_photos(3, 0)[0], np.array([1, 10, 2], np.uint8)
    content = cifar_records(pixels, numbers) if is_binary else pickle.dumps(cifar_content(pixels, numbers), 4)
    path = tmp_path / ("test_batch.bin" if is_binary else "test_batch")
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path.name}: its labels are not one of 0 to 9 for each picture; download"):
        PictureSet([path])


def test_a_batch_with_fewer_labels_than_pictures(tmp_path: Path) -> None:
    content = cifar_content(*small_photos(3, 0)) | {b"labels": [1, 2]}
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(content, 4))
    with pytest.raises(DataError, match="data_batch_1: its labels are not one of 0 to 9 for each picture"):
        PictureSet([tmp_path])


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.98])
def test_an_archive_that_is_cut_off(tmp_path: Path, kept: float) -> None:
    save_batches(tmp_path / "unpacked", is_binary=True)
    archive = pack(tmp_path / "unpacked", is_binary=True)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=rf"^[^\n]*{archive.name}: damaged or cut off [^\n]*; download it again$"):
        PictureSet([archive])


def test_an_archive_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "cifar-10-binary.tar.gz"
    shard(path, {"cifar-10-batches-bin/test_batch.bin": b"x"}, "w:gz")
    with pytest.raises(DataError, match=rf"{path.name}: no data_batch files inside; download it again"):
        PictureSet([path])
    shard(path, {"data_batch_1.bin": b"x"}, "w:gz")
    with pytest.raises(DataError, match=rf"{path.name}:data_batch_1\.bin: 1 bytes are not records"):
        PictureSet([path])


def test_an_archive_that_would_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_batches(tmp_path / "unpacked", is_binary=True)
    archive = pack(tmp_path / "unpacked", is_binary=True)
    monkeypatch.setattr(toy_sets, "MAX_TOY_BYTES", 2 * 4 * 3073 - 1)
    with pytest.raises(DataError, match=rf"{archive.name}: claims to hold more than 24583 bytes; download it again"):
        PictureSet([archive])


# ---- names ----


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        (IMAGES, True),
        ("t10k-labels.idx1-ubyte.gz", True),
        ("data_batch_5", True),
        ("test_batch.bin", True),
        ("cifar-10-python.tar.gz", True),
        ("data_batch_5.png", False),
        ("batches.meta", False),
        ("cifar-100-python.tar.gz", False),
        ("train-images-idx3-ubyte.png", False),
    ],
)
def test_files_are_known_by_their_names(name: str, is_known: bool) -> None:
    assert is_toy_file(Path("folder") / name) == is_known
