"""Training pictures: folders and shards, what is skipped, and batches that depend on (seed, step) alone."""

from __future__ import annotations

import gzip
import hashlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_helpers import few_examples, flat, labels, png, save, shard, values
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vqcodec.training.data.crops import UNLABELLED, CropBatches, CropConfig, random_crop
from vqcodec.training.data.pictures import ArrayPictures, PictureSet, usual_cache_bytes
from vqcodec.training.data.types import DataError

# ---- where pictures are found ----


def test_nested_folders_shards_and_single_files(tmp_path: Path) -> None:
    save(tmp_path / "a" / "b" / "c" / "1.png", 1)
    save(tmp_path / "a" / "2.BMP", 2)
    (tmp_path / "a" / "notes.txt").write_text("no picture")
    shard(tmp_path / "a" / "z.tar", {"x/3.png": png(3), "labels.json": b"{}", "4.png": png(4)})
    save(tmp_path / "5.png", 5)
    assert values(PictureSet([tmp_path / "a", str(tmp_path / "5.png")])) == [2, 1, 3, 4, 5]
    assert values(PictureSet([tmp_path / "a" / "z.tar"])) == [3, 4]


def test_a_folder_with_the_name_of_a_picture_is_looked_into_once(tmp_path: Path) -> None:
    save(tmp_path / "a.png" / "1.png", 1)
    save(tmp_path / "b.tar" / "2.png", 2)
    assert values(PictureSet([tmp_path])) == [1, 2]


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    for mode in ("L", "LA", "P", "1", "RGBA", "CMYK"):
        path = tmp_path / f"{mode}.tif"
        Image.fromarray(flat(255)).convert("L" if mode == "LA" else mode).convert(mode).save(path)
        assert np.array_equal(PictureSet([path])[0], flat(255)), mode


def test_no_pictures(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        PictureSet([tmp_path / "none"])
    with pytest.raises(DataError, match="no pictures and no tar shards"):
        PictureSet([tmp_path])
    shard(tmp_path / "empty.tar", {})
    with pytest.raises(DataError, match=r"empty\.tar: no pictures"):
        PictureSet([tmp_path / "empty.tar"])
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 200)
    shard(tmp_path / "packed.tar", {"1.png": png(1)})
    (tmp_path / "packed.tar").write_bytes(gzip.compress((tmp_path / "packed.tar").read_bytes()))
    for name in ("broken", "packed"):
        with pytest.raises(DataError, match=rf"{name}\.tar: not a readable tar shard"):
            PictureSet([tmp_path / f"{name}.tar"])


# ---- what is skipped ----


def test_bad_pictures_are_named_once_and_replaced_by_their_neighbour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "1.png", 1)
    (tmp_path / "2.png").write_bytes(b"no picture")
    (tmp_path / "3.png").write_bytes(png(3)[:60])
    save(tmp_path / "4.png", 4, (15, 90))
    save(tmp_path / "5.png", 5)
    (tmp_path / "6.png").touch()
    pictures = PictureSet([tmp_path])
    with caplog.at_level(logging.WARNING):
        assert values(pictures) == values(pictures) == [1, 5, 5, 5, 5, 1]
        assert [int(pixels[0, 0, 0]) for pixels in pictures] == [1, 5]
    lines = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in lines] == [str(tmp_path / f"{number}.png") for number in (2, 3, 4, 6)]
    assert all("skipped, cannot be read (" in lines[number] for number in (0, 1, 3))
    assert lines[2].endswith("skipped, a side is shorter than 16 pixels")


def test_a_bad_picture_of_a_shard_is_named_with_its_shard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shard(tmp_path / "a.tar", {"bad.png": b"x", "good.png": png(7)})
    assert values(PictureSet([tmp_path])) == [7, 7]
    assert caplog.records[0].getMessage().startswith(f"{tmp_path / 'a.tar'}:bad.png: skipped")


def test_whatever_a_reader_raises_is_a_skipped_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path / "1.png", 1)
    pictures = PictureSet([tmp_path])
    for number, error in enumerate((RuntimeError("a"), SyntaxError("b"), ValueError("c"))):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        pictures = PictureSet([tmp_path])
        with monkeypatch.context() as patch:
            patch.setattr(Image, "open", fail)
            with pytest.raises(DataError, match="none of the training pictures can be used"):
                pictures[0]
        message = caplog.records[number].getMessage()
        assert message.startswith(f"{tmp_path / '1.png'}: skipped")
        assert f"({error})" in message


def test_a_picture_that_vanishes_is_skipped(tmp_path: Path) -> None:
    for number in (1, 2):
        save(tmp_path / f"{number}.png", number)
    pictures = PictureSet([tmp_path])
    (tmp_path / "1.png").unlink()
    assert values(pictures) == [2, 2]


@pytest.mark.parametrize(("cache_bytes", "reads"), [(0, 6), (40 * 50 * 3, 5), (2 * 40 * 50 * 3 - 1, 5), (10**6, 3)])
def test_the_cache_ends_at_its_limit(
    tmp_path: Path, cache_bytes: int, reads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", number)
    pictures = PictureSet([tmp_path], cache_bytes=cache_bytes)
    opened = []
    original = Image.open
    monkeypatch.setattr(Image, "open", lambda *given: opened.append(1) or original(*given))
    assert values(pictures) == values(pictures) == [0, 1, 2]
    assert len(opened) == reads


# ---- crops ----


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, x * 0], axis=2).astype(np.uint8)


def test_a_crop_is_a_part_of_the_picture_mirrored_half_of_the_time() -> None:
    rng = np.random.default_rng(0)
    mirrored = 0
    for _ in range(200):
        crop = random_crop(ramp(60, 90), CropConfig(size=32, resized=0), rng)
        assert crop.shape == (32, 32, 3)
        steps = np.diff(crop[0, :, 0].astype(int))
        assert set(steps.tolist()) in ({1}, {-1})
        assert (np.diff(crop[:, 0, 1].astype(int)) == 1).all()
        mirrored += int(steps[0] == -1)
    assert 70 < mirrored < 130


def test_resized_crops_cover_the_sizes_asked_for() -> None:
    rng = np.random.default_rng(0)
    config = CropConfig(size=32, resized=1, smallest=0.5, largest=2)
    covered = [int(np.ptp(random_crop(ramp(100, 120), config, rng)[16, :, 0])) for _ in range(200)]
    assert min(covered) >= 14
    assert max(covered) <= 64
    assert min(covered) < 20
    assert max(covered) > 55


def test_a_picture_smaller_than_the_crop_is_enlarged() -> None:
    crop = random_crop(flat(9, (20, 50)), CropConfig(size=64, resized=0), np.random.default_rng(0))
    assert np.array_equal(crop, flat(9, (64, 64)))


def test_the_default_crops_and_what_they_draw_stay_as_they_are() -> None:
    """Runs that were begun by an older version must resume to the same bits."""
    rng = np.random.default_rng(7)
    crops = [random_crop(ramp(60, 90), CropConfig(size=32, resized=0), rng) for _ in range(50)]
    assert hashlib.sha256(np.stack(crops).tobytes()).hexdigest().startswith("dd3da0a171c468dd")
    rng = np.random.default_rng(7)
    for _ in range(50):
        random_crop(ramp(60, 90), CropConfig(size=32), rng)
    assert rng.integers(2**32) == 3156764714


def test_settings_of_an_older_checkpoint_mean_what_they_meant() -> None:
    assert CropConfig(size=128, resized=0.5, smallest=0.6, largest=1.75) == CropConfig()
    assert (CropConfig().pad, CropConfig().flip) == (False, True)


def test_without_flip_the_same_crops_come_unmirrored() -> None:
    mirrored, plain = (np.random.default_rng(0) for _ in range(2))
    for _ in range(40):
        crop = random_crop(ramp(60, 90), CropConfig(size=32), mirrored)
        straight = random_crop(ramp(60, 90), CropConfig(size=32, flip=False), plain)
        assert straight[0, 0, 0] < straight[0, -1, 0]
        assert np.array_equal(straight, crop) or np.array_equal(straight, crop[:, ::-1])


@few_examples
@given(height=st.integers(1, 40), width=st.integers(1, 40))
def test_a_padded_picture_lies_in_the_middle_of_its_repeated_edges(height: int, width: int) -> None:
    picture = np.random.default_rng(0).integers(256, size=(height, width, 3), dtype=np.uint8)
    config = CropConfig(size=40, resized=0, pad=True, flip=False)
    crop = random_crop(picture, config, np.random.default_rng(0))
    rows = (np.arange(40) - (40 - height) // 2).clip(0, height - 1)
    columns = (np.arange(40) - (40 - width) // 2).clip(0, width - 1)
    assert np.array_equal(crop, picture[rows][:, columns])


def test_pad_leaves_pictures_alone_that_are_large_enough() -> None:
    for config in (CropConfig(size=32), CropConfig(size=60, resized=0.2)):
        one, other = (np.random.default_rng(1) for _ in range(2))
        for _ in range(20):
            crop = random_crop(ramp(60, 90), config, one)
            assert np.array_equal(random_crop(ramp(60, 90), replace(config, pad=True), other), crop)


# ---- batches ----


@pytest.fixture
def batches(pictures: Path) -> CropBatches:
    return CropBatches(PictureSet([pictures]), batch_size=3, crop=CropConfig(size=32), seed=4)


def test_a_batch_depends_on_seed_and_step_alone(batches: CropBatches, pictures: Path) -> None:
    first = [batches(step) for step in range(4)]
    assert all((batch.shape, batch.dtype) == ((3, 32, 32, 3), np.uint8) for batch in first)
    again = CropBatches(PictureSet([pictures], cache_bytes=0), batch_size=3, crop=CropConfig(size=32), seed=4)
    for step in (3, 0, 2, 1):
        assert np.array_equal(again(step), first[step])
    assert not np.array_equal(first[0], first[1])
    other = CropBatches(PictureSet([pictures]), batch_size=3, crop=CropConfig(size=32), seed=5)
    assert not np.array_equal(other(0), first[0])


def test_ahead_gives_the_same_batches_in_order(batches: CropBatches) -> None:
    made = list(batches.ahead(3, 7))
    assert [step for step, _ in made] == [3, 4, 5, 6]
    assert all(np.array_equal(batch, batches(step)) for step, batch in made)
    assert list(batches.ahead(5, 5)) == list(batches.ahead(6, 5)) == []


def test_ahead_hands_on_the_error_of_its_thread(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture")
    batches = CropBatches(PictureSet([tmp_path]), batch_size=1, crop=CropConfig(size=32), seed=0)
    with pytest.raises(DataError, match="none of the training pictures"):
        next(batches.ahead(0, 3))


def test_labels_come_with_the_very_crops_of_a_batch(tmp_path: Path) -> None:
    for value in (0, 1, 2, 3):
        save(tmp_path / f"class {value}" / "a.png", value)
    (tmp_path / "class 1" / "b.png").write_bytes(b"no picture")  # the next usable one is of class 2
    batches = CropBatches(PictureSet([tmp_path], labels=True), batch_size=8, crop=CropConfig(size=32), seed=1)
    for step in range(5):
        batch, numbers = batches.with_labels(step)
        assert np.array_equal(batch, batches(step))
        assert (numbers.shape, numbers.dtype) == ((8,), np.int64)
        assert np.array_equal(numbers, batch[:, 0, 0, 0])


def test_pictures_without_a_label_are_marked_in_a_batch(batches: CropBatches) -> None:
    batch, numbers = batches.with_labels(2)
    assert np.array_equal(batch, batches(2))
    assert numbers.tolist() == [UNLABELLED] * 3


# ---- pictures in memory ----


def test_arrays_serve_as_a_set_of_pictures() -> None:
    pixels = np.stack([flat(value) for value in (5, 6, 7)])
    pictures = ArrayPictures(pixels, np.array([2, 0, 1], np.uint8), ["a", "b", "c"])
    assert (values(pictures), labels(pictures), pictures.classes) == ([5, 6, 7], [2, 0, 1], ("a", "b", "c"))
    assert np.array_equal(pictures.item(1)[0], flat(6))
    assert ArrayPictures(pixels, np.array([3, 0, 0])).classes == ("0", "1", "2", "3")
    plain = ArrayPictures(pixels)
    assert (labels(plain), plain.classes) == ([None] * 3, ())
    batch, numbers = CropBatches(pictures, batch_size=9, crop=CropConfig(size=32), seed=0).with_labels(0)
    assert np.array_equal(numbers, np.array([2, 0, 1])[batch[:, 0, 0, 0] - 5])


@pytest.mark.parametrize(
    ("pixels", "numbers", "classes", "message"),
    [
        (np.zeros((2, 8, 8), np.uint8), None, None, r"expected pictures \(N, H, W, 3\) uint8, got \(2, 8, 8\) uint8"),
        (np.zeros((2, 8, 8, 3), np.float32), None, None, "got .* float32"),
        (np.zeros((0, 8, 8, 3), np.uint8), None, None, "expected pictures"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(3, int), None, "expected 2 integer labels"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.zeros(2), None, "expected 2 integer labels, got .* float64"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 2]), "ab", "labels from 0 to 2, expected 0 to 1"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([-1, 0]), None, "labels from -1 to 0"),
        (np.zeros((2, 8, 8, 3), np.uint8), np.array([0, 10**12]), None, "expected 0 to 99999"),
    ],
)
def test_arrays_that_are_no_pictures_or_labels(pixels: Any, numbers: Any, classes: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ArrayPictures(pixels, numbers, classes)


def test_the_shares_of_several_processes_are_the_batch(pictures: Path) -> None:
    def made(share: slice) -> CropBatches:
        return CropBatches(PictureSet([pictures]), batch_size=6, crop=CropConfig(size=32), seed=4, share=share)

    whole = made(slice(None))(3)
    for rank in range(3):
        assert np.array_equal(made(slice(rank, None, 3))(3), whole[rank::3])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_batches(pictures: Path, workers: int) -> None:
    made = CropBatches(PictureSet([pictures]), batch_size=2, crop=CropConfig(size=32), seed=4, workers=workers)
    steps = list(made.ahead(2, 6))
    assert [step for step, _ in steps] == [2, 3, 4, 5]
    assert all(np.array_equal(batch, made(step)) for step, batch in steps)


def test_the_crops_of_a_step_may_change(pictures: Path) -> None:
    made = CropBatches(
        PictureSet([pictures]), batch_size=2, crop=lambda step: CropConfig(size=32 + 16 * (step > 4)), seed=4
    )
    assert [made(step).shape[1] for step in (4, 5)] == [32, 48]


def test_the_cache_is_a_share_of_the_memory_for_all_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}
    monkeypatch.setattr("os.sysconf", pages.__getitem__)
    assert usual_cache_bytes() == 2**30
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert usual_cache_bytes() == 2**28
    pages["SC_PHYS_PAGES"] = 2**30
    assert usual_cache_bytes() == 6 * 2**30
