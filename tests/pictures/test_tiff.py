"""TIFF files: previews in the place of photos, samples in planes, integers of all widths."""

from __future__ import annotations

import contextlib
import io
import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from image_helpers import same
from PIL import Image
from tiff_files import BYTE, LONG, SHORT, tiff

from vqcodec.pictures import further_readers
from vqcodec.pictures.image import ImageError, LoadedImage, UnreadableImageError, from_pil, load_image

RNG = np.random.default_rng(3)
SMALL = RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)
LARGE = RNG.integers(0, 256, (96, 128, 3), dtype=np.uint8)
SENSOR = RNG.integers(0, 4096, (96, 128, 1), dtype=np.uint16)
CFA = 32803
REDUCED = [(254, LONG, [1])]


def refusal(data: bytes) -> str:
    with pytest.raises(UnreadableImageError) as caught:
        load_image(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- which picture ----


@pytest.fixture
def no_further_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(further_readers, "is_there", lambda kind: False)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("mark", [REDUCED, [(255, SHORT, [2])], []])
def test_a_preview_before_a_larger_part_is_refused(order: str, mark: list[tuple[int, int, list[int]]]) -> None:
    message = refusal(tiff(SMALL, 2, order=order, more=mark, parts=[(LARGE, 2, [])]))
    assert "preview" in message
    assert "16 x 12" in message
    assert "128 x 96" in message
    assert "export" in message


@pytest.mark.parametrize("mark", [REDUCED, []])
def test_a_preview_before_a_larger_page_is_refused(mark: list[tuple[int, int, list[int]]]) -> None:
    assert "preview" in refusal(tiff(SMALL, 2, more=mark, pages=[(LARGE, 2, [])]))


def test_a_picture_that_says_it_is_a_preview_is_refused_even_alone() -> None:
    assert "preview" in refusal(tiff(SMALL, 2, more=REDUCED))


RAW = {
    "DNG": tiff(SMALL, 2, more=[*REDUCED, (50706, BYTE, [1, 4, 0, 0])], parts=[(SENSOR, CFA, [])]),
    "one without a mark": tiff(SMALL, 2, parts=[(SENSOR, CFA, [])]),
    "on the chain": tiff(SMALL, 2, pages=[(SENSOR, CFA, [])]),
    "sensor first": tiff(SENSOR, CFA),
    "linear": tiff(LARGE, 34892, more=[(50706, BYTE, [1, 4, 0, 0])]),
    "NEF": tiff(SMALL, 2, parts=[(SENSOR, 1, [(259, SHORT, [34713])])]),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(100),
    "RAF": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "ORF": b"IIRO\x08\0\0\0" + bytes(100),
    "RW2": b"IIU\0\x08\0\0\0" + bytes(100),
}


@pytest.mark.usefixtures("no_further_readers")
@pytest.mark.parametrize("kind", RAW)
def test_a_raw_photo_is_refused_with_what_would_read_it(kind: str) -> None:
    message = refusal(RAW[kind])
    assert "rawpy" in message
    assert "vqcodec[formats]" in message
    assert "develop" in message


@pytest.mark.parametrize("pages", [1, 2])
def test_a_document_is_its_first_page(pages: int) -> None:
    wide = RNG.integers(0, 256, (20, 90, 3), dtype=np.uint8)
    loaded = load_image(tiff(LARGE, 2, pages=[(wide, 2, []), (SMALL, 2, REDUCED)][:pages]))
    assert same(loaded.rgb, LARGE)
    assert loaded.warnings == ("an animation or several pages: only the first one is kept",)


def test_a_smaller_part_is_no_reason_to_refuse() -> None:
    assert same(load_image(tiff(LARGE, 2, parts=[(SMALL, 2, REDUCED)])).rgb, LARGE)


def test_directories_that_lead_in_a_circle_come_to_an_end() -> None:
    data = bytearray(tiff(LARGE, 2))
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    data[start + 2 + 12 * count :][:4] = data[4:8]
    data[start + 2 + 12 * count : start + 6 + 12 * count] = data[4:8]
    with contextlib.suppress(ImageError):
        assert same(load_image(bytes(data)).rgb, LARGE)


# ---- which samples ----

#: order of bytes, in planes, compressed, rows a strip
Layout = tuple[str, bool, bool, int]
PACKED: list[dict[str, bool]] = [{}, {"deflated": True}, {"planes": True}, {"planes": True, "deflated": True}]
LAYOUTS = list(itertools.product("<>", [False, True], [False, True], [0, 5]))


def loaded_tiff(
    samples: np.ndarray, photometric: int, layout: tuple[str, bool, bool, int], *more: object
) -> LoadedImage:
    order, planes, deflated, rows = layout
    data = tiff(samples, photometric, order=order, planes=planes, deflated=deflated, rows_a_strip=rows, more=more)
    return load_image(data)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_colours_are_the_same_side_by_side_and_in_planes(layout: tuple[str, bool, bool, int], dtype: type) -> None:
    samples = RNG.integers(0, np.iinfo(dtype).max, (13, 17, 3), dtype=dtype)
    loaded = loaded_tiff(samples, 2, layout)
    assert same(loaded.rgb, samples if dtype is np.uint8 else samples >> 8, 1)
    assert loaded.warnings == (() if dtype is np.uint8 else ("more than 8 bits a sample: reduced to 8",))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_alpha_is_the_same_side_by_side_and_in_planes(layout: tuple[str, bool, bool, int], dtype: type) -> None:
    samples = RNG.integers(0, np.iinfo(dtype).max, (13, 17, 4), dtype=dtype)
    loaded = loaded_tiff(samples, 2, layout, (338, SHORT, [2]))
    expected = samples if dtype is np.uint8 else samples >> 8
    assert loaded.alpha is not None
    assert same(loaded.rgb, expected[..., :3], 1)
    assert same(loaded.alpha, expected[..., 3], 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("order", ["<", ">"])
def test_inks_are_the_same_side_by_side_and_in_planes(order: str, dtype: type) -> None:
    samples = RNG.integers(0, np.iinfo(dtype).max, (13, 17, 4), dtype=dtype)
    beside, *others = (
        loaded_tiff(samples, 5, (order, planes, deflated, 0)).rgb for planes, deflated in ((0, 0), (1, 0), (1, 1))
    )
    assert beside.std() > 20
    assert all(same(each, beside, 1) for each in others)


def test_lab_is_the_same_side_by_side_and_in_planes() -> None:
    samples = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    beside, *others = (load_image(tiff(samples, 8, **layout)).rgb for layout in PACKED)
    assert beside.std() > 20
    assert all(same(each, beside) for each in others)


@pytest.mark.parametrize("layout", [{}, {"planes": True}, {"deflated": True}])
def test_luma_and_chroma_in_any_layout(layout: dict[str, bool]) -> None:
    samples = np.broadcast_to(np.array([117, 85, 187], np.uint8), (16, 16, 3))
    loaded = load_image(tiff(samples, 6, more=[(530, SHORT, [1, 1])], **layout))
    assert same(loaded.rgb, np.broadcast_to(np.array([200, 90, 40]), (16, 16, 3)), 2)


def test_chroma_of_half_size() -> None:
    data = np.tile(np.array([117, 117, 117, 117, 85, 187], np.uint8), 64).reshape(1, -1, 1)
    size = [(256, LONG, [16]), (257, LONG, [16]), (278, LONG, [16])]
    kind = [(258, SHORT, [8] * 3), (277, SHORT, [3]), (339, SHORT, [1] * 3), (530, SHORT, [2, 2])]
    loaded = load_image(tiff(data, 6, more=[*size, *kind]))
    assert same(loaded.rgb, np.broadcast_to(np.array([200, 90, 40]), (16, 16, 3)), 2)


def test_what_others_opened_with_pillow_is_right_or_refused() -> None:
    deep = RNG.integers(0, 65536, (13, 17, 3), dtype=np.uint16)
    with pytest.raises(UnreadableImageError, match="give the path"):
        from_pil(Image.open(io.BytesIO(tiff(deep, 2, planes=True))))
    with pytest.raises(UnreadableImageError, match="preview"):
        from_pil(Image.open(io.BytesIO(tiff(SMALL, 2, more=REDUCED))))
    for layout in PACKED:
        if not layout.get("planes") or layout.get("deflated"):
            assert same(from_pil(Image.open(io.BytesIO(tiff(deep, 2, **layout)))).rgb, deep >> 8, 1)
    wide = (RAMP * (2**32 - 1)).astype(np.uint32)
    assert same(from_pil(Image.open(io.BytesIO(tiff(wide, 1)))).rgb[..., 0], np.round(255 * RAMP)[..., 0], 1)


RAMP = np.linspace(0, 1, 64 * 48).reshape(48, 64, 1)
INTEGERS = [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32]


@pytest.mark.parametrize("photometric", [0, 1])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", [*INTEGERS, np.float32])
def test_a_gray_ramp_of_any_type_is_a_ramp_or_an_error(dtype: type, order: str, photometric: int) -> None:
    if dtype is np.float32:
        samples = RAMP.astype(np.float32)
    else:
        limits = np.iinfo(dtype)
        samples = np.clip(
            np.round(limits.min + RAMP * (float(limits.max) - limits.min)), limits.min, limits.max
        ).astype(dtype)
    ramp = np.round(255 * (RAMP if photometric else 1 - RAMP))[..., 0]
    for deflated in (False, True):
        try:
            loaded: LoadedImage | None = loaded_tiff(samples, photometric, (order, False, deflated, 0))
        except UnreadableImageError as error:
            loaded, message = None, str(error)
        if loaded is None:
            assert "samples a pixel are not read: convert it" in message
        else:
            assert same(loaded.rgb[..., 0], ramp, 1)
            assert bool(loaded.warnings) == (dtype is not np.uint8)


def test_signed_bytes_above_0_are_taken_as_they_are() -> None:
    samples = np.arange(120, dtype=np.int8).reshape(10, 12, 1)
    assert same(loaded_tiff(samples, 1, ("<", False, False, 0)).rgb[..., 0], samples[..., 0])


def test_samples_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(RAMP.repeat(3, axis=2).astype(np.float32), 2))
    with pytest.raises(UnreadableImageError, match="3 x 32-bit floating-point samples a pixel are not read") as caught:
        load_image(path)
    assert str(caught.value).startswith(f"{path}: TIFF files")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", [1, 3, 4])
def test_orientations_of_any_type_are_applied(orientation: int, kind: int) -> None:
    pixels = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    right = load_image(tiff(pixels, 2, more=[(274, 3, [orientation])])).rgb
    assert right.shape == ((4, 2, 3) if orientation > 4 else (2, 4, 3))
    assert np.array_equal(load_image(tiff(pixels, 2, more=[(274, kind, [orientation])])).rgb, right)


def test_a_palette_of_bytes_is_not_taken_for_one_of_16_bits() -> None:
    """As libtiff takes it; Pillow makes it black."""
    indices = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    palette = np.random.default_rng(2).integers(0, 256, (3, 256))
    for scale in (1, 257):
        data = tiff(indices, 3, more=[(320, 3, (palette * scale).ravel().tolist())])
        assert same(load_image(data).rgb, palette.T.astype(np.uint8).reshape(16, 16, 3))


@pytest.mark.parametrize("big", [False, True])
def test_directories_beyond_any_end_are_damage(big: bool) -> None:
    word = (1 << 64) - 2 if big else (1 << 32) - 2
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, word) if big else struct.pack("<2sHI", b"II", 42, word)
    assert "x 1-bit samples a pixel are not read" in refusal(head + bytes(40)) or "damaged" in refusal(head + bytes(40))


def test_what_packs_the_samples_is_named_where_nobody_reads_it() -> None:
    data = bytearray(tiff(SMALL, 2))
    entry = struct.pack("<HHI", 259, 3, 1)
    at = data.index(entry) + 8
    data[at : at + 2] = struct.pack("<H", 50013)
    assert "3 x 8-bit samples a pixel and compression 50013 are not read" in refusal(bytes(data))


def test_the_byte_order_of_big_tiff_is_named() -> None:
    assert "big-endian BigTIFF files are not read" in refusal(b"MM\0+\0\x08\0\0" + bytes(100))
