"""Damage that decoders pass over: told as a warning that names the file's fault, and on nobody's stderr."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import vqcodec
from image_helpers import encoded, same
from PIL import Image
from tiff_files import tiff

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.pictures.image import UnreadableImageError, load_image
from vqcodec.pictures.libtiff import libtiff_messages

PHOTO = synthetic_picture(192, 128, seed=1)
NOISE = np.random.default_rng(1).integers(0, 256, (128, 192, 3), dtype=np.uint8)
KINDS = {
    "plain": {},
    "fine": {"quality": 95, "subsampling": 0},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "many restarts": {"restart_marker_blocks": 7, "quality": 30},
    "optimised": {"optimize": True},
    "gray": {},
}


def jpeg(pixels: np.ndarray, kind: str) -> bytes:
    image = Image.fromarray(pixels)
    return encoded(image.convert("L") if kind == "gray" else image, "JPEG", **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pixels", [PHOTO, NOISE, np.full_like(PHOTO, 255), np.zeros_like(PHOTO), PHOTO[:7, :9]])
def test_a_whole_jpeg_has_no_damage(pixels: np.ndarray, kind: str) -> None:
    data = jpeg(pixels, kind)
    assert load_image(data).damage == ()
    assert load_image(data + b"what follows").damage == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_a_jpeg_whose_data_ends_early_is_told(kept: float, kind: str) -> None:
    data = jpeg(NOISE, kind)
    start = data.rindex(b"\xff\xda") + 20
    damaged = data[: start + int(kept * (len(data) - start))].rstrip(b"\xff") + data[-2:]
    loaded = load_image(damaged)
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].startswith("the JPEG data is damaged: ")
    assert loaded.damage == loaded.warnings
    assert load_image(damaged, look_for_damage=False).warnings == ()


def damaged(data: bytes, how: str, rng: random.Random) -> bytes:
    """A JPEG file with its coded data changed at one place."""
    start, size = data.rindex(b"\xff\xda") + 20, rng.choice((1, 16, 100))
    at, other = (rng.randrange(start, len(data) - 2 - size) for _ in range(2))
    middle = {
        "a bit": bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 : at + size],
        "cut out": b"",
        "zeros": bytes(size),
        "put in": rng.randbytes(size) + data[at : at + size],
        "another part": data[other : other + size],
    }
    return data[:at] + middle[how] + data[at + size :]


@pytest.mark.parametrize("how", ["a bit", "cut out", "zeros", "put in", "another part"])
def test_much_damage_in_the_middle_of_a_jpeg_is_told(how: str) -> None:
    """Not all: bits that stand for other values of the same length are as good as the right ones."""
    rng = random.Random(how)
    told = wrong = 0
    for number in range(60):
        data = jpeg(PHOTO, list(KINDS)[number % len(KINDS)])
        try:
            loaded = load_image(damaged(data, how, rng))
        except UnreadableImageError:
            continue
        error = np.abs(loaded.rgb.astype(int) - load_image(data).rgb).max(axis=2)
        if (error > 8).mean() > 0.01:
            wrong += 1
            told += bool(loaded.damage)
    print(f"{how}: {told} of {wrong} files in which more than 1 % of the pixels are wrong are told")
    assert wrong >= 20
    assert told >= 0.4 * wrong


def test_a_jpeg_with_data_left_over_is_told() -> None:
    data = jpeg(NOISE, "plain")
    damaged = data[:-2] + bytes(range(1, 100)) + data[-2:]
    assert "extraneous bytes before marker 0xd9" in load_image(damaged).warnings[0]


def test_restarts_in_a_wrong_order_are_told() -> None:
    data = jpeg(NOISE, "restarts")
    at = data.index(b"\xff\xd1")
    damaged = data[:at] + b"\xff\xd3" + data[at + 2 :]
    assert "the JPEG data is damaged" in load_image(damaged).warnings[0]


def damaged_jpeg_in_tiff() -> bytes:
    data = bytearray(encoded(Image.fromarray(NOISE), "TIFF", compression="jpeg"))
    data[9000:9005] = b"\xff" * 5
    return bytes(data)


def test_what_libtiff_says_is_a_warning_of_the_file(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(damaged_jpeg_in_tiff())
    loaded = load_image(path)
    assert len(loaded.damage) == 1
    assert loaded.damage[0].startswith("libtiff says: ")
    assert capfd.readouterr().err == ""


def test_what_libtiff_says_of_an_unreadable_file_is_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    data = tiff(NOISE, 2, deflated=True)
    with pytest.raises(UnreadableImageError, match="libtiff says: Decoding error"):
        load_image(data[:9000] + bytes(50) + data[9050:])
    assert capfd.readouterr().err == ""


def test_what_others_write_meanwhile_is_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    with libtiff_messages() as messages:
        os.write(2, b"warning: a.png: is old.\nZIPDecode: Decoding error at scanline 0.\nlast")
        os.write(2, b" words\nTIFFReadDirectory: Warning, Unknown field with tag 5 (0x5) encountered.\n")
        os.write(2, b"x.tif: Warning, something odd.\n")
    assert capfd.readouterr().err == "warning: a.png: is old.\nlast words\n"
    assert messages.errors == ["Decoding error at scanline 0."]
    assert messages.warnings == ["something odd."]


@pytest.mark.usefixtures("installed")
def test_damage_is_a_warning_or_with_strict_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(damaged_jpeg_in_tiff())
    result = vqcodec("encode", path, tmp_path / "a.vq", "--model", "tiny")
    assert result.exit_code == 0
    assert result.stderr.startswith(f"warning: {path}: libtiff says: ")
    result = vqcodec("encode", path, tmp_path / "b.vq", "--model", "tiny", "--strict")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {path}: libtiff says: ")
    assert result.stderr.endswith(": refused by --strict\n")
    assert not (tmp_path / "b.vq").exists()


@pytest.mark.usefixtures("installed")
def test_strict_lets_whole_pictures_pass_that_are_converted(tmp_path: Path) -> None:
    deep = tiff(np.arange(64 * 64 * 3, dtype=np.uint16).reshape(64, 64, 3), 2)
    (tmp_path / "a.tif").write_bytes(deep)
    assert same(load_image(deep).rgb, load_image(tmp_path / "a.tif").rgb)
    assert vqcodec("encode", tmp_path / "a.tif", tmp_path / "a.vq", "--model", "tiny", "--strict").exit_code == 0


@pytest.fixture
def installed(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_MODELS", str(tiny_model.parent))
