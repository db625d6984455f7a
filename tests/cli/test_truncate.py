"""vqcodec truncate, and the options of vqcodec encode that say how large a stream may be."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_helpers import make_picture, make_stream, names_in, only_error, vqcodec

from vqcodec.bitstream import read_header
from vqcodec.codec import Codec

pytestmark = pytest.mark.usefixtures("installed")


def test_what_is_left_is_the_stream_of_fewer_levels(photo: Path, stream: Path, tmp_path: Path) -> None:
    done = vqcodec("truncate", stream, tmp_path / "one.vq", "--levels", 1)
    assert (done.exit_code, done.stderr) == (0, "")
    made = (tmp_path / "one.vq").read_bytes()
    before = stream.stat().st_size
    assert done.stdout == f"{tmp_path / 'one.vq'}: {len(made)} bytes, 1 level (before: {before} bytes, 2 levels)\n"
    assert made == Codec.load("tiny").encode(photo, levels=1)
    again = vqcodec("truncate", stream, "-", "--levels", 9)
    assert again.stdout_bytes == stream.read_bytes()


def test_as_many_levels_as_fit(stream: Path, tmp_path: Path) -> None:
    sizes = {}
    for limit in (10**6, stream.stat().st_size, stream.stat().st_size - 1):
        done = vqcodec("truncate", stream, tmp_path / "cut.vq", "--max-bytes", limit, "--json", "-f")
        sizes[limit] = json.loads(done.stdout)["levels"]
    assert list(sizes.values()) == [2, 2, 1]
    failed = vqcodec("truncate", stream, tmp_path / "none.vq", "--max-bytes", 9)
    first = (tmp_path / "cut.vq").stat().st_size
    expected = (
        f"error: {stream}: with its first level alone it has {first} bytes: encode the picture itself with --max-bytes"
    )
    assert only_error(failed) == expected
    assert "none.vq" not in names_in(tmp_path)


def test_what_was_cut_off_is_made_whole(stream: Path, tmp_path: Path) -> None:
    data = stream.read_bytes()
    stream.write_bytes(data[:-1])
    failed = vqcodec("truncate", stream, tmp_path / "a.vq", "--levels", 1)
    assert only_error(failed) == (
        f"error: {stream}: cut off: get the whole file again, or take the levels that are whole with --partial"
    )
    done = vqcodec("truncate", stream, tmp_path / "a.vq", "--partial")
    assert done.exit_code == 0
    assert "the stream was cut off: 1 of 2 levels are whole, and could not be checked" in done.stderr
    assert read_header((tmp_path / "a.vq").read_bytes(), allow_partial=False).header.level_count == 1
    assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "a.png").exit_code == 0


def test_nothing_is_left_of_a_stream_cut_within_its_first_level(stream: Path, tmp_path: Path) -> None:
    stream.write_bytes(stream.read_bytes()[:17])
    failed = vqcodec("truncate", stream, tmp_path / "a.vq", "--partial")
    assert only_error(failed) == (
        f"error: {stream}: cut off before the end of its first level: get the whole file again"
    )
    assert "a.vq" not in names_in(tmp_path)


def test_damage_gets_no_new_checksum(stream: Path, tmp_path: Path) -> None:
    data = bytearray(stream.read_bytes())
    data[-3] ^= 1
    stream.write_bytes(data)
    failed = vqcodec("truncate", stream, tmp_path / "a.vq", "--levels", 1)
    assert "damaged" in only_error(failed)
    assert "a.vq" not in names_in(tmp_path)


def test_folders_and_usage(tiny_model: Path, tmp_path: Path) -> None:
    for name in ("a.vq", "sub/b.vq"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        make_stream(tmp_path / "in" / name, tiny_model)
    done = vqcodec("truncate", tmp_path / "in", "-o", tmp_path / "out", "--levels", 1)
    assert done.exit_code == 0
    assert names_in(tmp_path / "out") == ["a.vq", "sub/b.vq"]
    nothing = vqcodec("truncate", tmp_path / "in" / "a.vq", tmp_path / "x.vq")
    assert nothing.exit_code == 2
    named = vqcodec("truncate", tmp_path / "in" / "a.vq", tmp_path / "x.png", "--levels", 1)
    assert (named.exit_code, "x.png is a picture's name" in named.stderr) == (2, True)
    assert "say what to keep: --levels N, --max-bytes B or --partial" in nothing.stderr


# ---- vqcodec encode ----


def encode(photo: Path, target: Path, *options: object) -> dict[str, object]:
    done = vqcodec("encode", photo, target, "--model", "tiny", "--json", "-f", *options)
    assert done.exit_code == 0, done.output
    values: dict[str, object] = json.loads(done.stdout)
    return values


def test_a_stream_is_as_large_as_asked_for(tmp_path: Path) -> None:
    photo, target = make_picture(tmp_path / "photo.png", 320, 240), tmp_path / "a.vq"
    whole, one = encode(photo, target), encode(photo, target, "--levels", 1)
    assert encode(photo, target, "--quality", 100)["bytes"] == whole["bytes"]
    assert encode(photo, target, "--quality", 50)["bytes"] == one["bytes"]
    assert encode(photo, target, "--max-bytes", one["bytes"])["levels"] == 1
    assert encode(photo, target, "--bpp", 8)["bytes"] == whole["bytes"]
    assert encode(photo, target, "--lambda", 0.4)["bytes"] < whole["bytes"]  # type: ignore[operator]


def test_too_few_bytes(photo: Path, tmp_path: Path) -> None:
    failed = vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny", "--max-bytes", 5)
    line = only_error(failed)
    assert line.startswith(f"error: {photo}: 5 bytes are too few: the smallest stream of this picture has ")
    few = only_error(vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny", "--bpp", 0.001))
    assert few.startswith(
        f"error: {photo}: 0.001 bits per pixel are too few: the smallest stream of this picture has 0."
    )
    assert names_in(tmp_path) == ["photo.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--quality", 50, "--levels", 1), "--quality and --levels do not go together"),
        (("--max-bytes", 900, "--bpp", 1), "--max-bytes and --bpp do not go together"),
        (("--bpp", 1, "--lambda", 0.1), "--bpp and --lambda do not go together"),
        (("--quality", 101), "--quality"),
        (("--lambda", 2), "--lambda"),
        (("--bpp", "inf"), "--bpp inf: take more than 0"),
        (("--lambda", 0.1, "--entropy", "uniform"), "--lambda changes nothing"),
    ],
)
def test_wrong_usage(options: tuple[object, ...], message: str, photo: Path, tmp_path: Path) -> None:
    failed = vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny", *options)
    assert failed.exit_code == 2
    assert message in failed.stderr
    assert names_in(tmp_path) == ["photo.png"]


def test_a_stream_larger_than_the_picture_is_told(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (640, 480), (3, 5, 7)).quantize(2).save(tmp_path / "flat.png", optimize=True)
    before = (tmp_path / "flat.png").stat().st_size
    values = encode(tmp_path / "flat.png", tmp_path / "a.vq", "--entropy", "uniform")
    assert values["bytes"] > before  # type: ignore[operator]
    assert values["warnings"] == [
        f"{values['bytes']} bytes are more than the {before} of the picture itself: keep that"
    ]
