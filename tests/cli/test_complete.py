"""vqcodec complete: which part of a picture is filled, what is written, what is refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior

from vqcodec.bitstream import TokenPyramid
from vqcodec.codec import Codec

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def prior(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("priors") / "random", tiny_model)


def complete(prior: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    fixed = ("--model", "tiny", "--prior", prior, "--device", "cpu")
    return vqcodec("complete", *fixed, *arguments, stdin=stdin)


def make_mask(path: Path, *slices: slice, size: tuple[int, int] = (48, 33), mode: str = "L") -> Path:
    marks = np.zeros(size[::-1], np.uint8)
    marks[slices] = 255
    Image.fromarray(marks).convert(mode).save(path)
    return path


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def tokens(path: Path) -> TokenPyramid:
    return Codec.load("tiny", device="cpu").read(path.read_bytes()).tokens


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "P"])
def test_what_is_white_in_the_mask_is_filled(mode: str, prior: Path, photo: Path, tmp_path: Path) -> None:
    mask = make_mask(tmp_path / "mask.png", slice(20, 30), slice(33, 40), mode=mode)
    result = complete(prior, photo, tmp_path / "a.png", "--mask", mask, "--paste")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{tmp_path / 'a.png'}: 48 x 33, 2 levels, 2 of 18 tokens sampled, ")
    changed = (pixels(tmp_path / "a.png") != pixels(photo)).any(axis=2)
    assert changed[20:30, 33:40].mean() > 0.9
    changed[20:30, 33:40] = False
    assert not changed.any()


@pytest.mark.parametrize(
    ("options", "filled"),
    [
        (("--keep", "top"), [[0, 0, 0], [1, 1, 1], [1, 1, 1]]),  # 16 of 33 rows, rounded to even
        (("--keep", "bottom"), [[1, 1, 1], [1, 1, 1], [0, 0, 0]]),  # of row 17 one pixel is filled
        (("--keep", "left", "--share", "0.7"), [[0, 0, 1]] * 3),  # 34 of 48 columns
        (("--keep", "right", "--share", "0.3"), [[1, 1, 1]] * 3),
    ],
)
def test_tokens_that_are_kept_stay(
    options: tuple[str, ...], filled: list[list[int]], prior: Path, photo: Path, tmp_path: Path
) -> None:
    result = complete(prior, photo, tmp_path / "a.vq", "-n", 3, *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path) == ["a-000.vq", "a-001.vq", "a-002.vq", "photo.png"]
    made = [tokens(tmp_path / f"a-00{number}.vq") for number in range(3)]
    for levels in zip(*(each.levels for each in made), strict=True):
        differ = (levels[0].indices != levels[1].indices) | (levels[0].indices != levels[2].indices)
        assert not differ[~np.array(filled, bool)].any()
        assert differ[np.array(filled, bool)].mean() > 0.5


def test_what_is_told_as_json(prior: Path, photo: Path, tmp_path: Path) -> None:
    options = ("--keep", "top", "--seed", 9, "--class", "cat", "--levels", 1, "--json", "-n", 2)
    first, second = map(json.loads, complete(prior, photo, tmp_path / "a.png", *options).stdout.splitlines())
    assert first["output"] == str(tmp_path / "a-000.png")
    assert (first["width"], first["height"], first["levels"], first["class"]) == (48, 33, 1, "cat")
    assert (first["tokens"], first["sampled_tokens"], first["seed"], second["number"]) == (9, 6, 9, 1)
    assert first["sampled_bits"] > 0
    assert first["kept_bits"] > 0


def test_the_same_seed_gives_the_same_picture_and_another_does_not(prior: Path, photo: Path, tmp_path: Path) -> None:
    for name, seed, count in (("a.png", 1, 1), ("b.png", 1, 2), ("c.png", 2, 1)):
        assert complete(prior, photo, tmp_path / name, "--keep", "left", "--seed", seed, "-n", count).exit_code == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b-000.png"))
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "c.png"))


def test_a_stream_decodes_to_the_same_picture(prior: Path, photo: Path, tmp_path: Path) -> None:
    for name in ("a.png", "a.vq"):
        assert complete(prior, photo, tmp_path / name, "--keep", "top").exit_code == 0
    assert vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png", "--device", "cpu").exit_code == 0
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_other_types_and_stdin_and_stdout(prior: Path, photo: Path, tmp_path: Path) -> None:
    assert complete(prior, photo, tmp_path / "a.bmp", "--keep", "top").exit_code == 0
    with Image.open(tmp_path / "a.bmp") as image:
        assert image.format == "BMP"
    piped = complete(prior, "-", "-", "--keep", "top", stdin=photo.read_bytes())
    assert piped.exit_code == 0
    with Image.open(io.BytesIO(piped.stdout_bytes)) as image:
        assert np.array_equal(np.asarray(image), pixels(tmp_path / "a.bmp"))
    assert piped.stderr.startswith("stdout: 48 x 33, ")


def test_transparency_is_dropped_and_that_is_said(prior: Path, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png")
    with Image.open(picture) as image:
        image.putalpha(100)
        image.save(picture)
    result = complete(prior, picture, tmp_path / "b.png", "--keep", "top")
    assert result.exit_code == 0
    assert result.stderr == f"warning: {picture}: transparency dropped: hidden colours may show\n"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "say what to fill with --mask FILE, or what to keep with --keep SIDE"),
        (("--keep", "top", "--mask", "m.png"), "say what to fill"),
        (("--keep", "middle"), "'--keep'"),
        (("--keep", "top", "--share", "0"), "'--share'"),
        (("--keep", "top", "--share", "1"), "'--share'"),
        (("--mask", "m.png", "--share", "0.5"), "--share is of what --keep keeps"),
        (("--keep", "top", "--top-p", "0"), "top p of 0.0"),
        (("--keep", "top", "--class", "bird"), "'--class'"),
        (("--keep", "top", "--levels", "3"), "'--levels'"),
    ],
)
def test_wrong_usage(arguments: tuple[str, ...], message: str, prior: Path, photo: Path, tmp_path: Path) -> None:
    result = complete(prior, photo, tmp_path / "a.png", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert names_in(tmp_path) == ["photo.png"]


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("-", ("-n", "2"), "one picture only fits into stdout"),
        ("a.xyz", (), ".xyz"),
        ("a.vq", ("--paste",), "a stream holds tokens and no pixels of IN"),
    ],
)
def test_targets_that_do_not_suit(
    target: str, arguments: tuple[str, ...], message: str, prior: Path, photo: Path, tmp_path: Path
) -> None:
    result = complete(prior, photo, tmp_path / target if target != "-" else target, "--keep", "top", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert names_in(tmp_path) == ["photo.png"]


def test_a_mask_of_another_size(prior: Path, photo: Path, tmp_path: Path) -> None:
    mask = make_mask(tmp_path / "mask.png", slice(5), size=(33, 48))
    line = only_error(complete(prior, photo, tmp_path / "a.png", "--mask", mask))
    assert line == f"error: {mask}: is 33 x 48 pixels, {photo} is 48 x 33: make the mask as large"


def test_a_mask_without_white(prior: Path, photo: Path, tmp_path: Path) -> None:
    mask = make_mask(tmp_path / "mask.png", slice(0))
    line = only_error(complete(prior, photo, tmp_path / "a.png", "--mask", mask))
    assert line == f"error: {mask}: no pixel is white: paint what is to be filled white"


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
@pytest.mark.parametrize("which", ["photo.png", "mask.png"])
def test_a_picture_or_mask_that_is_none(
    which: str, content: bytes | None, prior: Path, photo: Path, tmp_path: Path
) -> None:
    mask = make_mask(tmp_path / "mask.png", slice(5))
    (tmp_path / which).unlink()
    if content is not None:
        (tmp_path / which).write_bytes(content)
    line = only_error(complete(prior, photo, tmp_path / "a.png", "--mask", mask))
    assert line.startswith(f"error: {tmp_path / which}: ")
    assert line.count(which) == 1
    assert not (tmp_path / "a.png").exists()


def test_stdin_is_named(prior: Path, tmp_path: Path) -> None:
    line = only_error(complete(prior, "-", tmp_path / "a.png", "--keep", "top", stdin=b"no picture"))
    assert line.startswith("error: stdin: ")


def test_a_picture_too_small_to_keep_a_part_of(prior: Path, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "thin.png", 40, 1)
    line = only_error(complete(prior, picture, tmp_path / "a.png", "--keep", "top"))
    assert line.startswith(f"error: {picture}: a share of 0.5 of 1 pixels")


def test_a_picture_over_the_limit_names_the_option(prior: Path, photo: Path, tmp_path: Path) -> None:
    line = only_error(complete(prior, photo, tmp_path / "a.png", "--keep", "top", "--max-pixels", 1583))
    assert line.startswith(f"error: {photo}: ")
    assert "--max-pixels 1584" in line


def test_nothing_is_overwritten_without_force_and_no_input_ever(prior: Path, photo: Path, tmp_path: Path) -> None:
    mask, target = make_mask(tmp_path / "mask.png", slice(5)), tmp_path / "a.png"
    target.write_bytes(b"precious")
    before = photo.read_bytes(), mask.read_bytes()
    line = only_error(complete(prior, photo, target, "--mask", mask))
    assert line == f"error: {target}: exists already; give -f to overwrite it"
    assert target.read_bytes() == b"precious"
    for name in (photo, mask):
        line = only_error(complete(prior, photo, name, "--mask", mask, "-f"))
        assert line == f"error: {name}: is the input itself; name another output"
    assert (photo.read_bytes(), mask.read_bytes()) == before
    assert complete(prior, photo, target, "--mask", mask, "-f").exit_code == 0
    assert pixels(target).shape == (33, 48, 3)
