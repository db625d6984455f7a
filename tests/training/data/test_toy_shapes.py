"""Generated shapes: the same for the same seed, told apart by their looks, and written as a folder of folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from data_helpers import few_examples, labels
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.training.data.crops import CropBatches, CropConfig
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.toy_shapes import TOY_CLASSES, toy_pictures, write_toy_folder


@few_examples
@given(st.integers(1, 12), st.integers(1, 12), st.sampled_from([16, 17, 32]), st.integers(0, 2**40))
def test_a_picture_depends_on_its_number_and_the_seed_alone(one: int, other: int, side: int, seed: int) -> None:
    fewer, more = sorted((one, other))
    pixels, numbers = toy_pictures(more, side, seed)
    assert (pixels.shape, pixels.dtype) == ((more, side, side, 3), np.uint8)
    assert (numbers.shape, numbers.dtype) == ((more,), np.int64)
    first_pixels, first_numbers = toy_pictures(fewer, side, seed)
    assert np.array_equal(first_pixels, pixels[:fewer])
    assert np.array_equal(first_numbers, numbers[:fewer])
    assert not np.array_equal(toy_pictures(more, side, seed + 1)[0], pixels)


def test_the_classes_are_even_and_sorted() -> None:
    _, numbers = toy_pictures(5 * len(TOY_CLASSES), 16, 0)
    assert np.bincount(numbers).tolist() == [5] * len(TOY_CLASSES)
    assert len(TOY_CLASSES) >= 6
    assert list(TOY_CLASSES) == sorted(set(TOY_CLASSES))


def outlines(pixels: np.ndarray) -> np.ndarray:
    """The shapes (N, 81), without colour, place and size: how far from the border's colour, in 9 x 9 fields."""
    rows = []
    for picture in pixels.astype(float):
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        far = np.abs(picture - np.median(border, axis=0)).max(axis=2) > 50
        y, x = (np.flatnonzero(far.any(axis=axis)) for axis in (1, 0))
        at = np.linspace(0, 1, 9)
        fields = far[np.rint(y[0] + at * (y[-1] - y[0])).astype(int)][
            :, np.rint(x[0] + at * (x[-1] - x[0])).astype(int)
        ]
        rows.append(fields.ravel())
    return np.array(rows, dtype=float)


@pytest.mark.parametrize("side", [16, 32])
def test_the_shapes_are_told_apart_by_their_nearest_neighbours(side: int) -> None:
    pixels, numbers = toy_pictures(320, side, 3)
    found = outlines(pixels)
    distances = ((found[240:, None] - found[None, :240]) ** 2).sum(axis=2)
    right = numbers[:240][distances.argmin(axis=1)] == numbers[240:]
    assert right.mean() > 0.9


def test_colour_place_and_background_vary_within_a_class() -> None:
    pixels, numbers = toy_pictures(160, 32, 0)
    for number in range(len(TOY_CLASSES)):
        same = pixels[numbers == number].astype(float)
        assert same.std(axis=0).min() > 30  # every pixel of it
        corners = same[:, 0, 0]
        assert corners.std(axis=0).min() > 30


@pytest.mark.parametrize(("count", "side", "seed"), [(0, 32, 0), (1, 15, 0), (1, 32, -1)])
def test_pictures_that_cannot_be_made(count: int, side: int, seed: int) -> None:
    with pytest.raises(ValueError, match=f"{count} pictures of {side} pixels, seed {seed}"):
        toy_pictures(count, side, seed)


def test_they_serve_as_training_pictures() -> None:
    pictures = ArrayPictures(*toy_pictures(20, 32, 0), TOY_CLASSES)
    assert pictures.classes == TOY_CLASSES
    batch, numbers = CropBatches(pictures, batch_size=5, crop=CropConfig(size=32), seed=0).with_labels(1)
    assert batch.shape == (5, 32, 32, 3)
    assert (numbers >= 0).all()


def test_a_folder_of_them_has_the_same_pictures_and_labels(tmp_path: Path) -> None:
    write_toy_folder(tmp_path / "toys", 12, 24, 5)
    pictures = PictureSet([tmp_path / "toys"], labels=True)
    pixels, numbers = toy_pictures(12, 24, 5)
    order = np.lexsort((np.arange(12), numbers))  # by folder, then by number
    assert pictures.classes == TOY_CLASSES
    assert labels(pictures) == numbers[order].tolist()
    assert all(np.array_equal(pictures[place], pixels[index]) for place, index in enumerate(order))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photo.png").touch()
    with pytest.raises(FileExistsError, match="holds files already") as caught:
        write_toy_folder(tmp_path, 3, 16, 0)
    assert caught.value.filename == str(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]
