from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from image_helpers import swapped_profile
from PIL import Image


def page_data(path: Path) -> dict[str, object]:
    text = path.read_text(encoding="utf-8")
    return json.loads(text.partition('id="viewer-data">')[2].partition("</script>")[0])  # type: ignore[no-any-return]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "page.html"


@pytest.mark.usefixtures("installed")
def test_streams_and_pictures_are_compared_without_the_bench_packages(
    photo: Path, stream: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("plotly", "bjontegaard", "imagecodecs"):
        monkeypatch.setitem(sys.modules, package, None)
    jpeg, unnamed = tmp_path / "photo.jpg", tmp_path / "stream"
    Image.open(photo).save(jpeg)
    unnamed.write_bytes(stream.read_bytes())
    result = vqcodec("compare", photo, stream, jpeg, unnamed, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    size = out.stat().st_size
    assert result.output == f"{out}: 3 files beside {photo}, 48 x 33 pixels; a page of {size} bytes\n"
    data = page_data(out)
    assert [codec["name"] for codec in data["codecs"]] == [str(stream), str(jpeg), str(unnamed)]  # type: ignore[attr-defined]
    [picture] = data["pictures"]  # type: ignore[misc]
    assert picture["bytes"] == photo.stat().st_size
    told = {(entry[1], entry[2]) for entry in picture["shown"]}
    assert told == {("tiny, 2 levels", stream.stat().st_size), ("JPG", jpeg.stat().st_size)}


def test_the_model_can_be_named(photo: Path, stream: Path, tiny_model: Path, out: Path) -> None:
    result = vqcodec("compare", photo, stream, "--out", out, "--model", tiny_model, "--device", "cpu")
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("installed")
def test_the_profile_that_a_stream_keeps_counts_as_that_of_a_picture(photo: Path, out: Path, tmp_path: Path) -> None:
    kept, decoded = tmp_path / "kept.vq", tmp_path / "decoded.png"
    with Image.open(photo) as image:
        image.save(photo, icc_profile=swapped_profile())
    for arguments in (("encode", photo, kept, "--icc", "keep"), ("decode", kept, decoded)):
        assert vqcodec(*arguments, "--device", "cpu").exit_code == 0
    assert vqcodec("compare", photo, kept, decoded, "--out", out, "--device", "cpu").exit_code == 0
    [picture] = page_data(out)["pictures"]  # type: ignore[misc]
    of_stream, of_picture = picture["shown"]
    assert of_stream[4:] == of_picture[4:]


def test_only_force_overwrites(photo: Path, out: Path) -> None:
    arguments = ("compare", photo, make_picture(photo.with_name("other.png"), seed=1), "--out", out, "--device", "cpu")
    out.write_text("mine")
    assert only_error(vqcodec(*arguments)) == f"error: {out}: exists already; give -f to overwrite it"
    assert out.read_text() == "mine"
    assert vqcodec(*arguments, "-f").exit_code == 0
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_files_that_cannot_be_compared_are_named_and_nothing_is_written(
    photo: Path, stream: Path, out: Path, tmp_path: Path
) -> None:
    larger, long = make_picture(tmp_path / "larger.png", 50), make_picture(tmp_path / "long.png", 16384, 1)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "broken.vq").write_bytes(stream.read_bytes()[:20])
    (tmp_path / "picture.vq").write_bytes(photo.read_bytes())
    before = names_in(tmp_path)
    for name, complaint in {
        larger.name: f"50 x 33 pixels, but {photo} has 48 x 33: compare pictures of one size",
        long.name: "16384 x 1 pixels, more than 16383 a side: compare a part of the picture",
        "broken.png": "not a picture, or damaged from its start",
        "broken.vq": "",
        "picture.vq": "not a .vq stream but a PNG picture",
        "nowhere.png": "no such file: check the name",
        "nowhere.vq": "no such file: check the name",
    }.items():
        result = vqcodec("compare", photo, tmp_path / name, "--out", out, "--device", "cpu")
        error = only_error(result)
        assert error.startswith(f"error: {tmp_path / name}: ")
        assert complaint in error
    twice = only_error(vqcodec("compare", photo, photo, photo, "--out", out, "--device", "cpu"))
    assert twice == f"error: {photo}: is given twice: name each file once"
    assert names_in(tmp_path) == before


def test_a_stream_of_an_unknown_model_is_named(photo: Path, stream: Path, out: Path) -> None:
    error = only_error(vqcodec("compare", photo, stream, "--out", out, "--device", "cpu"))
    assert error.startswith(f"error: {stream}: ")
    assert "model" in error


def test_wrong_usage(photo: Path, tmp_path: Path, out: Path) -> None:
    assert vqcodec("compare", photo, "--out", out).exit_code == 2
    assert vqcodec("compare", photo, photo).exit_code == 2
    result = vqcodec("compare", photo, photo, "--out", tmp_path / "page.png")
    assert result.exit_code == 2
    assert "the page is an HTML file; name it .html" in result.stderr
    assert vqcodec("compare", photo, photo, "--out", out, "--perceptual-weights", tmp_path / "no").exit_code == 2


def test_weights_that_are_not_there_are_a_warning(photo: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    other = make_picture(tmp_path / "other.png", seed=1)
    result = vqcodec("compare", photo, other, "--out", out, "--perceptual-weights", tmp_path / "weights")
    assert result.exit_code == 0, result.output
    assert "warning: lpips is not measured: " in result.stderr
    assert "warning: dists is not measured: " in result.stderr


def test_the_input_is_never_the_output(tmp_path: Path, photo: Path) -> None:
    page = tmp_path / "photo.html"
    page.write_bytes(photo.read_bytes())
    error = only_error(vqcodec("compare", photo, page, "--out", page, "-f", "--device", "cpu"))
    assert error == f"error: {page}: is the input itself; name another output"


def test_the_options_are_those_of_the_other_commands() -> None:
    result = vqcodec("compare", "--help")
    for name in ("--model", "--device", "-f, --force", "--max-pixels", "--debug"):
        assert name in result.output
