"""What is hidden under alpha 0 changes nothing of what is visible, and costs nothing."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from image_helpers import same

from vqcodec.codec import Codec
from vqcodec.pictures.hidden import fill_hidden
from vqcodec.pictures.image import LoadedImage, load_image

RNG = np.random.default_rng(2)


def disc(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.where((y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) / 3) ** 2, 255, 0).astype(
        np.uint8
    )


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (64, 64), (37, 101), (600, 50), (513, 259), (1, 40), (900, 1)])
def test_what_is_visible_stays_and_the_rest_lies_between(size: tuple[int, int]) -> None:
    rgb = RNG.integers(50, 90, (*size, 3), dtype=np.uint8)
    alpha = RNG.choice(np.array([0, 0, 0, 7, 255], np.uint8), size)
    alpha[0, 0] = 255
    hidden = RNG.integers(0, 256, rgb.shape, dtype=np.uint8)
    filled = fill_hidden(np.where(alpha[..., None] > 0, rgb, hidden), alpha)
    assert filled.dtype == np.uint8
    assert same(filled[alpha > 0], rgb[alpha > 0])
    assert 50 <= filled.min() <= filled.max() < 90
    assert same(filled, fill_hidden(np.where(alpha[..., None] > 0, rgb, 255 - hidden), alpha))


def test_one_colour_fills_all_and_two_meet() -> None:
    alpha = disc(300, 300)
    assert (fill_hidden(np.where(alpha > 0, 77, 0).astype(np.uint8)[..., None].repeat(3, axis=2), alpha) == 77).all()
    rgb = np.zeros((64, 300, 3), np.uint8)
    rgb[:, 299] = 240
    alpha = np.zeros((64, 300), np.uint8)
    alpha[:, [0, 299]] = 255
    filled = fill_hidden(rgb, alpha)
    assert filled[:, 20].max() < 60
    assert filled[:, 280].min() > 180
    assert np.abs(np.diff(filled[32, :, 0].astype(int))).max() < 40


def test_without_anything_hidden_or_visible() -> None:
    rgb = RNG.integers(0, 256, (9, 9, 3), dtype=np.uint8)
    assert fill_hidden(rgb, None) is rgb
    assert fill_hidden(rgb, np.full((9, 9), 1, np.uint8)) is rgb
    assert (fill_hidden(rgb, np.zeros((9, 9), np.uint8)) == 128).all()


def test_a_stream_does_not_depend_on_hidden_colours(tiny_model: Path) -> None:
    alpha = disc(80, 96)
    visible = np.broadcast_to(np.array([250, 200, 60], np.uint8), (80, 96, 3))
    hidden = (np.zeros_like(visible), RNG.integers(0, 256, visible.shape, dtype=np.uint8), visible)
    pictures = [np.where(alpha[..., None] > 0, visible, each) for each in hidden]
    codec = Codec.load(tiny_model)
    streams = {codec.encode(LoadedImage(np.ascontiguousarray(each), alpha)) for each in pictures}
    assert len(streams) == 1


def bmp_of_32_bits(pixels: np.ndarray) -> bytes:
    """(H, W, 4) BGRA as a file whose header names a mask for alpha."""
    height, width = pixels.shape[:2]
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, -height, 1, 32, 3, pixels.size, 2835, 2835, 0, 0) + masks
    header = header.ljust(108, b"\0")
    return b"BM" + struct.pack("<IHHI", 122 + pixels.size, 0, 0, 122) + header + pixels.tobytes()


def test_a_bmp_with_alpha_0_everywhere_is_opaque() -> None:
    pixels = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    loaded = load_image(bmp_of_32_bits(pixels))
    assert loaded.alpha is not None
    assert same(loaded.alpha, pixels[..., 3])
    pixels[..., 3] = 0
    loaded = load_image(bmp_of_32_bits(pixels))
    assert loaded.alpha is None
    assert same(loaded.rgb, pixels[..., 2::-1])
