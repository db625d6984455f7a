"""vqcodec encode and decode of one file: what is written, what is told, what the options do."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_picture, names_in, vqcodec
from PIL import Image, ImageCms, features

from vqcodec.bitstream import read_header
from vqcodec.cli.common.loading import Codecs
from vqcodec.codec import Codec
from vqcodec.generation.refinement import Refiner

pytestmark = pytest.mark.usefixtures("installed")


def test_a_photo_goes_in_and_the_same_picture_as_in_python_comes_out(photo: Path, tmp_path: Path) -> None:
    encoded = vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny")
    assert (encoded.exit_code, encoded.stderr) == (0, "")
    size = (tmp_path / "a.vq").stat().st_size
    assert encoded.stdout.startswith(f"{tmp_path / 'a.vq'}: {size} bytes, {8 * size / (48 * 33):.4f} bpp, 48 x 33, ")
    decoded = vqcodec("decode", tmp_path / "a.vq", tmp_path / "a.png")
    assert (decoded.exit_code, decoded.stderr) == (0, "")
    assert decoded.stdout.startswith(f"{tmp_path / 'a.png'}: 48 x 33, 2 of 2 levels, ")
    codec = Codec.load("tiny")
    assert (tmp_path / "a.vq").read_bytes() == codec.encode(photo)
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(np.asarray(picture), np.asarray(codec.decode(codec.encode(photo))))
    assert names_in(tmp_path) == ["a.png", "a.vq", "photo.png"]


def test_json_is_one_object_a_line(photo: Path, tmp_path: Path) -> None:
    encoded = vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny", "--json", "--levels", 1)
    values = json.loads(encoded.stdout)
    assert encoded.stdout.count("\n") == 1
    assert values["input"] == str(photo)
    assert (values["bytes"], values["levels"], values["model"]) == ((tmp_path / "a.vq").stat().st_size, 1, "tiny")
    assert (values["width"], values["height"], values["entropy"], values["warnings"]) == (48, 33, "static", [])
    values = json.loads(vqcodec("decode", tmp_path / "a.vq", tmp_path / "a.png", "--json").stdout)
    assert (values["output"], values["levels"], values["complete"]) == (str(tmp_path / "a.png"), 1, True)


def test_refining(photo: Path, tmp_path: Path, perceptual_weights: Path) -> None:
    out, options = tmp_path / "a.vq", ("--model", "tiny", "--perceptual-weights", perceptual_weights, "--json")
    refined = vqcodec("encode", photo, out, "--refine", 3, *options)
    assert (refined.exit_code, refined.stderr) == (0, "")
    assert json.loads(refined.stdout)["refine_steps"] == 3
    codec = Codec.load("tiny")
    assert out.read_bytes() == codec.encode(photo, refine=Refiner(perceptual_weights, steps=3)) != codec.encode(photo)
    for half in (options, ("--refine", 3)):
        wrong = vqcodec("encode", photo, out, *half, "-f")
        assert (wrong.exit_code, "--refine and --perceptual-weights go together" in wrong.stderr) == (2, True)
    small = make_picture(tmp_path / "small.png", 30, 40)
    wrong = vqcodec("encode", small, out, "--refine", 3, *options, "-f")
    assert wrong.exit_code == 1
    assert (
        wrong.stderr == f"error: {small}: 30 x 40 pixels are too few to refine: 31 a side are the least; leave it out\n"
    )
    wrong = vqcodec("encode", photo, out, "--refine", 3, "--perceptual-weights", tmp_path, "-f", "--model", "tiny")
    assert (wrong.exit_code, "no such file" in wrong.stderr) == (1, True)


def test_stdin_and_stdout_are_binary_and_the_line_goes_to_stderr(photo: Path, tmp_path: Path) -> None:
    vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny")
    encoded = vqcodec("encode", "-", "-", "--model", "tiny", stdin=photo.read_bytes())
    assert encoded.stdout_bytes == (tmp_path / "a.vq").read_bytes()
    assert encoded.stderr.startswith(f"stdout: {len(encoded.stdout_bytes)} bytes, ")
    decoded = vqcodec("decode", "-", "-", "--json", stdin=encoded.stdout_bytes)
    with Image.open(io.BytesIO(decoded.stdout_bytes)) as picture:
        assert (picture.format, picture.size) == ("PNG", (48, 33))
    assert json.loads(decoded.stderr)["input"] == "-"
    jpeg = vqcodec("decode", "-", "-", "--format", "jpg", stdin=encoded.stdout_bytes)
    assert jpeg.stdout_bytes.startswith(b"\xff\xd8\xff")


def test_levels_and_entropy_change_the_stream(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.vq"
    for levels in (1, 2):
        for number, entropy in enumerate(("uniform", "static")):
            options = ("--levels", levels, "--entropy", entropy, "-f")
            assert vqcodec("encode", photo, out, "--model", "tiny", *options).exit_code == 0
            header = read_header(out.read_bytes()).header
            assert (header.level_count, header.entropy_id) == (levels, number)
    result = vqcodec("decode", out, tmp_path / "a.png", "--levels", 1)
    assert "1 of 2 levels" in result.stdout


@pytest.mark.parametrize("command", ["encode", "decode"])
@pytest.mark.parametrize("levels", [0, 3, "x"])
def test_a_number_of_levels_that_the_model_lacks_is_wrong_usage(
    command: str, levels: object, photo: Path, stream: Path, tmp_path: Path
) -> None:
    files = {"encode": (photo, tmp_path / "b.vq"), "decode": (stream, tmp_path / "b.png")}[command]
    result = vqcodec(command, *files, "--levels", levels, "--model", "tiny")
    assert result.exit_code == 2
    assert "'--levels'" in result.stderr
    assert not files[1].exists()


@pytest.mark.parametrize(
    ("name", "kind"), [("a.PNG", "PNG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP"), ("a.tif", "TIFF"), ("a.ppm", "PPM")]
)
def test_the_type_of_a_picture_follows_its_extension(name: str, kind: str, stream: Path, tmp_path: Path) -> None:
    assert vqcodec("decode", stream, tmp_path / name).exit_code == 0
    with Image.open(tmp_path / name) as picture:
        assert (picture.format, picture.size) == (kind, (48, 33))


@pytest.mark.parametrize("arguments", [("a.xyz",), ("a",), ("a.vq",), ("a.png", "--format", "bogus")])
def test_a_type_that_cannot_be_written_is_wrong_usage_that_lists_those_that_can(
    arguments: tuple[str, ...], stream: Path, tmp_path: Path
) -> None:
    result = vqcodec("decode", stream, tmp_path / arguments[0], *arguments[1:])
    assert result.exit_code == 2
    assert ".png" in result.stderr
    assert names_in(tmp_path) == ["photo.vq"]


@pytest.mark.parametrize(
    ("format_", "name"), [("JPEG", "photo.jpeg"), (".jpg", "photo.jpg"), ("tiff", "photo.tiff"), (None, "photo.png")]
)
def test_format_gives_the_suffix_of_results_in_a_folder(
    format_: str | None, name: str, stream: Path, tmp_path: Path
) -> None:
    options = () if format_ is None else ("--format", format_)
    result = vqcodec("decode", stream, "-o", tmp_path / "out", *options)
    assert result.exit_code == 0, result.output
    assert names_in(tmp_path / "out") == [name]


@pytest.mark.skipif(not features.check("jpg_2000"), reason="this Pillow was built without JPEG 2000")
def test_a_format_that_is_no_suffix_gets_the_usual_one(stream: Path, tmp_path: Path) -> None:
    assert vqcodec("decode", stream, "-o", tmp_path / "out", "--format", "JPEG2000").exit_code == 0
    assert names_in(tmp_path / "out") == ["photo.jp2"]


def test_quality_makes_lossy_files_smaller(stream: Path, tmp_path: Path) -> None:
    sizes = []
    for quality in (10, 95):
        assert vqcodec("decode", stream, tmp_path / "a.jpg", "--quality", quality, "-f").exit_code == 0
        sizes.append((tmp_path / "a.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    assert vqcodec("decode", stream, tmp_path / "a.jpg", "--quality", 101, "-f").exit_code == 2


def test_alpha_is_kept_exactly_or_dropped(tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png", mode="RGBA")
    alpha = np.arange(48 * 33, dtype=np.uint32).astype(np.uint8).reshape(33, 48)
    with Image.open(picture) as opened:
        opened.putalpha(Image.fromarray(alpha))
        opened.save(picture)
    for policy, mode in (("keep", "RGBA"), ("drop", "RGB")):
        assert vqcodec("encode", picture, tmp_path / "a.vq", "--model", "tiny", "--alpha", policy, "-f").exit_code == 0
        assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png", "-f").exit_code == 0
        with Image.open(tmp_path / "b.png") as decoded:
            assert decoded.mode == mode
            assert mode == "RGB" or np.array_equal(np.asarray(decoded)[:, :, 3], alpha)
    vqcodec("encode", picture, tmp_path / "a.vq", "--model", "tiny", "-f")
    lossy = vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.jpg")
    assert lossy.exit_code == 0
    assert lossy.stderr.startswith(f"warning: {tmp_path / 'a.vq'}: JPEG holds no transparency")


def test_profile_and_metadata_are_stored_when_asked_for(tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x010F] = "A camera"
    with Image.open(make_picture(tmp_path / "a.png")) as opened:
        opened.save(tmp_path / "a.jpg", icc_profile=profile, exif=exif)
    for options, boxes in (((), 0), (("--icc", "keep", "--metadata", "keep"), 2)):
        assert (
            vqcodec("encode", tmp_path / "a.jpg", tmp_path / "a.vq", "--model", "tiny", "-f", *options).exit_code == 0
        )
        assert len(read_header((tmp_path / "a.vq").read_bytes()).box_bytes) == boxes
    assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png").exit_code == 0
    with Image.open(tmp_path / "b.png") as decoded:
        assert decoded.info["icc_profile"] == profile
        assert decoded.getexif()[0x010F] == "A camera"


def test_a_stream_that_is_cut_off_gives_its_whole_levels_when_asked(stream: Path, tmp_path: Path) -> None:
    stream.write_bytes(stream.read_bytes()[:-1])
    refused = vqcodec("decode", stream, tmp_path / "a.png")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert refused.stderr == (
        f"error: {stream}: cut off: 1 of 2 levels are whole; get the whole file again, or take them with --partial\n"
    )
    taken = vqcodec("decode", stream, tmp_path / "a.png", "--partial", "--json")
    assert taken.exit_code == 0
    values = json.loads(taken.stdout)
    assert (values["levels"], values["complete"]) == (1, False)
    assert taken.stderr.startswith(f"warning: {stream}: the stream is cut off: 1 of 2 levels are whole")


def test_the_seconds_told_leave_out_loading_the_model(
    photo: Path, tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    load, encode, decode = Codecs.get, Codec.encode, Codec.decode_in_bands

    def taking(seconds: float, function):  # type: ignore[no-untyped-def]
        def slow(*arguments, **options):  # type: ignore[no-untyped-def]
            clock[0] += seconds
            return function(*arguments, **options)

        return slow

    monkeypatch.setattr("time.perf_counter", lambda: clock[0])
    monkeypatch.setattr(Codecs, "get", taking(100, load))
    monkeypatch.setattr(Codec, "encode", taking(2, encode))
    monkeypatch.setattr(Codec, "decode_in_bands", taking(3, decode))
    assert ", 2.00 s" in vqcodec("encode", photo, tmp_path / "a.vq", "--model", "tiny").stdout
    assert ", 3.00 s" in vqcodec("decode", tmp_path / "a.vq", tmp_path / "a.png").stdout
