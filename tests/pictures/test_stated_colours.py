"""Colours that files state without an ICC profile, and bits that 8 do not hold."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from image_helpers import COLOURS, SRGB, encoded, png, same
from PIL import Image, features

from vqcodec.pictures.box_files import avif_bits
from vqcodec.pictures.image import load_image
from vqcodec.pictures.stated_colours import from_codes

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, axis=2)


def with_chunks(pixels: np.ndarray, *chunks: tuple[bytes, bytes]) -> bytes:
    height, width = pixels.shape[:2]
    return png(width, height, 8, 2, pixels.tobytes(), *chunks)


def gamma(value: float) -> tuple[bytes, bytes]:
    return b"gAMA", struct.pack(">I", round(value * 100_000))


def primaries(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values))


SRGB_PRIMARIES = primaries(0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3_PRIMARIES = primaries(0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def srgb_of_light(light: np.ndarray) -> np.ndarray:
    return np.round(255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055))


@pytest.mark.parametrize("more", [(), (SRGB_PRIMARIES,)])
def test_linear_light_of_png(more: tuple[tuple[bytes, bytes], ...]) -> None:
    loaded = load_image(with_chunks(RAMP, gamma(1.0), *more))
    assert same(loaded.rgb, srgb_of_light(RAMP / 255), 1)
    assert loaded.warnings == ()


def test_gray_and_palette_of_png() -> None:
    data = png(16, 16, 8, 0, RAMP[..., 0].tobytes(), gamma(1.0))
    assert same(load_image(data).rgb, srgb_of_light(RAMP / 255), 1)


@pytest.mark.parametrize(
    "chunks",
    [
        (gamma(0.45455),),
        (gamma(0.45455), SRGB_PRIMARIES),
        ((b"sRGB", b"\0"), gamma(1.0), P3_PRIMARIES),
        ((b"cICP", bytes([1, 13, 0, 1])), gamma(1.0)),
        (SRGB_PRIMARIES,),
    ],
)
def test_what_is_srgb_stays_as_it_is(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    loaded = load_image(with_chunks(COLOURS, *chunks))
    assert same(loaded.rgb, COLOURS)
    assert loaded.warnings == ()


#: linear P3 to linear sRGB, as CSS Color 4 has it
P3_TO_SRGB = np.array([[1.2249402, -0.2249402, 0], [-0.0420570, 1.0420570, 0], [-0.0196376, -0.0786360, 1.0982736]])
P3_SAMPLES = np.array([[[200, 100, 50], [128, 128, 128], [60, 180, 90], [255, 255, 255]]], np.uint8)
P3_LIGHT = np.where(P3_SAMPLES <= 10, P3_SAMPLES / 3294.6, ((P3_SAMPLES / 255 + 0.055) / 1.055) ** 2.4)
P3_IN_SRGB = srgb_of_light(np.clip(P3_LIGHT @ P3_TO_SRGB.T, 0, 1)).astype(np.uint8)


@pytest.mark.parametrize("chunks", [(gamma(0.45455), P3_PRIMARIES), ((b"cICP", bytes([12, 13, 0, 1])),)])
def test_wide_colours_of_png(chunks: tuple[tuple[bytes, bytes], ...]) -> None:
    loaded = load_image(with_chunks(P3_SAMPLES, *chunks))
    assert same(loaded.rgb, P3_IN_SRGB, 1)
    assert loaded.warnings == ()


def test_a_profile_goes_before_gamma_and_codes_before_a_profile() -> None:
    profile = (b"iCCP", b"p\0\0" + zlib.compress(SRGB))
    assert same(load_image(with_chunks(COLOURS, profile, gamma(1.0))).rgb, COLOURS)
    loaded = load_image(with_chunks(P3_SAMPLES, (b"cICP", bytes([12, 13, 0, 1])), profile), icc="keep")
    assert same(loaded.rgb, P3_IN_SRGB, 2)
    assert loaded.icc is None


@pytest.mark.parametrize(
    ("chunk", "word"),
    [
        (gamma(0), "gamma"),
        (gamma(30_000), "gamma"),
        (primaries(*[0.3] * 8), "primaries"),
        (primaries(*[0] * 8), "prim"),
    ],
)
def test_colours_that_cannot_be_are_ignored_with_a_warning(chunk: tuple[bytes, bytes], word: str) -> None:
    loaded = load_image(with_chunks(COLOURS, chunk))
    assert same(loaded.rgb, COLOURS)
    assert len(loaded.warnings) == 1
    assert word in loaded.warnings[0]


@pytest.mark.parametrize(("transfer", "word"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_converted_and_told(transfer: int, word: str) -> None:
    loaded = load_image(with_chunks(RAMP, (b"cICP", bytes([9, transfer, 0, 1]))))
    assert loaded.warnings == (f"HDR ({word}) was converted to sRGB: highlights are cut",)
    levels = loaded.rgb.reshape(-1, 3).astype(int)
    assert (np.diff(levels, axis=0) >= 0).all()
    white = {16: 148, 18: 191}[transfer]  # where BT.2408 has diffuse white, 203 nits
    assert 250 <= levels[white].min() <= levels[white + 1].max() <= 255
    assert levels[white // 2].max() < 150


def test_unknown_codes_are_told() -> None:
    loaded = load_image(with_chunks(COLOURS, (b"cICP", bytes([77, 99, 0, 1]))))
    assert same(loaded.rgb, COLOURS)
    assert "unknown codes (77, 99)" in loaded.warnings[0]


def test_gray_is_gray_in_all_colours() -> None:
    for code in (4, 5, 6, 7, 9, 11, 12, 22):
        colours = from_codes(code, 13)
        assert colours is not None
        gray = colours.to_srgb(RAMP)
        assert same(gray[..., 0], gray[..., 1], 1)
        assert same(gray, RAMP, 2)


needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


@needs_avif
@pytest.mark.parametrize(("codes", "expected"), [((12, 13), P3_IN_SRGB), ((1, 13), P3_SAMPLES)])
def test_wide_colours_of_avif(codes: tuple[int, int], expected: np.ndarray) -> None:
    pixels = P3_SAMPLES.repeat(16, axis=0).repeat(16, axis=1)
    data = encoded(Image.fromarray(pixels), "AVIF", quality=100, subsampling="4:4:4")
    at = data.index(b"colrnclx") + 8
    loaded = load_image(data[:at] + struct.pack(">HH", *codes) + data[at + 4 :])
    assert same(loaded.rgb[8::16, 8::16], expected, 6)
    assert loaded.warnings == ()


@needs_avif
def test_deep_avif_is_told() -> None:
    data = encoded(Image.fromarray(COLOURS), "AVIF")
    at = data.index(b"av1C") + 6
    assert not data[at] & 0x40
    assert avif_bits(io.BytesIO(data)) == 8
    assert avif_bits(io.BytesIO(data[:at] + bytes([data[at] | 0x40]) + data[at + 1 :])) == 10
    assert avif_bits(io.BytesIO(data[:at] + bytes([data[at] | 0x60]) + data[at + 1 :])) == 12


def test_deep_jpeg_2000_is_told() -> None:
    deep = encoded(Image.new("I;16", (32, 32), 40_000), "JPEG2000")
    assert load_image(deep).warnings == ("more than 8 bits a sample: reduced to 8",)
    assert load_image(encoded(Image.fromarray(COLOURS), "JPEG2000")).warnings == ()
    as_rgb = bytearray(encoded(Image.fromarray(COLOURS), "JPEG2000", no_jp2=True))
    at = as_rgb.index(b"\xff\x4f\xff\x51") + 42
    as_rgb[at : at + 9 : 3] = bytes([11] * 3)
    assert "more than 8 bits a sample: reduced to 8" in load_image(bytes(as_rgb)).warnings
