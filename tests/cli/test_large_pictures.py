"""Parts of pictures, and pictures that are written while they are decoded."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_picture, make_stream, names_in, only_error, vqcodec
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from vqcodec import Codec
from vqcodec.bitstream import read_header
from vqcodec.pictures.row_sources import VipsRows

SIZE = (200, 150)
#: not imported here: see `vqcodec.pictures.row_sources.open_rows`
needs_pyvips = pytest.mark.skipif(find_spec("pyvips") is None, reason="no pyvips")


@pytest.fixture
def stream(tmp_path: Path, tiny_model: Path) -> Path:
    return make_stream(tmp_path / "picture.vq", tiny_model, "--regions", 64, width=SIZE[0], height=SIZE[1])


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def test_regions_change_bytes_and_no_pixel(tmp_path: Path, tiny_model: Path, stream: Path) -> None:
    plain = make_stream(tmp_path / "plain.vq", tiny_model, width=SIZE[0], height=SIZE[1])
    assert read_header(stream.read_bytes()).region_side == 64
    assert plain.stat().st_size < stream.stat().st_size
    for source in (plain, stream):
        assert vqcodec("decode", source, source.with_suffix(".png"), "--model", tiny_model).exit_code == 0
    assert np.array_equal(pixels(plain.with_suffix(".png")), pixels(stream.with_suffix(".png")))


def test_info_tells_of_regions(stream: Path) -> None:
    assert json.loads(vqcodec("info", stream, "--json").stdout)["region_side"] == 64
    assert "regions of 64 pixels" in vqcodec("info", stream).stdout


@pytest.mark.parametrize("crop", ["0,0,200,150", "60,70,10,1", "199,149,1,1", " 10, 20, 130, 90 "])
def test_crop_gives_the_same_pixels_as_the_whole(tmp_path: Path, tiny_model: Path, stream: Path, crop: str) -> None:
    whole, part = tmp_path / "whole.png", tmp_path / "part.png"
    assert vqcodec("decode", stream, whole, "--model", tiny_model).exit_code == 0
    result = vqcodec("decode", stream, part, "--model", tiny_model, "--crop", crop)
    assert result.exit_code == 0, result.output
    left, top, width, height = map(int, crop.split(","))
    assert f"{width} x {height}" in result.stdout
    assert np.array_equal(pixels(part), pixels(whole)[top : top + height, left : left + width])


@pytest.mark.parametrize(
    ("crop", "code", "message"),
    [
        ("0,0,201,10", 1, "picture.vq: --crop reaches beyond its 200 x 150 pixels"),
        ("1,149,1,2", 1, "reaches beyond"),
        ("1,2,3", 2, "is not X,Y,W,H"),
        ("-1,2,3,4", 2, "is not X,Y,W,H"),
        ("1,2,0,4", 2, "has no pixels"),
    ],
)
def test_crops_that_are_refused(tmp_path: Path, stream: Path, crop: str, code: int, message: str) -> None:
    before = names_in(tmp_path)
    result = vqcodec("decode", stream, tmp_path / "part.png", "--crop", crop)
    assert result.exit_code == code
    assert message in result.stderr
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(("side", "message"), [(40, "multiple of"), (0, "range")])
def test_sides_that_are_refused(tmp_path: Path, side: int, message: str) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    result = vqcodec("encode", tmp_path / "a.png", tmp_path / "a.vq", "--regions", side)
    assert result.exit_code == 2
    assert message in result.stderr
    assert names_in(tmp_path) == ["a.png"]


def test_regions_and_a_size_do_not_go_together(tmp_path: Path) -> None:
    Image.new("RGB", SIZE).save(tmp_path / "a.png")
    result = vqcodec("encode", tmp_path / "a.png", tmp_path / "a.vq", "--regions", 64, "--max-bytes", 300)
    assert "--regions goes with" in result.stderr.splitlines()[-1]
    assert result.exit_code == 2


@pytest.mark.parametrize("has_alpha", [False, True])
def test_large_pictures_are_written_while_they_are_decoded(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, has_alpha: bool
) -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (150, 200, 4 if has_alpha else 3), np.uint8))
    picture.save(tmp_path / "a.png")
    assert vqcodec("encode", tmp_path / "a.png", tmp_path / "a.vq", "--model", tiny_model).exit_code == 0
    assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "at-once.png", "--model", tiny_model).exit_code == 0
    monkeypatch.setattr("vqcodec.cli.decode._LARGE", 1000)
    monkeypatch.setattr("vqcodec.cli.common.batch._SLOW_PIXELS", 1000)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 4)
    result = vqcodec("decode", tmp_path / "a.vq", tmp_path / "in-rows.png", "--model", tiny_model)
    assert result.exit_code == 0, result.output
    assert "a.vq: 0 megapixels, which take a while" in result.stderr
    assert np.array_equal(pixels(tmp_path / "in-rows.png"), pixels(tmp_path / "at-once.png"))
    piped = vqcodec("decode", tmp_path / "a.vq", "-", "--model", tiny_model, "-f")
    assert piped.stdout_bytes == (tmp_path / "in-rows.png").read_bytes()


def test_a_large_picture_that_fails_leaves_nothing(
    tmp_path: Path, tiny_model: Path, stream: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("vqcodec.cli.decode._LARGE", 1000)
    monkeypatch.setattr("vqcodec.cli.common.files._Summed.write", full)
    before = names_in(tmp_path)
    result = vqcodec("decode", stream, tmp_path / "a.png", "--model", tiny_model)
    assert "No space left on device" in only_error(result)
    assert names_in(tmp_path) == before


def test_a_file_is_read_only_where_the_part_is(tiny_model: Path, stream: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu")
    whole = np.asarray(codec.decode(stream))
    data = bytearray(stream.read_bytes())
    data[-1] ^= 0x5A  # the lower right region of the last level
    stream.write_bytes(data)
    part = np.asarray(codec.decode(stream, crop=(0, 0, 20, 10)))
    assert np.array_equal(part, whole[:10, :20])


@pytest.mark.parametrize("crop", [(0, 0, 0, 1), (-1, 0, 5, 5), (0, 100, 5, 51)])
def test_crops_beyond_the_picture(tiny_model: Path, stream: Path, crop: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"a part of|reach beyond"):
        Codec.load(tiny_model, device="cpu").decode(stream, crop=crop)


def test_regions_with_a_size_of_the_stream(tiny_model: Path) -> None:
    with pytest.raises(ValueError, match="wanted size"):
        Codec.load(tiny_model, device="cpu").encode(np.zeros((90, 90, 3), np.uint8), region_side=64, max_bytes=100)


@needs_pyvips
@pytest.mark.parametrize(("name", "mode"), [("a.png", "RGB"), ("a.tif", "RGB"), ("a.jpg", "RGB"), ("a.png", "L")])
def test_large_pictures_are_read_while_they_are_encoded(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, name: str, mode: str
) -> None:
    picture = make_picture(tmp_path / name, *SIZE, mode=mode)
    expected = Codec.load(tiny_model, device="cpu").encode(picture)
    monkeypatch.setattr("vqcodec.cli.encode._LARGE", 1000)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 3)
    read = []
    before = VipsRows.read
    monkeypatch.setattr(VipsRows, "read", lambda self, count: read.append(count) or before(self, count))
    result = vqcodec("encode", picture, tmp_path / "a.vq", "--model", tiny_model)
    assert result.exit_code == 0, result.output
    assert len(read) > 1
    assert sum(read) == SIZE[1]
    if not name.endswith("jpg"):  # whose decoders differ by a step
        assert (tmp_path / "a.vq").read_bytes() == expected


@needs_pyvips
@pytest.mark.parametrize(
    "kind",
    ["alpha", "profile", "turned", "turned by XMP", "gamma", "codes", "16 bits", "small", "max-bytes", "text", "GIF"],
)
def test_what_needs_the_whole_picture_is_read_as_one(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("vqcodec.cli.encode._LARGE", 10**6 if kind == "small" else 1000)
    monkeypatch.setattr(VipsRows, "read", lambda self, count: pytest.fail("read by rows"))
    image, options = Image.new("RGB", SIZE, "teal"), {}
    if kind == "alpha":
        image.putalpha(Image.linear_gradient("L").resize(SIZE))
    if kind == "profile":
        options["icc_profile"] = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    if kind == "turned":
        options["exif"] = Image.Exif()
        options["exif"][274] = 6
    if kind == "turned by XMP":
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", '<rdf:Description tiff:Orientation="6"/>')
    if kind in ("gamma", "codes"):  # 1.0; BT.2020 with PQ
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add(
            *((b"gAMA", (100_000).to_bytes(4, "big")) if kind == "gamma" else (b"cICP", b"\x09\x10\0\1"))
        )
    if kind == "16 bits":
        image = Image.fromarray(np.full((150, 200), 40_000, np.uint16))
    image.save(tmp_path / "a.png", "GIF" if kind == "GIF" else "PNG", **options)
    if kind == "text":
        (tmp_path / "a.png").write_text("no picture")
    limit = ("--max-bytes", 5000) if kind == "max-bytes" else ()
    result = vqcodec("encode", tmp_path / "a.png", tmp_path / "a.vq", "--model", tiny_model, *limit)
    assert result.exit_code == (kind == "text"), result.output


@needs_pyvips
def test_large_pictures_that_are_cut_off_or_too_large(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqcodec.cli.encode._LARGE", 1000)
    picture = make_picture(tmp_path / "a.png", *SIZE)
    few = vqcodec("encode", picture, tmp_path / "a.vq", "--model", tiny_model, "--max-pixels", 20_000)
    assert "30000 pixels, more than the limit of 20000" in only_error(few)
    picture.write_bytes(picture.read_bytes()[:-3000])
    cut = vqcodec("encode", picture, tmp_path / "a.vq", "--model", tiny_model)
    assert "a.png" in only_error(cut)
    assert "damaged or cut off" in only_error(cut)
    assert names_in(tmp_path) == ["a.png"]


@needs_pyvips
def test_large_pictures_that_only_libvips_finds_damaged_are_read_as_a_whole(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqcodec.cli.encode._LARGE", 1000)
    picture = make_picture(tmp_path / "a.jpg", *SIZE)
    picture.write_bytes(picture.read_bytes()[:-2])
    result = vqcodec("encode", picture, tmp_path / "a.vq", "--model", tiny_model)
    assert result.exit_code == 0, result.output
    assert "the end of the file is missing, but no part of the picture" in result.stderr
    strict = vqcodec("encode", "--strict", picture, tmp_path / "b.vq", "--model", tiny_model)
    assert "refused by --strict" in only_error(strict)
