"""Picture files: what each kind of file yields, turned upright, with its metadata."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from image_helpers import ALPHA, COLOURS, SRGB, XMP, encoded, exif, png, same
from PIL import Image, features

from vqcodec.pictures import reading
from vqcodec.pictures.image import UnreadableImageError, load_image, save_image

RNG = np.random.default_rng(11)


# ---- sources ----


def test_path_string_bytes_and_streams_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(COLOURS), "PNG"))
    with path.open("rb") as stream:
        results = [load_image(path), load_image(str(path)), load_image(path.read_bytes()), load_image(stream)]
    for loaded in results:
        assert same(loaded.rgb, COLOURS)
        assert loaded.warnings == ()


def test_a_pipe_can_be_read() -> None:
    out, into = os.pipe()
    os.write(into, encoded(Image.fromarray(COLOURS), "PNG"))
    os.close(into)
    with open(out, "rb") as stream:
        assert same(load_image(stream).rgb, COLOURS)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_the_name_of_a_pipe_can_be_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    data = encoded(Image.fromarray(COLOURS), kind)
    writer = threading.Thread(target=path.write_bytes, args=(data,))
    writer.start()
    loaded = load_image(path)
    writer.join()
    assert same(loaded.rgb, load_image(data).rgb)


def test_what_cannot_seek_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(COLOURS), "PNG")
    monkeypatch.setattr(reading, "_BESIDE_PIXELS", len(data) - 35 * 8)
    assert same(load_image(io.BytesIO(data), max_pixels=35).rgb, COLOURS)
    with pytest.raises(UnreadableImageError, match="more than a picture of 35 pixels needs"):
        load_image(io.BytesIO(data + b"x"), max_pixels=35)


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 3000), (3000, 1)])
def test_any_size(size: tuple[int, int]) -> None:
    pixels = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    assert same(load_image(encoded(Image.fromarray(pixels), "PNG")).rgb, pixels)


# ---- kinds of files ----


def test_16_bit_rgb_is_told() -> None:
    samples = RNG.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    loaded = load_image(png(5, 4, 16, 2, samples.astype(">u2").tobytes()))
    assert same(loaded.rgb, samples >> 8, 1)
    assert loaded.warnings == ("more than 8 bits a sample: reduced to 8",)


def test_16_bit_rgb_with_a_transparent_colour() -> None:
    samples = np.full((2, 2, 3), 0x1234, np.uint16)
    samples[0, 0] = (0xAB12, 0xCD34, 0xEF56)
    key = samples[0, 0].astype(">u2").tobytes()
    loaded = load_image(png(2, 2, 16, 2, samples.astype(">u2").tobytes(), (b"tRNS", key)))
    assert loaded.alpha is not None
    assert loaded.alpha.tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize("colour_type", [4, 6])
def test_16_bit_with_alpha(colour_type: int) -> None:
    channels = 2 if colour_type == 4 else 4
    samples = RNG.integers(0, 65536, (4, 5, channels), dtype=np.uint16)
    loaded = load_image(png(5, 4, 16, colour_type, samples.astype(">u2").tobytes()))
    assert loaded.alpha is not None
    assert same(loaded.alpha, samples[..., -1] >> 8, 1)
    assert same(loaded.rgb[..., 0], samples[..., 0] >> 8, 1)
    assert "reduced to 8" in loaded.warnings[0]


def test_16_bit_gray_with_a_transparent_value() -> None:
    samples = np.array([[0, 1000, 65535]], np.uint16)
    loaded = load_image(png(3, 1, 16, 0, samples.astype(">u2").tobytes(), (b"tRNS", struct.pack(">H", 1000))))
    assert loaded.alpha is not None
    assert loaded.rgb[0, :, 0].tolist() == [0, 4, 255]
    assert loaded.alpha.tolist() == [[255, 0, 255]]
    assert loaded.warnings == ("more than 8 bits a sample: reduced to 8",)


@pytest.mark.parametrize(("depth", "key"), [(1, 1), (2, 2), (4, 9), (8, 77)])
def test_gray_of_few_bits_with_a_transparent_value(depth: int, key: int) -> None:
    top = 2**depth - 1
    row = np.array([0, key, top, key, 0, top, top, 0], np.uint8)
    bits = "".join(f"{value:0{depth}b}" for value in row)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    loaded = load_image(png(8, 1, depth, 0, data, (b"tRNS", struct.pack(">H", key))))
    assert loaded.alpha is not None
    assert loaded.rgb[0, :, 0].tolist() == [int(value) * 255 // top for value in row]
    assert loaded.alpha[0].tolist() == [0 if value == key else 255 for value in row]


@pytest.mark.parametrize("photometric", [0, 1])
def test_16_bit_tiff(photometric: int) -> None:
    samples = RNG.integers(0, 65536, (4, 5), dtype=np.uint16)
    data = encoded(Image.fromarray(samples), "TIFF", tiffinfo={262: photometric})
    data = re.sub(rb"\x06\x01\x03\x00\x01\x00\x00\x00.", b"\x06\x01\x03\0\x01\0\0\0" + bytes([photometric]), data)
    expected = samples / 257 if photometric else 255 - samples / 257
    loaded = load_image(data)
    assert same(loaded.rgb[..., 0], np.round(expected))
    assert loaded.warnings == ("more than 8 bits a sample: reduced to 8",)


def test_16_bit_pgm_and_ppm() -> None:
    samples = np.array([[0, 200, 65535]], ">u2")
    loaded = load_image(b"P5\n3 1\n65535\n" + samples.tobytes())
    assert loaded.rgb[0, :, 0].tolist() == [0, 1, 255]
    loaded = load_image(b"P5\n3 1\n1023\n" + np.array([[0, 512, 1023]], ">u2").tobytes())
    assert loaded.rgb[0, :, 0].tolist() == [0, 128, 255]
    loaded = load_image(b"P6\n1 1\n65535\n" + samples.tobytes())
    assert loaded.rgb.tolist() == [[[0, 1, 255]]]
    assert loaded.warnings == ("more than 8 bits a sample: reduced to 8",)


def test_float_file() -> None:
    loaded = load_image(encoded(Image.fromarray(np.array([[0, 0.2, 1]], np.float32)), "TIFF"))
    assert loaded.rgb[0, :, 0].tolist() == [0, 51, 255]
    assert len(loaded.warnings) == 1


def test_adobe_cmyk_jpeg_is_not_inverted() -> None:
    inks = np.zeros((16, 16, 4), np.uint8)
    inks[:, 8:, 3] = 255
    loaded = load_image(encoded(Image.frombytes("CMYK", (16, 16), inks.tobytes()), "JPEG", quality=95))
    assert loaded.rgb[:, :6].min() > 245
    assert loaded.rgb[:, 10:].max() < 10
    assert "CMYK" in loaded.warnings[0]


def test_animation_keeps_the_first_frame_and_says_so() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        loaded = load_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert same(loaded.rgb, np.broadcast_to(np.array([255, 0, 0], np.uint8), (8, 8, 3)), 3), kind
        assert loaded.warnings == ("an animation or several pages: only the first one is kept",), kind


def test_second_picture_of_a_phone_jpeg_is_told() -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    loaded = load_image(encoded(first, "MPO", save_all=True, append_images=[second]))
    assert loaded.rgb[0, 0, 0] > 240
    assert "main picture" in loaded.warnings[0]


def test_gif_with_transparency() -> None:
    image = Image.new("P", (4, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1, 0, 1])
    loaded = load_image(encoded(image, "GIF", transparency=1))
    assert loaded.alpha is not None
    assert loaded.alpha.tolist() == [[255, 0, 255, 0]]


# ---- orientation and metadata ----

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF"])
def test_orientation_is_applied_exactly_once(kind: str, orientation: int) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    blocks = np.array([[[220, 30, 30], [30, 220, 30], [30, 30, 220]], [[240] * 3, [120] * 3, [10] * 3]], np.uint8)
    pixels = blocks.repeat(16, axis=0).repeat(16, axis=1)
    options = {} if kind in ("PNG", "TIFF") else {"quality": 98}
    data = encoded(Image.fromarray(pixels), kind, exif=exif(orientation), **options)
    loaded = load_image(data, metadata="keep")
    assert same(loaded.rgb[8::16, 8::16], TURNS[orientation](blocks), 12)
    assert loaded.warnings == ()
    assert loaded.exif is not None
    tags = Image.Exif()
    tags.load(loaded.exif)
    assert tags.get(0x0112, 1) == 1
    assert tags[0x010E] == "a description"
    buffer = io.BytesIO()
    save_image(buffer, loaded, "png")
    assert same(load_image(buffer.getvalue()).rgb, loaded.rgb)


def test_alpha_turns_with_the_picture() -> None:
    data = encoded(Image.fromarray(np.dstack([COLOURS, ALPHA])), "PNG", exif=exif(6))
    loaded = load_image(data)
    assert loaded.alpha is not None
    assert same(loaded.alpha, np.rot90(ALPHA, -1))
    assert same(loaded.rgb, np.rot90(COLOURS, -1))


def test_metadata_is_dropped_unless_wanted() -> None:
    data = encoded(Image.fromarray(COLOURS), "JPEG", exif=exif(1), xmp=XMP)
    assert (load_image(data).exif, load_image(data).xmp) == (None, None)
    kept = load_image(data, metadata="keep")
    assert kept.exif is not None
    assert kept.xmp == XMP.replace(b'"6"', b'"1"')


def test_orientation_in_xmp_is_applied_once() -> None:
    loaded = load_image(encoded(Image.fromarray(COLOURS), "WEBP", lossless=True, xmp=XMP), metadata="keep")
    assert same(loaded.rgb, np.rot90(COLOURS, -1))
    buffer = io.BytesIO()
    save_image(buffer, loaded, "png")
    assert same(load_image(buffer.getvalue()).rgb, loaded.rgb)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_impossible_orientation_is_ignored(orientation: int) -> None:
    assert same(load_image(encoded(Image.fromarray(COLOURS), "PNG", exif=exif(orientation))).rgb, COLOURS)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0garbage, not TIFF", b"Exif\0\0II*\0\xff\xff\xff\xff"])
def test_damaged_exif_is_no_error(block: bytes) -> None:
    loaded = load_image(encoded(Image.fromarray(COLOURS), "PNG", exif=block), metadata="keep")
    assert same(loaded.rgb, COLOURS)


def test_profile_of_a_file() -> None:
    data = encoded(Image.fromarray(COLOURS), "PNG", icc_profile=SRGB)
    assert load_image(data).icc is None
    assert load_image(data, icc="keep").icc == SRGB
