"""Files that every browser shows: taken with a warning. What lacks pixels stays an error."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from image_helpers import COLOURS, SRGB, XMP, encoded, png, same, swapped_profile
from PIL import Image

from vqcodec.pictures.image import TooManyPixelsError, UnreadableImageError, load_image

RNG = np.random.default_rng(5)
SMOOTH = np.add.outer(np.arange(64), 2 * np.arange(80))[..., None].repeat(3, axis=2).astype(np.uint8)


def with_chunk(name: bytes, body: bytes, *, good: bool = True) -> bytes:
    """COLOURS as a PNG file with one more chunk, its checksum right or wrong."""
    data = encoded(Image.fromarray(COLOURS), "PNG")
    checksum = zlib.crc32(name + body) ^ (0 if good else 1)
    chunk = struct.pack(">I", len(body)) + name + body + struct.pack(">I", checksum)
    return data[:33] + chunk + data[33:]


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (b"iCCP", b"p\0\0" + zlib.compress(SRGB)),
        (b"pHYs", bytes(9)),
        (b"gAMA", struct.pack(">I", 100_000)),
        (b"tEXt", b"key\0text"),
        (b"eXIf", b"II*\0\x08\0\0\0\0\0"),
        (b"zzZz", b"unknown"),
    ],
)
def test_a_wrong_checksum_of_what_is_no_pixels_is_a_warning(name: bytes, body: bytes) -> None:
    loaded = load_image(with_chunk(name, body, good=False), metadata="keep")
    assert same(loaded.rgb, COLOURS)
    assert loaded.warnings == (f"the chunk {name.decode()} is damaged (wrong checksum) and was ignored",)
    assert loaded.damage == loaded.warnings
    assert loaded.exif is None


def test_a_wrong_checksum_behind_the_pixels() -> None:
    data = encoded(Image.fromarray(COLOURS), "PNG")
    loaded = load_image(data[:-12] + b"\0\0\0\x04tEXta\0bc\0\0\0\0" + data[-12:])
    assert same(loaded.rgb, COLOURS)
    assert "tEXt" in loaded.warnings[0]


@pytest.mark.parametrize("place", [20, 45, 60])
def test_wrong_checksums_of_header_and_pixels_stay_errors(place: int) -> None:
    data = bytearray(encoded(Image.fromarray(COLOURS), "PNG"))
    data[place] ^= 1
    with pytest.raises((UnreadableImageError, TooManyPixelsError)):
        load_image(bytes(data))


LONG_TEXT = b"a" * (3 << 20)


@pytest.mark.parametrize(
    "chunk",
    [
        (b"zTXt", b"key\0\0" + zlib.compress(LONG_TEXT)),
        (b"iTXt", b"key\0\1\0\0\0" + zlib.compress(LONG_TEXT)),
        (b"iTXt", b"key\0\0\0\0\0" + LONG_TEXT),
        (b"tEXt", b"key\0" + LONG_TEXT),
    ],
)
def test_much_text_is_ignored(chunk: tuple[bytes, bytes]) -> None:
    loaded = load_image(with_chunk(*chunk))
    assert same(loaded.rgb, COLOURS)
    assert loaded.warnings == ("text of more than 1 MB was ignored",)


def test_a_text_that_is_a_bomb_is_ignored() -> None:
    bomb = zlib.compress(bytes(64 << 20), 9)
    for name, head in ((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0"), (b"iCCP", b"profile\0\0")):
        loaded = load_image(with_chunk(name, head + bomb), metadata="keep")
        assert same(loaded.rgb, COLOURS)
        assert "more than 16 MB" in loaded.warnings[0]
        assert loaded.xmp is None


def test_a_long_profile_and_a_long_packet_are_used() -> None:
    profile = bytearray(swapped_profile() + bytes(2 << 20))
    profile[:4] = struct.pack(">I", len(profile))
    loaded = load_image(with_chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(profile))))
    assert same(loaded.rgb, COLOURS[..., [1, 0, 2]], 4)
    packet = XMP.replace(b"note", b"n" * (2 << 20))
    loaded = load_image(with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(packet)), metadata="keep")
    assert loaded.xmp == packet.replace(b'"6"', b'"1"')


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_without_its_last_bytes_is_taken_with_a_warning(lost: int, restarts: int, progressive: bool) -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", quality=90, progressive=progressive, restart_marker_rows=restarts)
    loaded = load_image(data[:-lost])
    assert same(loaded.rgb, load_image(data).rgb)
    assert loaded.warnings == ("the end of the file is missing, but no part of the picture",)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("restarts", [0, 1])
def test_a_jpeg_that_lacks_pixels_stays_an_error(restarts: int, progressive: bool) -> None:
    noise = RNG.integers(0, 256, (64, 80, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise), "JPEG", quality=90, progressive=progressive, restart_marker_rows=restarts)
    for end in (*range(len(data) // 2, len(data) - 4, len(data) // 40), len(data) - 4):
        with pytest.raises(UnreadableImageError, match="cut off"):
            load_image(data[:end])


def test_a_progressive_jpeg_cut_off_between_two_scans_stays_an_error() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", quality=90, progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for start in scans[1:]:
        with pytest.raises(UnreadableImageError, match="cut off"):
            load_image(data[:start])


def test_png_with_the_legacy_exif_text_is_turned() -> None:
    block = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    text = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n")
    assert same(load_image(with_chunk(b"zTXt", text)).rgb, np.rot90(COLOURS, -1))


def test_16_bit_png_with_a_damaged_chunk() -> None:
    samples = RNG.integers(0, 65536, (4, 5, 3), dtype=np.uint16)
    data = png(5, 4, 16, 2, samples.astype(">u2").tobytes(), (b"gAMA", struct.pack(">I", 45455)))
    at = data.index(b"gAMA") + 8
    loaded = load_image(data[:at] + b"\0\0\0\0" + data[at + 4 :])
    assert same(loaded.rgb, samples >> 8, 1)
    assert len(loaded.warnings) == 2


def webp_stating(difference: int, **options: object) -> bytes:
    """COLOURS as a WebP file whose first bytes give another length than it has."""
    data = encoded(Image.fromarray(COLOURS), "WEBP", **options)
    return data[:4] + struct.pack("<I", max(len(data) - 8 + difference, 0)) + data[8:]


@pytest.mark.parametrize("difference", [2, 5000, 1 << 31, -2, -(1 << 20)])
@pytest.mark.parametrize("options", [{"quality": 80}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0"}])
@pytest.mark.parametrize("behind", [b"", b"what follows the file"])
def test_a_wrong_length_of_webp_is_a_warning(difference: int, options: dict[str, object], behind: bytes) -> None:
    loaded = load_image(webp_stating(difference, **options) + behind)
    assert same(loaded.rgb, load_image(webp_stating(0, **options)).rgb)
    assert len(loaded.damage) == 1
    assert "its end was taken for it" in loaded.damage[0]


def test_webp_of_its_own_length_is_taken_as_it_is() -> None:
    assert load_image(webp_stating(0) + b"what follows the file").damage == ()


@pytest.mark.parametrize("difference", [0, 100])
def test_webp_that_lacks_pixels_stays_an_error(difference: int) -> None:
    with pytest.raises(UnreadableImageError):
        load_image(webp_stating(difference)[:-100])


@pytest.mark.parametrize("cut", [1, 4, 8, 11, 12])
def test_png_without_its_last_bytes(cut: int) -> None:
    loaded = load_image(encoded(Image.fromarray(COLOURS), "PNG")[:-cut])
    assert same(loaded.rgb, COLOURS)
    assert loaded.damage == ("the end of the file is missing, but no part of the picture",)


def test_png_that_ends_between_two_parts_of_its_pixels_stays_an_error() -> None:
    noise = Image.fromarray(RNG.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    data = encoded(noise, "PNG")
    second = data.index(b"IDAT", data.index(b"IDAT") + 4) - 4
    with pytest.raises(UnreadableImageError, match="truncated"):
        load_image(data[:second])


def test_jpeg_with_odd_metadata_that_only_libjpeg_leaves_aside() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG", quality=95)
    length = 2 + int.from_bytes(data[4:6], "big")
    odd = data[:2] + b"\xff\xe0\x00\x07JFIF\0" + data[2 + length :]
    exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    loaded = load_image(odd)
    assert same(loaded.rgb, load_image(data).rgb)
    assert loaded.damage == ("what stands before its pixels is damaged and was ignored",)
    turned = load_image(odd[:2] + exif + odd[2:])
    assert same(turned.rgb, np.rot90(load_image(data).rgb, -1))


def test_jpeg_that_libjpeg_refuses_too_stays_an_error() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG")
    with pytest.raises(UnreadableImageError, match="damaged from its start"):
        load_image(data[:2] + b"\xff\xe0\x00\x07JFIF\0" + data[2 : len(data) // 2])


def test_around_a_gif_picture_smaller_than_its_canvas_there_is_nothing() -> None:
    data = bytearray(encoded(Image.fromarray(SMOOTH[..., 0]), "GIF"))
    data[6:10] = struct.pack("<HH", 100, 90)  # the canvas
    loaded = load_image(bytes(data))
    assert loaded.rgb.shape == (90, 100, 3)
    assert loaded.alpha is not None
    assert loaded.alpha[:64, :80].min() == 255
    assert loaded.alpha[64:].max() == loaded.alpha[:, 80:].max() == 0


def test_the_size_of_a_jpeg_that_pillow_refuses_is_looked_at_before_it_is_decoded() -> None:
    data = encoded(Image.fromarray(SMOOTH), "JPEG")
    odd = data[:2] + b"\xff\xe1\0\1" + data[2:]  # shorter than its own length
    assert load_image(odd).rgb.shape == SMOOTH.shape
    with pytest.raises(TooManyPixelsError, match="5120 pixels, more than the limit of 5000"):
        load_image(odd, max_pixels=5000)
