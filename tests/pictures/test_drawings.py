"""Which pictures are told to suffer: drawn ones and pure colours, and no photographs."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.pictures.drawings import drawing_warning
from vqcodec.pictures.image import LoadedImage


def told(pixels: np.ndarray, alpha: np.ndarray | None = None) -> str:
    lines = drawing_warning(LoadedImage(np.ascontiguousarray(pixels), alpha))
    assert len(lines) <= 1
    return "".join(lines)


def chart() -> np.ndarray:
    image = Image.new("RGB", (300, 200), "white")
    draw = ImageDraw.Draw(image)
    for number, colour in enumerate(("red", "green", "blue", "orange")):
        draw.rectangle((20 + 60 * number, 30 + 20 * number, 60 + 60 * number, 180), fill=colour)
        draw.text((20 + 60 * number, 185), f"bar {number}", fill="black")
    return np.asarray(image)


def screenshot() -> np.ndarray:
    image = Image.new("RGB", (1600, 1000), (40, 44, 52))
    draw = ImageDraw.Draw(image)
    for row in range(60):
        draw.text((40, 16 * row), "def function(argument): return argument  # words " * 4, fill=(200, 200, 200))
    return np.asarray(image)


@pytest.mark.parametrize("picture", [chart(), screenshot(), chart()[::-1]])
def test_drawn_pictures(picture: np.ndarray) -> None:
    assert "looks drawn" in told(picture)


@pytest.mark.parametrize("size", [(64, 48), (500, 700), (1, 900), (3000, 40)])
def test_photographs_and_plain_areas(size: tuple[int, int]) -> None:
    assert told(synthetic_picture(*size, seed=4)) == ""
    for value in (0, 128, 255):
        assert told(np.full((*size, 3), value, np.uint8)) == ""


def test_a_photograph_on_white_is_none() -> None:
    page = np.full((600, 800, 3), 255, np.uint8)
    page[100:400, 100:500] = synthetic_picture(400, 300, seed=5)
    assert told(page) == ""


def test_pure_colours() -> None:
    noise = np.random.default_rng(1).integers(0, 20, (200, 200, 3), dtype=np.uint8)
    noise[..., 1] += 235
    assert told(noise) == "100% of it are very saturated colours, which will come out paler"


def test_only_what_is_visible_counts() -> None:
    photo = synthetic_picture(300, 200, seed=6)
    alpha = np.zeros((200, 300), np.uint8)
    alpha[:100] = 255
    photo[100:] = chart()[100:]
    assert told(photo, alpha) == ""
    assert told(photo, np.zeros_like(alpha)) == ""
