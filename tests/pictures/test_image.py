"""Pixels: options, arrays, Pillow images and tensors."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_helpers import ALPHA, COLOURS, GRAY, GRAY3, same, swapped_profile
from PIL import Image

from vqcodec.pictures import image as vq
from vqcodec.pictures.image import (
    ImageError,
    TooManyPixelsError,
    from_array,
    from_pil,
    from_tensor,
    padded_size,
    to_pil,
    to_tensor,
)

RNG = np.random.default_rng(7)


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
    assert (x.shape, x.dtype) == ((1, 3, 16, 16), torch.float32)
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


# ---- the module ----


def test_all_names_exist_and_every_error_is_an_image_error() -> None:
    for name in vq.__all__:
        thing = getattr(vq, name)
        if name.endswith("Error"):
            assert issubclass(thing, ImageError)
    assert issubclass(ImageError, ValueError)


def test_importing_it_loads_no_torch() -> None:
    code = "import sys, vqcodec.pictures.image; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0


def test_a_lazy_damaged_image_is_one_clear_error() -> None:
    buffer = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(buffer, "JPEG")
    lazy = Image.open(io.BytesIO(buffer.getvalue()[:-400]))
    with pytest.raises(vq.UnreadableImageError, match="damaged or cut off"):
        from_pil(lazy)
