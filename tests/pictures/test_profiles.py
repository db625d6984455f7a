"""Colour profiles: applied, kept, or a warning when they are damaged."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from image_helpers import (
    ALPHA,
    COLOURS,
    GRAY,
    GRAY3,
    SRGB,
    lighter_gray_profile,
    linear_gray_profile,
    palette_image,
    same,
    swapped_profile,
    with_profile,
)
from PIL import Image

from vqcodec.pictures.image import from_pil

POLICIES: tuple[Literal["srgb"], Literal["keep"]] = ("srgb", "keep")


def test_srgb_profile_changes_nothing() -> None:
    loaded = from_pil(with_profile(Image.fromarray(COLOURS), SRGB))
    assert same(loaded.rgb, COLOURS)
    assert (loaded.icc, loaded.warnings) == (None, ())


def test_other_rgb_profile_is_applied() -> None:
    loaded = from_pil(with_profile(Image.fromarray(COLOURS), swapped_profile()))
    assert same(loaded.rgb, COLOURS[..., [1, 0, 2]], 2)
    assert (loaded.icc, loaded.warnings) == (None, ())


def test_profile_leaves_alpha_alone() -> None:
    loaded = from_pil(with_profile(Image.fromarray(np.dstack([COLOURS, ALPHA])), swapped_profile()))
    assert loaded.alpha is not None
    assert same(loaded.rgb, COLOURS[..., [1, 0, 2]], 2)
    assert same(loaded.alpha, ALPHA)


def test_keep_returns_pixels_and_profile() -> None:
    loaded = from_pil(with_profile(Image.fromarray(COLOURS), swapped_profile()), icc="keep")
    assert same(loaded.rgb, COLOURS)
    assert loaded.icc == swapped_profile()


def test_rgb_profile_on_gray_and_palette_pixels() -> None:
    assert same(from_pil(with_profile(Image.fromarray(GRAY), SRGB)).rgb, GRAY3)
    image, indices, palette = palette_image()
    loaded = from_pil(with_profile(image, swapped_profile()))
    assert same(loaded.rgb, palette[indices][..., [1, 0, 2]], 2)


def test_gray_profile_is_applied() -> None:
    for icc in POLICIES:
        image = with_profile(Image.fromarray(np.array([[0, 55, 128, 255]], np.uint8)), linear_gray_profile())
        loaded = from_pil(image, icc=icc)
        assert same(loaded.rgb[0, :, 1], np.array([0, 128, 188, 255]), 2)
        assert loaded.icc is None
        assert len(loaded.warnings) == (icc == "keep")


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_a_profile_that_is_srgb_within_a_step_changes_nothing(steps: int) -> None:
    pixels = np.array([[128, 200]], np.uint8)  # far from black, which is moved to black
    loaded = from_pil(with_profile(Image.fromarray(pixels), lighter_gray_profile(steps)))
    applied = steps if steps > 1 else 0
    assert loaded.rgb[0, :, 1].tolist() == (pixels[0] + applied).tolist()


@pytest.mark.parametrize("icc", POLICIES)
@pytest.mark.parametrize("damaged", [b"no profile", SRGB[:300], b"\xff" * 4000])
def test_damaged_profile_is_a_warning(icc: Literal["srgb", "keep"], damaged: bytes) -> None:
    loaded = from_pil(with_profile(Image.fromarray(COLOURS), damaged), icc=icc)
    assert loaded.icc is None
    assert len(loaded.warnings) == 1
    assert "ICC profile" in loaded.warnings[0]
    assert same(loaded.rgb, COLOURS)


def test_profile_of_another_colour_space_is_a_warning() -> None:
    loaded = from_pil(with_profile(Image.fromarray(COLOURS), linear_gray_profile()))
    assert same(loaded.rgb, COLOURS)
    assert "GRAY but the pixels are RGB" in loaded.warnings[0]
