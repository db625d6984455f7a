"""Pictures that cannot be read: one line, with the name and a remedy."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
from image_helpers import COLOURS, encoded, png, same
from PIL import Image, features
from tiff_files import tiff

from vqcodec.pictures import further_readers
from vqcodec.pictures.image import ImageError, TooManyPixelsError, UnreadableImageError, load_image

RNG = np.random.default_rng(11)


def failure(path: Path | bytes, kind: type[ImageError] = UnreadableImageError, **options: int) -> str:
    with pytest.raises(kind) as caught:
        load_image(path, **options)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path) if isinstance(path, Path) else "image data")
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "no such file" in failure(tmp_path / "none.png")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder" in failure(tmp_path)


def test_impossible_name() -> None:
    with pytest.raises(UnreadableImageError, match="cannot be opened"):
        load_image("a\0b.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "cannot be opened" in failure(path)


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    assert "is empty" in failure(path)
    assert "is empty" in failure(b"")


def twelve_bit_jpeg(frame: int = 0xC1, bits: int = 12) -> bytes:
    """One whose header says so, and no more."""
    data = encoded(Image.fromarray(COLOURS), "JPEG")
    at = data.index(b"\xff\xc0")
    return data[:at] + bytes([0xFF, frame]) + data[at + 2 : at + 4] + bytes([bits]) + data[at + 5 :]


def test_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("hello " * 50)
    assert "not a picture" in failure(path)
    assert "HEIC" in failure(b"\0\0\0\x18ftypheic" + bytes(50))
    assert "PDF" in failure(b"%PDF-1.7 ..." + bytes(50))


NO_DAMAGE = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(50),
    "JPEG XL": b"\xff\x0a" + bytes(50),
    "raw photos": b"FUJIFILMCCD-RAW " + bytes(50),
    "SVG": b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- drawn -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "web page": b"<!DOCTYPE html><html><body>not found</body></html>",
    "videos": b"\0\0\0\x18ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(50),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(50),
    "vqcodec decode": b"\xf5V\x01" + bytes(50),
    "12 bits a sample": twelve_bit_jpeg(),
    "lossless JPEG": twelve_bit_jpeg(frame=0xC3, bits=8),
    "floating-point samples": tiff(np.zeros((9, 9, 3), np.float32), 2),
}


@pytest.mark.parametrize("what", NO_DAMAGE)
def test_what_is_not_read_is_not_called_damaged(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further_readers, "is_there", lambda kind: False)
    message = failure(NO_DAMAGE[what])
    assert what in message
    assert "damaged" not in message
    assert ": " in message.split(what)[-1] or what in ("vqcodec decode", "12 bits a sample")


@pytest.mark.parametrize(("kind", "package"), [("HEIC", "pillow-heif"), ("JPEG XL", "pillow-jxl-plugin")])
def test_the_package_that_would_read_it_is_named(kind: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further_readers, "is_there", lambda kind: False)
    message = failure(NO_DAMAGE[kind])
    assert f"{package}, which is not installed: pip install 'vqcodec[formats]'" in message


def test_postscript_is_never_run() -> None:
    assert "EPS" in failure(encoded(Image.fromarray(COLOURS), "EPS"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000"])
def test_a_file_cut_off_anywhere(kind: str, tmp_path: Path) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow has no {kind}")
    data = encoded(Image.fromarray(RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)), kind)
    path = tmp_path / f"a.{kind.lower()}"
    messages = []
    for end in range(1, len(data), max(1, len(data) // 23)):
        path.write_bytes(data[:end])
        try:
            load_image(path)
        except UnreadableImageError as error:
            messages.append(str(error))
    assert len(messages) >= 20
    assert all(message.startswith(f"{path}: ") and "\n" not in message for message in messages)
    path.write_bytes(data[: len(data) // 2])
    failure(path)


def test_random_damage_is_an_image_error_or_a_picture() -> None:
    image = Image.fromarray(RNG.integers(0, 256, (20, 20, 4), dtype=np.uint8))
    messages = []
    for kind in ("PNG", "WEBP", "TIFF", "GIF", "ICO", "JPEG2000", "TGA"):
        data = encoded(image, kind, **({"sizes": [(20, 20)]} if kind == "ICO" else {}))
        for _ in range(60):
            damaged = bytearray(data)
            for at in RNG.integers(0, min(len(data), 300), 3):
                damaged[at] = RNG.integers(0, 256)
            try:
                load_image(bytes(damaged), max_pixels=10**5)
            except ImageError as error:
                messages.append(str(error))
    assert messages
    assert not any("\n" in message for message in messages)


def test_a_bomb_is_refused_before_decoding() -> None:
    bomb = png(60000, 60000, 8, 2, b"\0\0\0" * 60000)
    before = Image.MAX_IMAGE_PIXELS
    message = failure(bomb, TooManyPixelsError)
    assert "3600000000 pixels" in message
    assert "limit of 200000000" in message
    assert "--max-pixels" in message
    assert before == Image.MAX_IMAGE_PIXELS


def test_our_limit_counts_not_that_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(COLOURS), "PNG")
    assert "35 pixels" in failure(data, TooManyPixelsError, max_pixels=34)
    assert "35 pixels" in failure(data, TooManyPixelsError, max_pixels=5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(data, max_pixels=35).warnings == ()
    assert Image.MAX_IMAGE_PIXELS == 10


def test_a_bomb_inside_an_icon_is_refused() -> None:
    inside = encoded(Image.new("RGBA", (300, 300)), "PNG")
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inside), 22) + inside
    assert "90000 pixels" in failure(icon, TooManyPixelsError, max_pixels=1000)


def test_threads_share_the_settings_of_pillow() -> None:
    data = encoded(Image.fromarray(COLOURS), "PNG")
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    wrong: list[object] = []

    def work(limit: int) -> None:
        for _ in range(40):
            try:
                if not same(load_image(data, max_pixels=limit).rgb, COLOURS) or limit < 35:
                    wrong.append(limit)
            except TooManyPixelsError:
                if limit >= 35:
                    wrong.append(limit)

    threads = [threading.Thread(target=work, args=(limit,)) for limit in (20, 34, 35, 36, 1000, 10**9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert before == (Image.MAX_IMAGE_PIXELS, list(warnings.filters))


def test_what_the_reader_says_becomes_a_warning_line() -> None:
    icon = bytearray(encoded(Image.new("RGBA", (16, 16)), "ICO", sizes=[(16, 16)]))
    icon[6] = 32  # the directory claims another width than the picture has
    loaded = load_image(bytes(icon))
    assert any(line.startswith("Pillow says: ") for line in loaded.warnings)
