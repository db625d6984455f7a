"""Crops: the middle one is ADM's, ten are LlamaGen's, random ones a function of (seed, key)."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from vqcodec.dataset.crops import crops_of, least_side
from vqcodec.dataset.spec import TokenSpec
from vqcodec.pictures.arrays import Pixels


def picture(width: int, height: int) -> Pixels:
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def center_crop_arr(pil_image: Image.Image, image_size: int) -> Pixels:
    """Of openai/guided-diffusion, guided_diffusion/image_datasets.py, as LlamaGen and others copied it."""
    while min(*pil_image.size) >= 2 * image_size:
        pil_image = pil_image.resize(tuple(x // 2 for x in pil_image.size), resample=Image.BOX)
    scale = image_size / min(*pil_image.size)
    pil_image = pil_image.resize(tuple(round(x * scale) for x in pil_image.size), resample=Image.BICUBIC)
    arr = np.array(pil_image)
    crop_y = (arr.shape[0] - image_size) // 2
    crop_x = (arr.shape[1] - image_size) // 2
    return arr[crop_y : crop_y + image_size, crop_x : crop_x + image_size]


@pytest.mark.parametrize("size", [(64, 64), (200, 90), (90, 201), (31, 47), (1, 1), (65, 2), (500, 333)])
def test_the_middle_crop_is_that_of_adm(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    [crop] = crops_of(pixels, TokenSpec(size=32), "key")
    assert np.array_equal(crop.pixels, center_crop_arr(Image.fromarray(pixels), 32))
    assert (crop.width, crop.height) == (min(size), min(size))
    assert 0 <= crop.left <= size[0] - crop.width
    assert 0 <= crop.top <= size[1] - crop.height


def test_a_line_of_pixels_does_not_become_gigabytes() -> None:
    [crop] = crops_of(picture(100_000, 1), TokenSpec(size=32), "key")
    assert crop.pixels.shape == (32, 32, 3)
    assert abs(crop.left - 50_000) <= 1


def test_ten_crops_are_the_corners_and_the_middle_and_mirrored() -> None:
    pixels = picture(100, 80)
    large = center_crop_arr(Image.fromarray(pixels), 35)  # int(32 * 1.1)
    crops = crops_of(pixels, TokenSpec(size=32, crops="ten"), "key")
    places = [(0, 0), (0, 3), (3, 0), (3, 3), (2, 2)]
    for source, own in ((large, crops[:5]), (large[:, ::-1], crops[5:])):
        for (row, col), crop in zip(places, own, strict=True):
            assert np.array_equal(crop.pixels, source[row : row + 32, col : col + 32])
    assert [crop.flip for crop in crops] == [False] * 5 + [True] * 5
    # the mirrored upper left crop shows the upper right
    assert (crops[5].left, crops[5].top) == (crops[1].left, crops[1].top)


def test_random_crops_depend_on_seed_key_and_number_only() -> None:
    pixels, spec = picture(90, 70), TokenSpec(size=32, crops="random:6", seed=3)
    crops = crops_of(pixels, spec, "key")
    assert [crop.pixels.tobytes() for crop in crops_of(pixels, spec, "key")] == [c.pixels.tobytes() for c in crops]
    boxes = {(crop.left, crop.top, crop.width, crop.flip) for crop in crops}
    assert len(boxes) == 6
    assert {crop.flip for crop in crops} == {False, True}
    for crop in crops:
        assert 35 <= crop.width == crop.height <= 70
        assert crop.left + crop.width <= 90
        assert crop.top + crop.height <= 70
    for other in (crops_of(pixels, spec, "other"), crops_of(pixels, TokenSpec(size=32, crops="random:6"), "key")):
        assert {(crop.left, crop.top, crop.width) for crop in other}.isdisjoint(
            {(crop.left, crop.top, crop.width) for crop in crops}
        )


def test_a_random_crop_shows_what_its_box_says() -> None:
    pixels = picture(90, 70)
    for crop in crops_of(pixels, TokenSpec(size=64, crops="random:8"), "key"):
        part = pixels[crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
        expected = center_crop_arr(Image.fromarray(part), 64)
        assert np.array_equal(crop.pixels, expected[:, ::-1] if crop.flip else expected)


def test_native_pictures_are_not_cropped() -> None:
    pixels = picture(45, 37)
    [crop] = crops_of(pixels, TokenSpec(size=None), "key")
    assert np.array_equal(crop.pixels, pixels)
    assert (crop.left, crop.top, crop.width, crop.height, crop.flip) == (0, 0, 45, 37, False)


def halved(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).reduce(2))


@pytest.mark.parametrize(("crops", "side"), [("center", 32), ("ten", 35), ("random:3", 64)])
def test_a_smaller_copy_is_as_large_as_the_crops_need(crops: str, side: int) -> None:
    assert least_side(TokenSpec(size=32, crops=crops, decode="scaled")) == side
    assert least_side(TokenSpec(size=32, crops=crops)) is None, "decoded in full"


@pytest.mark.parametrize("crops", ["center", "ten", "random:8"])
@pytest.mark.parametrize("size", [(301, 203), (202, 400), (140, 9100)])
def test_crops_of_a_smaller_copy_show_the_same_places(crops: str, size: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(grid).resize(size, Image.Resampling.BICUBIC))
    spec = TokenSpec(size=32, crops=crops)
    for whole, smaller in zip(
        crops_of(pixels, spec, "key"), crops_of(halved(pixels), spec, "key", pixels.shape[:2]), strict=True
    ):
        assert smaller.pixels.shape == (32, 32, 3)
        box, other = ((c.left, c.top, c.width, c.height, c.flip) for c in (whole, smaller))
        assert np.abs(np.subtract(box, other)).max() <= 1 + min(size) / 32, "a pixel of the crop"
        assert np.abs(whole.pixels.astype(int) - smaller.pixels).mean() < 10, "elsewhere it is about 60"
