"""Writing picture files: every format, and what it cannot hold."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from image_helpers import COLOURS, SRGB, XMP, exif, same
from PIL import Image

from vqcodec.pictures import files as image_files
from vqcodec.pictures.image import (
    ImageWriteError,
    LoadedImage,
    UnsupportedOutputError,
    check_output_type,
    load_image,
    output_extensions,
    save_image,
    to_pil,
)

RNG = np.random.default_rng(11)


LOSSLESS = [".png", ".tif", ".tiff", ".bmp", ".ppm", ".tga", ".jp2"]


@pytest.mark.parametrize("extension", output_extensions())
def test_every_extension_can_be_written_and_read(extension: str, tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.linspace(0, 255, 48, dtype=np.uint8)[None, :, None], (32, 48, 3)).copy()
    path = tmp_path / f"a{extension.upper()}"
    assert save_image(path, to_pil(smooth)) == ()
    loaded = load_image(path)
    assert same(loaded.rgb, smooth, 0 if extension in LOSSLESS else 8)
    assert loaded.warnings == ()


@pytest.mark.parametrize("extension", [".png", ".tif", ".tga", ".jp2", ".webp", ".avif"])
def test_alpha_is_written(extension: str, tmp_path: Path) -> None:
    if extension not in output_extensions():
        pytest.skip(f"this Pillow writes no {extension}")
    alpha = np.zeros((32, 48), np.uint8)
    alpha[8:24, 8:40] = 255
    path = tmp_path / f"a{extension}"
    assert save_image(path, LoadedImage(np.full((32, 48, 3), 90, np.uint8), alpha)) == ()
    loaded = load_image(path)
    assert loaded.alpha is not None
    assert same(loaded.alpha, alpha, 3 if extension == ".avif" else 0)


@pytest.mark.parametrize("extension", [".jpg", ".bmp", ".ppm"])
def test_alpha_goes_onto_white_where_there_is_none(extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    notes = save_image(path, to_pil(np.zeros((16, 16, 3), np.uint8), np.zeros((16, 16), np.uint8)))
    assert len(notes) == 1
    assert "white" in notes[0]
    assert load_image(path).rgb.min() >= 254


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp", ".avif", ".tif"])
def test_profile_and_metadata_are_written(extension: str, tmp_path: Path) -> None:
    if extension not in output_extensions():
        pytest.skip(f"this Pillow writes no {extension}")
    path = tmp_path / f"a{extension}"
    block, packet = exif(1).removeprefix(b"Exif\0\0"), XMP.replace(b'"6"', b'"1"')
    assert save_image(path, LoadedImage(COLOURS, None, SRGB, block, packet)) == ()
    loaded = load_image(path, icc="keep", metadata="keep")
    assert loaded.icc == SRGB
    assert loaded.xmp == packet
    tags = Image.Exif()
    assert loaded.exif is not None
    tags.load(loaded.exif)
    assert tags[0x010E] == "a description"


def test_formats_without_profile_and_metadata_say_so(tmp_path: Path) -> None:
    notes = save_image(tmp_path / "a.bmp", LoadedImage(COLOURS, None, SRGB, exif(1), XMP))
    assert [note.split(":")[0] for note in notes] == [
        "BMP holds no colour profile",
        "BMP cannot hold the EXIF data",
        "BMP cannot hold the XMP data",
    ]
    assert same(load_image(tmp_path / "a.bmp").rgb, COLOURS)


def test_metadata_too_long_for_jpeg_is_left_out(tmp_path: Path) -> None:
    notes = save_image(tmp_path / "a.jpg", LoadedImage(COLOURS, xmp=bytes(70000)))
    assert notes == ("JPEG cannot hold the XMP data: left out",)


def test_unknown_extension_lists_what_works(tmp_path: Path) -> None:
    for name in ("a.xyz", "a", "a.gif"):
        with pytest.raises(UnsupportedOutputError, match=r"\.png \.jpg") as caught:
            save_image(tmp_path / name, to_pil(COLOURS))
        assert name in str(caught.value)
        assert not (tmp_path / name).exists()
    with pytest.raises(UnsupportedOutputError, match="'nope'"):
        save_image(io.BytesIO(), to_pil(COLOURS), "nope")
    with pytest.raises(UnsupportedOutputError, match="without an extension"):
        save_image(io.BytesIO(), to_pil(COLOURS))


def test_format_wins_over_extension_and_has_aliases(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", to_pil(COLOURS), "jpg")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\xff\xd8")
    with (tmp_path / "b.webp").open("wb") as stream:
        save_image(stream, to_pil(COLOURS))
    assert (tmp_path / "b.webp").read_bytes().startswith(b"RIFF")


def test_output_type_can_be_checked_beforehand(tmp_path: Path) -> None:
    assert check_output_type(tmp_path / "a.JPG") == "JPEG"
    assert check_output_type("a", "tif") == check_output_type("a", ".TIFF") == "TIFF"
    assert check_output_type("a.png", "jfif") == "JPEG"
    with pytest.raises(UnsupportedOutputError, match=r"a\.xyz: cannot write an extension '\.xyz'"):
        check_output_type("a.xyz")


def test_quality(tmp_path: Path) -> None:
    noise = to_pil(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    save_image(tmp_path / "a.jpg", noise)
    save_image(tmp_path / "b.jpg", noise, quality=20)
    assert (tmp_path / "b.jpg").stat().st_size * 2 < (tmp_path / "a.jpg").stat().st_size


def test_too_large_for_the_format(tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match="WEBP ends at 16383"):
        save_image(tmp_path / "a.webp", to_pil(np.zeros((1, 16384, 3), np.uint8)))
    assert not (tmp_path / "a.webp").exists()


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(ImageWriteError, match="No such file"):
        save_image(tmp_path / "none" / "a.png", to_pil(COLOURS))


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"precious")

    def fail(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqcodec.whole_files.fill", fail)
    with pytest.raises(ImageWriteError, match="No space left"):
        save_image(path, to_pil(COLOURS))
    assert path.read_bytes() == b"precious"
    assert [each.name for each in tmp_path.iterdir()] == ["a.png"]


def test_other_pillow_modes_can_be_saved(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", Image.new("I;16", (3, 2), 65535))
    assert load_image(tmp_path / "a.png").rgb.min() == 255


def test_a_pillow_without_a_format_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.SAVE, "WEBP")
    assert ".webp" not in image_files.output_extensions()
    with pytest.raises(UnsupportedOutputError, match=r"\.webp"):
        save_image("a.webp", to_pil(COLOURS))
