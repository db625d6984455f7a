"""Pixels: every mode, bit depth, profile and orientation; tensors; alpha."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from vqcodec import image as vq
from vqcodec.image import (
    AlphaError,
    ImageError,
    TooManyPixelsError,
    from_array,
    from_pil,
    from_tensor,
    pack_alpha,
    padded_size,
    to_pil,
    to_tensor,
    unpack_alpha,
)

POLICIES: tuple[Literal["srgb"], Literal["keep"]] = ("srgb", "keep")
RNG = np.random.default_rng(7)
COLOURS = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (5, 7), dtype=np.uint8)
GRAY3 = np.repeat(GRAY[..., None], 3, axis=2)


def same(left: np.ndarray, right: np.ndarray, tolerance: int = 0) -> bool:
    assert left.shape == right.shape
    return int(np.abs(left.astype(int) - right.astype(int)).max()) <= tolerance


# ---- profiles made here ----


def build_profile(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A small ICC version 2 profile."""
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    white = struct.pack(">3i", 63190, 65536, 54061)
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"lcms", 0x02400000, kind, space, pcs)
    header += struct.pack(">6H", 2025, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + white
    return header.ljust(128, b"\0") + table + body


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def swapped_profile() -> bytes:
    """sRGB with its red and green primaries exchanged: pixels through it exchange their channels."""
    data = bytearray(srgb_profile())
    entries = {bytes(data[at : at + 4]): at for at in range(132, 132 + 12 * int.from_bytes(data[128:132], "big"), 12)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = data[green + 4 : green + 12], data[red + 4 : red + 12]
    return bytes(data)


def linear_gray_profile() -> bytes:
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    return build_profile(
        b"GRAY", b"XYZ ", b"mntr", {b"wtpt": white, b"kTRC": b"curv\0\0\0\0" + struct.pack(">I", 0) + b"\0\0\0\0"}
    )


def odd_cmyk_profile() -> bytes:
    """Paper is white, black ink is black, and the "cyan" ink is red."""
    nodes = b""
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        if k:
            nodes += bytes([0, 128, 128])
        elif c:
            nodes += bytes([135, 208, 195])
        else:
            nodes += bytes([255 - 60 * m - 30 * y, 128, 128])
    straight = bytes(range(256))
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + straight * 4 + nodes + straight * 3
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    return build_profile(b"CMYK", b"Lab ", b"prtr", {b"wtpt": white, b"A2B0": lut, b"A2B1": lut})


def with_profile(image: Image.Image, profile: bytes) -> Image.Image:
    image.info["icc_profile"] = profile
    return image


# ---- modes ----


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


def palette_image() -> tuple[Image.Image, np.ndarray, np.ndarray]:
    indices = RNG.integers(0, 4, (5, 7), dtype=np.uint8)
    palette = RNG.integers(0, 256, (4, 3), dtype=np.uint8)
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.reshape(-1).tolist())
    image.putpalette(palette.tobytes())
    return image, indices, palette


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
    for icc in POLICIES:
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


# ---- profiles ----


def test_srgb_profile_changes_nothing() -> None:
    loaded = from_pil(with_profile(Image.fromarray(COLOURS), srgb_profile()))
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
    assert same(from_pil(with_profile(Image.fromarray(GRAY), srgb_profile())).rgb, GRAY3)
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


@pytest.mark.parametrize("icc", POLICIES)
@pytest.mark.parametrize("damaged", [b"no profile", srgb_profile()[:300], b"\xff" * 4000])
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


# ---- options, arrays, Pillow ----


@pytest.mark.parametrize("option", [{"icc": "no"}, {"alpha": "no"}, {"metadata": "no"}])
def test_misspelt_option(option: dict[str, str]) -> None:
    with pytest.raises(ImageError, match=next(iter(option))):
        from_pil(Image.fromarray(COLOURS), **option)  # type: ignore[arg-type]


def test_too_many_pixels_in_memory() -> None:
    with pytest.raises(TooManyPixelsError, match=r"35 pixels.*limit of 34.*--max-pixels 35"):
        from_pil(Image.fromarray(COLOURS), max_pixels=34)
    assert from_pil(Image.fromarray(COLOURS), max_pixels=35).width == 7


def test_no_pixels() -> None:
    with pytest.raises(ImageError, match="no pixels"):
        from_pil(Image.new("RGB", (0, 3)))


def test_from_array() -> None:
    assert same(from_array(GRAY).rgb, GRAY3)
    assert same(from_array(COLOURS).rgb, COLOURS)
    loaded = from_array(np.dstack([COLOURS, ALPHA]))
    assert loaded.alpha is not None
    assert same(loaded.alpha, ALPHA)


@pytest.mark.parametrize("array", [GRAY.astype(float), COLOURS[..., :2], COLOURS[:0], COLOURS[None]])
def test_from_array_refuses(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match="expected"):
        from_array(array)


def test_to_pil_and_back() -> None:
    image = to_pil(COLOURS, ALPHA, swapped_profile(), b"II*\0\x08\0\0\0\0\0\0\0\0\0", b"<x/>")
    loaded = from_pil(image, icc="keep", metadata="keep")
    assert loaded.alpha is not None
    assert same(loaded.rgb, COLOURS)
    assert same(loaded.alpha, ALPHA)
    assert (loaded.icc, loaded.exif, loaded.xmp) == (swapped_profile(), b"II*\0\x08\0\0\0\0\0\0\0\0\0", b"<x/>")
    assert to_pil(COLOURS).info == {}


@pytest.mark.parametrize(("rgb", "alpha"), [(GRAY, None), (COLOURS, ALPHA[:, 1:]), (COLOURS.astype(float), None)])
def test_to_pil_refuses(rgb: np.ndarray, alpha: np.ndarray | None) -> None:
    with pytest.raises(ImageError, match="expected"):
        to_pil(rgb, alpha)


# ---- tensors ----


def test_every_value_survives_the_tensor() -> None:
    values = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)
    x = to_tensor(values, 1)
    assert (x.shape, x.dtype, x.is_contiguous()) == ((1, 3, 16, 16), torch.float32, True)
    assert (float(x.min()), float(x.max())) == (-1.0, 1.0)
    assert same(from_tensor(x, 16, 16), values)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 2, 8, 16, 32]), st.integers(0, 2**32 - 1))
def test_pad_and_crop_round_trip(width: int, height: int, multiple: int, seed: int) -> None:
    rgb = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    x = to_tensor(rgb, multiple)
    assert (x.shape[3], x.shape[2]) == padded_size(width, height, multiple)
    assert x.shape[2] % multiple == x.shape[3] % multiple == 0
    assert x.shape[2] - height < multiple
    assert same(from_tensor(x, width, height), rgb)


def test_padding_reflects_or_repeats() -> None:
    row = np.array([10, 20, 30, 40, 50], np.uint8).reshape(1, 5, 1).repeat(3, axis=2)
    padded = from_tensor(to_tensor(row, 8), 8, 8)
    assert padded[7, :, 0].tolist() == [10, 20, 30, 40, 50, 40, 30, 20]
    padded = from_tensor(to_tensor(row[:, :3], 8), 8, 8)
    assert padded[0, :, 0].tolist() == [10, 20, 30, 30, 30, 30, 30, 30]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    rgb = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert same(from_tensor(to_tensor(rgb, 16), size[1], size[0]), rgb)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_values_out_of_range_are_clamped(dtype: torch.dtype) -> None:
    x = torch.tensor([-9.0, -1.0, float("nan"), 1.0, 9.0], dtype=dtype).view(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert from_tensor(x.requires_grad_(), 5, 1)[0, :, 0].tolist() == [0, 0, 128, 255, 255]


def test_tensors_of_other_shapes_are_refused() -> None:
    for shape in [(3, 8, 8), (2, 3, 8, 8), (1, 4, 8, 8), (1, 3, 4, 8), (1, 3, 8, 4)]:
        with pytest.raises(ImageError, match="expected"):
            from_tensor(torch.zeros(shape), 8, 8)
    with pytest.raises(ImageError, match="expected"):
        from_tensor(torch.zeros(1, 3, 8, 8), 0, 8)
    with pytest.raises(ImageError, match="expected"):
        to_tensor(GRAY, 8)
    with pytest.raises(ImageError, match="at least 1"):
        to_tensor(COLOURS, 0)


# ---- alpha ----


def alpha_planes() -> st.SearchStrategy[np.ndarray]:
    def build(parts: tuple[int, int, str, int]) -> np.ndarray:
        width, height, kind, seed = parts
        random = np.random.default_rng(seed)
        if kind == "noise":
            return random.integers(0, 256, (height, width), dtype=np.uint8)
        if kind == "mask":
            return np.where(random.integers(0, 2, (height, width)), 255, 0).astype(np.uint8)
        if kind == "slope":
            slope: np.ndarray = (np.add.outer(np.arange(height) * 3, np.arange(width) * 5) % 256).astype(np.uint8)
            return slope
        if kind == "shape":
            box: np.ndarray = np.zeros((height, width), np.uint8)
            top, bottom = sorted(random.integers(0, height + 1, 2))
            left, right = sorted(random.integers(0, width + 1, 2))
            box[top:bottom, left:right] = 255
            return box if seed % 2 else np.invert(box)
        return np.full((height, width), seed % 256, np.uint8)

    kinds = st.sampled_from(["noise", "mask", "shape", "slope", "flat"])
    return st.tuples(st.integers(1, 40), st.integers(1, 40), kinds, st.integers(0, 2**32 - 1)).map(build)


@settings(max_examples=150, deadline=None)
@given(alpha_planes())
def test_alpha_round_trip(alpha: np.ndarray) -> None:
    before = alpha.copy()
    unpacked = unpack_alpha(pack_alpha(alpha), alpha.shape[1], alpha.shape[0])
    assert unpacked.dtype == np.uint8
    assert unpacked.flags.writeable
    assert np.array_equal(unpacked, before)
    assert np.array_equal(alpha, before)


def test_masks_and_slopes_are_tiny() -> None:
    y, x = np.ogrid[:512, :768]
    disc = np.where((y - 256) ** 2 + (x - 384) ** 2 < 200**2, 255, 0).astype(np.uint8)
    assert len(pack_alpha(disc)) < 200
    assert len(pack_alpha(np.zeros_like(disc))) < 15
    slope = np.broadcast_to((x // 3).astype(np.uint8), (512, 768))
    assert len(pack_alpha(slope)) < 60


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_random_bytes_are_an_alpha_error_or_alpha(data: bytes) -> None:
    with contextlib.suppress(AlphaError):
        assert unpack_alpha(data, 9, 5).shape == (5, 9)


@settings(max_examples=200, deadline=None)
@given(alpha_planes(), st.data())
def test_damaged_alpha_is_an_alpha_error_or_alpha(alpha: np.ndarray, data: st.DataObject) -> None:
    packed = bytearray(pack_alpha(alpha))
    packed[data.draw(st.integers(0, len(packed) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(AlphaError):
        assert unpack_alpha(bytes(packed), alpha.shape[1], alpha.shape[0]).shape == alpha.shape


def test_alpha_cut_off_or_with_bytes_left_over() -> None:
    packed = pack_alpha(ALPHA)
    for end in range(len(packed)):
        with pytest.raises(AlphaError):
            unpack_alpha(packed[:end], 7, 5)
    with pytest.raises(AlphaError, match="damaged"):
        unpack_alpha(packed + b"\0", 7, 5)


def test_alpha_of_another_size() -> None:
    with pytest.raises(AlphaError, match="8 x 5"):
        unpack_alpha(pack_alpha(ALPHA), 8, 5)
    with pytest.raises(AlphaError, match="0 x 5"):
        unpack_alpha(pack_alpha(ALPHA), 0, 5)


def test_alpha_of_an_unknown_method() -> None:
    with pytest.raises(AlphaError, match="unknown method"):
        unpack_alpha(b"\x06" + pack_alpha(ALPHA)[1:], 7, 5)


def test_alpha_bomb_is_refused_by_its_claimed_size() -> None:
    frame = zstandard.ZstdCompressor().compress(bytes(10**7))
    with pytest.raises(AlphaError, match="10000000 bytes"):
        unpack_alpha(b"\x00" + frame[4:], 7, 5)


def test_alpha_mask_with_padding_bits_set() -> None:
    frame = zstandard.ZstdCompressor().compress(b"\x01")
    with pytest.raises(AlphaError, match="padding"):
        unpack_alpha(b"\x04" + frame[4:], 7, 1)


def edges(*numbers: int) -> bytes:
    return b"\x05" + zstandard.ZstdCompressor().compress(bytes(numbers))[4:]


def test_alpha_edges_by_hand() -> None:
    """Zigzag numbers: 2n for n, 2n - 1 for -n; each is a gap less the gap before the last one."""
    assert unpack_alpha(edges(4, 6), 8, 8).reshape(-1).tolist() == [0, 0, 255, 255, 255] + [0] * 59
    assert unpack_alpha(edges(0, 2, 4), 8, 8).reshape(-1).tolist() == [255, 0] + [0] + [255] * 61
    assert not unpack_alpha(edges(), 8, 8).any()


@pytest.mark.parametrize("numbers", [(4, 0), (1,), (4, 6, 5), (128, 1), (128, 128, 128, 128, 128, 1), (4, 128)])
def test_alpha_edges_outside_the_picture_or_cut_off(numbers: tuple[int, ...]) -> None:
    with pytest.raises(AlphaError, match="damaged"):
        unpack_alpha(edges(*numbers), 8, 8)


def test_pack_alpha_refuses_other_arrays() -> None:
    for array in (COLOURS, ALPHA.astype(float), ALPHA[:0]):
        with pytest.raises(ImageError, match="expected"):
            pack_alpha(array)


# ---- the module ----


def test_all_names_exist_and_every_error_is_an_image_error() -> None:
    for name in vq.__all__:
        thing = getattr(vq, name)
        if name.endswith("Error"):
            assert issubclass(thing, ImageError)
    assert issubclass(ImageError, ValueError)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, vqcodec.image; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0


def test_a_lazy_damaged_image_is_one_clear_error() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    lazy = Image.open(io.BytesIO(buffer.getvalue()[:-400]))
    with pytest.raises(vq.UnreadableImageError, match="damaged or cut off"):
        from_pil(lazy)
