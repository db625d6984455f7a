"""EXIF blocks of cameras: turned once, whole or left out, and writable into every type of picture."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from image_helpers import COLOURS, encoded, exif, same
from PIL import Image
from tiff_files import ASCII, BYTE, LONG, RATIONAL, SHORT, UNDEFINED, exif_block

from vqcodec.pictures.exif import (
    DamagedExifError,
    checked_exif,
    exif_orientation,
    exif_resolution,
    with_resolution,
)
from vqcodec.pictures.image import LoadedImage, load_image, output_extensions, save_image

ORIENTATION = 0x0112
#: as cameras have it: texts, numbers, a maker's own notes, a directory in the directory
CAMERA = exif_block(
    [(0x010F, ASCII, b"Maker\0"), (ORIENTATION, SHORT, [6]), (0x011A, RATIONAL, [72, 1]), (0x011B, RATIONAL, [72, 1])],
    inner=[
        (33434, RATIONAL, [1, 100]),
        (34855, SHORT, [100]),
        (36864, UNDEFINED, b"0230"),
        (37500, UNDEFINED, bytes(range(60))),
    ],
)


def upright(block: bytes) -> Image.Exif:
    tags = Image.Exif()
    tags.load(block)
    return tags


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [BYTE, SHORT, LONG, 6, 8, 9, 11, 12])
@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("file", ["JPEG", "PNG", "WEBP"])
def test_a_picture_is_turned_once_whatever_type_the_number_has(
    file: str, orientation: int, kind: int, order: str
) -> None:
    block = exif_block([(ORIENTATION, kind, [orientation])], order)
    options = {"lossless": True} if file == "WEBP" else {}
    pixels = COLOURS if file != "JPEG" else COLOURS.repeat(16, axis=0).repeat(16, axis=1)
    data = encoded(Image.fromarray(pixels), file, exif=b"Exif\0\0" + block, **options)
    as_short = encoded(Image.fromarray(pixels), file, exif=exif(orientation), **options)
    loaded = load_image(data, metadata="keep")
    assert same(loaded.rgb, load_image(as_short).rgb)
    assert loaded.warnings == ()
    assert loaded.exif is not None
    assert exif_orientation(loaded.exif) == 1
    assert upright(loaded.exif)[ORIENTATION] == 1
    buffer = io.BytesIO()
    save_image(buffer, loaded, "png")
    assert same(load_image(buffer.getvalue()).rgb, loaded.rgb)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        (RATIONAL, [6, 1], 6),
        (RATIONAL, [6, 0], None),
        (SHORT, [0], None),
        (SHORT, [9], None),
        (ASCII, b"6\0", None),
        (SHORT, [8, 3], 8),
        (12, [float("nan")], None),
    ],
)
def test_odd_orientations(kind: int, values: Sequence[float], expected: int | None) -> None:
    assert exif_orientation(exif_block([(ORIENTATION, kind, values)])) == expected


@pytest.mark.parametrize("extension", output_extensions())
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_the_exif_of_a_camera_goes_into_every_type(prefix: bytes, extension: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{extension}"
    notes = save_image(path, LoadedImage(COLOURS, exif=prefix + CAMERA))
    again = load_image(path, metadata="keep")
    assert again.rgb.shape == COLOURS.shape
    if notes:
        assert notes == (f"{notes[0].split()[0]} cannot hold the EXIF data: left out",)
        return
    assert again.exif is not None
    tags = upright(again.exif)
    assert tags.get(ORIENTATION, 1) == 1
    assert tags[0x010F] == "Maker"
    assert tags.get_ifd(0x8769)[34855] == 100
    assert float(tags.get_ifd(0x8769)[33434]) == 0.01


def nested_directories(count: int) -> bytes:
    """Each leading to the next one."""
    directory = b"\0\1" + struct.pack(">HHI", 0x8769, LONG, 1)
    places = [8 + 18 * number for number in range(count)]
    return b"MM\0*" + struct.pack(">I", 8) + b"".join(directory + struct.pack(">II", place + 18, 0) for place in places)


def broken_blocks() -> dict[str, bytes]:
    beyond = exif_block([(0x010F, ASCII, b"a longer text\0")])
    circle = bytearray(exif_block([(0x8769, LONG, [8])]))
    return {
        "header": b"MM\0\xd2" + CAMERA[4:],
        "no header": b"garbage, not TIFF",
        "empty": b"II*\0",
        "first directory": b"II*\0\xff\xff\xff\xff" + bytes(20),
        "cut off in the entries": CAMERA[:30],
        "cut off in the values": beyond[:-4],
        "pointer": exif_block([(0x8769, LONG, [100_000])]),
        "pointer of a wrong type": exif_block([(0x8769, SHORT, [8, 8, 8])]),
        "circle": bytes(circle),
        "many directories": nested_directories(20),
        "many entries": exif_block([(0x010F, SHORT, [1])] * 10_001),
    }


@pytest.mark.parametrize("damage", broken_blocks())
def test_damaged_exif_is_dropped_with_a_warning(damage: str, tmp_path: Path) -> None:
    block = broken_blocks()[damage]
    loaded = load_image(encoded(Image.fromarray(COLOURS), "PNG", exif=b"Exif\0\0" + block), metadata="keep")
    assert loaded.exif is None
    assert loaded.rgb.shape in (COLOURS.shape, (7, 5, 3))
    assert len(loaded.warnings) == 1
    assert loaded.warnings[0].startswith("the EXIF data is damaged (")
    assert loaded.damage == loaded.warnings
    for extension in output_extensions():  # and a stream may have it all the same
        notes = save_image(tmp_path / f"a{extension}", LoadedImage(COLOURS, exif=block))
        assert len(notes) == 1
        assert load_image(tmp_path / f"a{extension}").rgb.shape == COLOURS.shape


def test_a_stream_with_an_orientation_is_written_upright(tmp_path: Path) -> None:
    """As earlier versions stored it."""
    block = exif_block([(ORIENTATION, LONG, [6])])
    for extension in output_extensions():
        save_image(tmp_path / f"a{extension}", LoadedImage(COLOURS, exif=block))
        assert load_image(tmp_path / f"a{extension}").rgb.shape == COLOURS.shape


def test_a_wrong_pointer_to_a_thumbnail_is_cleared() -> None:
    block = bytearray(exif_block([(ORIENTATION, SHORT, [6])]))
    block[-4:] = b"\xff\xff\0\0"
    assert checked_exif(bytes(block)) == exif_block([(ORIENTATION, SHORT, [1])])


def test_random_bytes_are_damaged_or_whole() -> None:
    random = np.random.default_rng(1)
    for _ in range(2000):
        block = bytearray(CAMERA)
        for place in random.integers(0, len(block), 4):
            block[place] = random.integers(0, 256)
        try:
            whole = checked_exif(bytes(block))
        except DamagedExifError:
            continue
        assert len(whole) == len(block)
        assert checked_exif(whole) == whole
        assert exif_orientation(whole) in (None, 1)


@pytest.mark.parametrize("block", [None, checked_exif(CAMERA), exif_block([(0x010F, ASCII, b"x\0")], ">")])
def test_dots_per_inch_are_read_as_they_were_written(block: bytes | None) -> None:
    written = with_resolution(block, (300.0, 299.5))
    assert exif_resolution(written) == (300.0, 299.5)
    assert checked_exif(written) == written
    if block is not None:
        assert upright(written)[0x010F] == upright(block)[0x010F]


@pytest.mark.parametrize("source", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("extension", [".png", ".jpg", ".tif", ".bmp"])
def test_dots_per_inch_go_from_file_to_file(extension: str, source: str, tmp_path: Path) -> None:
    data = encoded(Image.fromarray(COLOURS), source, dpi=(300, 300))
    assert load_image(data).exif is None
    loaded = load_image(data, metadata="keep")
    assert loaded.exif is not None
    save_image(tmp_path / f"a{extension}", loaded)
    with Image.open(tmp_path / f"a{extension}") as image:
        assert np.allclose([float(value) for value in image.info["dpi"]], 300, atol=0.5)
    with_camera = encoded(
        Image.fromarray(COLOURS), source, dpi=(300, 300), **({} if source in ("BMP", "TIFF") else {"exif": exif(1)})
    )
    block = load_image(with_camera, metadata="keep").exif
    assert block is not None
    assert exif_resolution(block) == pytest.approx((300, 300), abs=0.1)


def test_no_dots_per_inch_are_made_up() -> None:
    for kind in ("PNG", "JPEG", "TIFF", "WEBP"):
        assert load_image(encoded(Image.fromarray(COLOURS), kind), metadata="keep").exif is None


def test_dots_per_centimetre_and_none() -> None:
    entries = [(0x011A, RATIONAL, [100, 1]), (0x011B, RATIONAL, [100, 1]), (0x0128, SHORT, [3])]
    assert exif_resolution(exif_block(entries)) == (254.0, 254.0)
    assert exif_resolution(exif_block(entries[:1])) is None
    assert exif_resolution(exif_block([*entries[:2], (0x0128, SHORT, [1])])) is None


@pytest.mark.parametrize("dots", [0xFFFF_FFFF, 200_000_000])
def test_resolutions_that_no_file_can_hold_are_left_out(dots: int, tmp_path: Path) -> None:
    block = exif_block([(0x011A, RATIONAL, [dots, 1]), (0x011B, RATIONAL, [dots, 1])])
    assert exif_resolution(block) is None
    for extension in output_extensions():
        save_image(tmp_path / f"a{extension}", LoadedImage(COLOURS, exif=block))
        assert load_image(tmp_path / f"a{extension}").rgb.shape == COLOURS.shape


def test_a_tiff_file_whose_resolution_is_no_number_is_read() -> None:
    data = encoded(Image.fromarray(COLOURS), "TIFF", dpi=(72, 72))
    place = data.index(struct.pack("<II", 72, 1), data.index(struct.pack("<II", 72, 1)) + 1)
    loaded = load_image(data[:place] + bytes(8) + data[place + 8 :])
    assert np.array_equal(loaded.rgb, COLOURS)
