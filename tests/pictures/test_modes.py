"""Pixels of every mode and bit depth become 8-bit RGB."""

from __future__ import annotations

import numpy as np
import pytest
from image_helpers import (
    ALPHA,
    COLOURS,
    GRAY,
    GRAY3,
    odd_cmyk_profile,
    palette_image,
    same,
    swapped_profile,
    with_profile,
)
from PIL import Image, ImageCms

from vqcodec.pictures.image import from_pil


def test_rgb_and_gray_pixels_are_untouched_and_silent() -> None:
    loaded = from_pil(Image.fromarray(COLOURS))
    assert same(loaded.rgb, COLOURS)
    assert (loaded.alpha, loaded.icc, loaded.exif, loaded.xmp, loaded.warnings) == (None, None, None, None, ())
    assert (loaded.width, loaded.height) == (7, 5)
    assert same(from_pil(Image.fromarray(GRAY)).rgb, GRAY3)


def test_one_bit() -> None:
    assert same(from_pil(Image.fromarray(GRAY > 99)).rgb, np.where(GRAY3 > 99, 255, 0))


def test_rgba_and_la_keep_hidden_colours_and_alpha() -> None:
    loaded = from_pil(Image.fromarray(np.dstack([COLOURS, ALPHA])))
    assert loaded.alpha is not None
    assert same(loaded.rgb, COLOURS)
    assert same(loaded.alpha, ALPHA)
    loaded = from_pil(Image.merge("LA", [Image.fromarray(GRAY), Image.fromarray(ALPHA)]))
    assert loaded.alpha is not None
    assert same(loaded.rgb, GRAY3)
    assert same(loaded.alpha, ALPHA)


def test_opaque_alpha_is_no_alpha() -> None:
    opaque = np.full_like(ALPHA, 255)
    assert from_pil(Image.fromarray(np.dstack([COLOURS, opaque]))).alpha is None


def test_alpha_drop_is_told() -> None:
    loaded = from_pil(Image.fromarray(np.dstack([COLOURS, ALPHA])), alpha="drop")
    assert loaded.alpha is None
    assert same(loaded.rgb, COLOURS)
    assert "transparency dropped" in loaded.warnings[0]
    assert from_pil(Image.fromarray(COLOURS), alpha="drop").warnings == ()


@pytest.mark.parametrize(("straight", "multiplied"), [("LA", "La"), ("RGBA", "RGBa")])
def test_premultiplied_alpha_is_divided_out(straight: str, multiplied: str) -> None:
    thick = np.maximum(ALPHA, 200)
    bands = [Image.fromarray(GRAY)] * (len(straight) - 1) + [Image.fromarray(thick)]
    loaded = from_pil(Image.merge(straight, bands).convert(multiplied))
    assert loaded.alpha is not None
    assert same(loaded.rgb, GRAY3, 2)
    assert same(loaded.alpha, thick)


def test_rgbx_padding_is_not_alpha() -> None:
    bands = [Image.fromarray(band) for band in (*np.moveaxis(COLOURS, 2, 0), ALPHA)]
    loaded = from_pil(Image.merge("RGBX", bands))
    assert loaded.alpha is None
    assert same(loaded.rgb, COLOURS)


@pytest.mark.parametrize("transparency", [None, 2, bytes([255, 10, 0, 200])])
def test_palette(transparency: int | bytes | None) -> None:
    image, indices, palette = palette_image()
    if transparency is not None:
        image.info["transparency"] = transparency
    loaded = from_pil(image)
    assert same(loaded.rgb, palette[indices])
    if transparency is None:
        assert loaded.alpha is None
    else:
        table = transparency if isinstance(transparency, bytes) else bytes([255, 255, 0, 255])
        assert loaded.alpha is not None
        assert same(loaded.alpha, np.frombuffer(table, np.uint8)[indices])


def test_palette_with_alpha_channel() -> None:
    image, indices, palette = palette_image()
    image = image.convert("PA")
    image.putalpha(Image.fromarray(ALPHA))
    loaded = from_pil(image)
    assert loaded.alpha is not None
    assert same(loaded.rgb, palette[indices])
    assert same(loaded.alpha, ALPHA)


def test_one_transparent_colour() -> None:
    image = Image.fromarray(COLOURS)
    image.info["transparency"] = tuple(int(v) for v in COLOURS[2, 3])
    loaded = from_pil(image)
    assert loaded.alpha is not None
    assert loaded.alpha[2, 3] == 0
    assert int((loaded.alpha == 0).sum()) == 1
    gray = Image.fromarray(GRAY)
    gray.info["transparency"] = int(GRAY[0, 0])
    alpha = from_pil(gray).alpha
    assert alpha is not None
    assert same(alpha, np.where(GRAY[0, 0] == GRAY, 0, 255))
    bits = Image.fromarray(GRAY > 99)
    bits.info["transparency"] = 255
    alpha = from_pil(bits).alpha
    assert alpha is not None
    assert same(alpha, np.where(GRAY > 99, 0, 255))


def test_a_damaged_transparent_colour_is_ignored() -> None:
    image = Image.fromarray(COLOURS)
    image.info["transparency"] = b"?"
    loaded = from_pil(image)
    assert loaded.alpha is None
    assert "transparent colour" in loaded.warnings[0]


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB"])
def test_other_colour_spaces(mode: str) -> None:
    smooth = np.array([[[250, 250, 250], [200, 40, 30], [20, 160, 60], [30, 40, 190], [5, 5, 5]]], np.uint8)
    source = Image.fromarray(smooth)
    if mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(source, srgb, lab, outputMode="LAB")
        assert converted is not None
    else:
        converted = source.convert(mode)
    assert same(from_pil(converted).rgb, smooth, 12)


def test_cmyk_without_profile() -> None:
    inks = np.zeros((1, 3, 4), np.uint8)
    inks[0, 1] = (255, 0, 0, 0)
    inks[0, 2] = (0, 0, 0, 255)
    loaded = from_pil(Image.frombytes("CMYK", (3, 1), inks.tobytes()))
    assert loaded.rgb.tolist() == [[[255, 255, 255], [0, 255, 255], [0, 0, 0]]]
    assert "CMYK" in loaded.warnings[0]


def test_cmyk_with_profile() -> None:
    inks = np.zeros((1, 3, 4), np.uint8)
    inks[0, 1] = (255, 0, 0, 0)
    inks[0, 2] = (0, 0, 0, 255)
    for icc in ("srgb", "keep"):
        image = with_profile(Image.frombytes("CMYK", (3, 1), inks.tobytes()), odd_cmyk_profile())
        loaded = from_pil(image, icc=icc)
        white, red, black = loaded.rgb[0].astype(int)
        assert white.min() >= 250
        assert black.max() <= 5
        assert red[0] > red[1] + 100
        assert loaded.icc is None
        assert "through their ICC profile" in loaded.warnings[0]


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_16_bit_gray_is_scaled_not_clipped(dtype: str) -> None:
    values = np.array([[0, 127, 129, 257, 32768, 65407, 65535]], dtype=dtype)
    mode = "I;16" if dtype == "<u2" else "I;16B"
    loaded = from_pil(Image.frombytes(mode, (7, 1), values.tobytes()))
    assert loaded.rgb[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255, 255]
    assert loaded.warnings == ("more than 8 bits a sample: reduced to 8",)


def test_16_bit_gray_of_8_bit_samples_is_exact() -> None:
    values = np.arange(256, dtype=np.uint16)[None] * 257
    assert same(from_pil(Image.fromarray(values)).rgb[0, :, 0], np.arange(256))


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        ([0, 100, 255], [0, 100, 255], "255 as white"),
        ([0, 257, 65535], [0, 1, 255], "65535 as white"),
        ([-1000, 0, 1000], [0, 128, 255], "stretching"),
        ([-5, -5, -5], [0, 0, 0], "stretching"),
    ],
)
def test_32_bit_integers(values: list[int], expected: list[int], told: str) -> None:
    loaded = from_pil(Image.fromarray(np.array([values], np.int32)))
    assert loaded.rgb[0, :, 0].tolist() == expected
    assert told in loaded.warnings[0]


@pytest.mark.parametrize(
    ("values", "expected", "told"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255], "1 as white"),
        ([0.0, 100.4, 255.0], [0, 100, 255], "255 as white"),
        ([-1.0, 0.0, 1.0], [0, 128, 255], "stretching"),
        ([float("nan"), float("inf"), 1.0], [0, 0, 255], "finite"),
    ],
)
def test_floats(values: list[float], expected: list[int], told: str) -> None:
    loaded = from_pil(Image.fromarray(np.array([values], np.float32)))
    assert loaded.rgb[0, :, 0].tolist() == expected
    assert told in loaded.warnings[0]


def test_the_pillow_image_is_left_alone() -> None:
    image = with_profile(Image.fromarray(COLOURS), swapped_profile())
    image.info["transparency"] = (1, 2, 3)
    before = dict(image.info), image.tobytes()
    loaded = from_pil(image)
    loaded.rgb[:] = 0
    assert (dict(image.info), image.tobytes()) == before
