"""Picture files: what each kind of file yields, one clear line per failure, and writing."""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, features

from vqcodec import image_files
from vqcodec.image import (
    ImageError,
    ImageWriteError,
    LoadedImage,
    TooManyPixelsError,
    UnreadableImageError,
    UnsupportedOutputError,
    check_output_type,
    load_image,
    output_extensions,
    save_image,
    to_pil,
)

RNG = np.random.default_rng(11)
COLOURS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
ALPHA = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="6">note</r></x:xmpmeta>'


def same(left: np.ndarray, right: np.ndarray, tolerance: int = 0) -> bool:
    assert left.shape == right.shape
    return int(np.abs(left.astype(int) - right.astype(int)).max()) <= tolerance


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG file by hand: Pillow writes neither 16-bit RGB nor the rarer kinds of transparency."""
    stride = len(rows) // height
    filtered = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(filtered)), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for name, body in chunks:
        data += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return data


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "a description"
    return tags.tobytes()


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


# ---- failures: one line, with the name and a remedy ----


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


def test_no_picture(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_text("hello " * 50)
    assert "not a picture" in failure(path)
    assert "HEIC" in failure(b"\0\0\0\x18ftypheic" + bytes(50))
    assert "PDF" in failure(b"%PDF-1.7 ..." + bytes(50))


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
    assert "54 pixels" in failure(data, TooManyPixelsError, max_pixels=53)
    assert "54 pixels" in failure(data, TooManyPixelsError, max_pixels=5)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert load_image(data, max_pixels=54).warnings == ()
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
                if not same(load_image(data, max_pixels=limit).rgb, COLOURS) or limit < 54:
                    wrong.append(limit)
            except TooManyPixelsError:
                if limit >= 54:
                    wrong.append(limit)

    threads = [threading.Thread(target=work, args=(limit,)) for limit in (20, 53, 54, 55, 1000, 10**9)]
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


# ---- writing ----

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


def test_other_pillow_modes_can_be_saved(tmp_path: Path) -> None:
    save_image(tmp_path / "a.png", Image.new("I;16", (3, 2), 65535))
    assert load_image(tmp_path / "a.png").rgb.min() == 255


def test_a_pillow_without_a_format_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()
    monkeypatch.delitem(Image.SAVE, "WEBP")
    assert ".webp" not in image_files.output_extensions()
    with pytest.raises(UnsupportedOutputError, match=r"\.webp"):
        save_image("a.webp", to_pil(COLOURS))
