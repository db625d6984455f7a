"""vqcodec upscale: what is written and told, what the options do, what is refused."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior

from vqcodec.generation.config import FOR_UPSCALING, Series
from vqcodec.generation.sampler import Sampler

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def prior(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_prior(tmp_path_factory.mktemp("priors") / "random", tiny_model, condition="low-4")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return make_picture(tmp_path / "small.png", 12, 9)


def upscale(prior: Path, *arguments: object, stdin: bytes | None = None) -> Result:
    fixed = ("--model", "tiny", "--prior", prior, "--device", "cpu")
    return vqcodec("upscale", *fixed, *arguments, stdin=stdin)


def succeeded(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


def pixels(source: Path | bytes) -> np.ndarray:
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.mark.parametrize("free", [False, True])
def test_pictures_are_those_that_python_makes(
    free: bool, prior: Path, small: Path, tmp_path: Path, tiny_model: Path
) -> None:
    options = ("-n", 2, "--seed", 4, "--class", "dog", "--top-k", 20, "--guidance", 1, *(["--free"] if free else []))
    result = upscale(prior, small, tmp_path / "large.png", *options)
    assert (result.exit_code, result.stderr) == (0, "")
    assert names_in(tmp_path) == ["large-000.png", "large-001.png", "small.png"]
    first = result.stdout.splitlines()[0]
    assert first.startswith(f"{tmp_path / 'large-000.png'}: 48 x 36, class dog, 2 levels, 18 of 18 tokens sampled, ")
    sampler = Sampler.load(tiny_model, prior, device="cpu")
    config = replace(FOR_UPSCALING, top_k=20, guidance=1.0)
    made = sampler.upscale(pixels(small), Series(count=2, labels=[1] * 2, seed=4, config=config), keep=not free)
    for picture in made:
        assert np.array_equal(pixels(tmp_path / f"large-00{picture.number}.png"), picture.rgb)


def test_by_default_the_result_is_the_picture_again_when_shrunk(prior: Path, tmp_path: Path) -> None:
    gray = tmp_path / "gray.png"
    Image.fromarray((80 + pixels(make_picture(tmp_path / "a.png", 12, 9)) // 3).astype(np.uint8)).save(gray)
    off = []
    for options in ((), ("--free",)):
        succeeded(upscale(prior, gray, tmp_path / "b.png", "-f", *options))
        means = pixels(tmp_path / "b.png").reshape(9, 4, 12, 4, 3).mean(axis=(1, 3))
        off.append(float(np.abs(means - pixels(gray)).mean()))
    assert off[0] < 0.5  # more only where the random model's colours are clipped
    assert off[1] > 10


def test_a_stream_is_the_free_picture(prior: Path, small: Path, tmp_path: Path) -> None:
    succeeded(upscale(prior, small, tmp_path / "a.vq"))
    succeeded(upscale(prior, small, tmp_path / "a.png", "--free"))
    succeeded(vqcodec("decode", tmp_path / "a.vq", tmp_path / "b.png", "--device", "cpu"))
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_what_is_told_as_json(prior: Path, small: Path, tmp_path: Path) -> None:
    result = succeeded(upscale(prior, small, tmp_path / "a.png", "--json", "--levels", 1))
    told = json.loads(result.stdout)
    assert (told["output"], told["width"], told["height"]) == (str(tmp_path / "a.png"), 48, 36)
    assert (told["levels"], told["tokens"], told["sampled_tokens"], told["class"]) == (1, 9, 9, None)
    assert (told["model"], told["prior"], told["condition"]) == ("tiny", "random", str(small))


def test_stdin_and_stdout(prior: Path, small: Path, tmp_path: Path) -> None:
    succeeded(upscale(prior, small, tmp_path / "a.png"))
    piped = succeeded(upscale(prior, "-", "-", stdin=small.read_bytes()))
    assert np.array_equal(pixels(piped.stdout_bytes), pixels(tmp_path / "a.png"))
    assert piped.stderr.startswith("stdout: 48 x 36, ")


def test_guidance_needs_no_class(prior: Path, small: Path, tmp_path: Path) -> None:
    for name, guidance in (("a.png", 0), ("b.png", 3)):
        succeeded(upscale(prior, small, tmp_path / name, "--guidance", guidance, "--free"))
    assert not np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_the_prior_of_each_factor_in_the_folder_of_the_model(tiny_model: Path, small: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    for factor in (2, 4, 8):
        write_prior(model / f"prior-low-{factor}", model, condition=f"low-{factor}")
        options = ("--factor", factor) if factor != 4 else ()
        succeeded(vqcodec("upscale", small, tmp_path / "a.png", "--model", model, "-f", *options))
        assert pixels(tmp_path / "a.png").shape == (9 * factor, 12 * factor, 3)


# ---- what is refused ----


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("-", ("-n", "2"), "one picture only fits into stdout; name OUT, or leave -n out"),
        ("a.xyz", (), ".xyz"),
        ("a.png", ("--factor", "3"), "'--factor'"),
        ("a.png", ("--levels", "3"), "'--levels': pictures of prior random have 1 to 2 levels"),
        ("a.png", ("--class", "bird"), "'--class'"),
        ("a.png", ("--guidance", "-1"), "a guidance of -1.0"),
    ],
)
def test_wrong_usage(
    target: str, arguments: tuple[str, ...], message: str, prior: Path, small: Path, tmp_path: Path
) -> None:
    result = upscale(prior, small, tmp_path / target if target != "-" else target, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert names_in(tmp_path) == ["small.png"]


def test_a_missing_prior_names_the_remedy(small: Path, tmp_path: Path) -> None:
    line = only_error(vqcodec("upscale", small, tmp_path / "a.png", "--model", "tiny"))
    assert line == (
        "error: model tiny has no prior for low-4; train one with "
        "`vqcodec train stage2 --model tiny --condition low-4` and give its folder with --prior"
    )


@pytest.mark.parametrize(("condition", "told"), [("", "nothing"), ("low-2", "low-2")])
def test_a_prior_that_is_told_something_else(
    condition: str, told: str, small: Path, tmp_path: Path, tiny_model: Path
) -> None:
    other = write_prior(tmp_path / "prior", tiny_model, condition=condition)
    line = only_error(upscale(other, small, tmp_path / "a.png"))
    remedy = "; it takes --factor 2" if condition == "low-2" else ""
    assert line == f"error: prior random is told {told}, not low-4{remedy}"


def test_a_result_of_too_many_pixels(prior: Path, small: Path, tmp_path: Path) -> None:
    line = only_error(upscale(prior, small, tmp_path / "a.png", "--max-pixels", 48 * 36 - 1))
    assert line == (
        f"error: {small}: 4 times larger it is 48 x 36, above 1727 pixels; raise --max-pixels if that is what you want"
    )
    succeeded(upscale(prior, small, tmp_path / "a.png", "--max-pixels", 48 * 36))


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_picture_that_is_none(content: bytes | None, prior: Path, small: Path, tmp_path: Path) -> None:
    small.unlink()
    if content is not None:
        small.write_bytes(content)
    assert only_error(upscale(prior, small, tmp_path / "a.png")).startswith(f"error: {small}: ")


def test_nothing_is_overwritten_without_force_and_no_input_ever(prior: Path, small: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"precious")
    line = only_error(upscale(prior, small, target))
    assert line == f"error: {target}: exists already; give -f to overwrite it"
    assert target.read_bytes() == b"precious"
    line = only_error(upscale(prior, small, small, "-f"))
    assert line == f"error: {small}: is the input itself; name another output"
    succeeded(upscale(prior, small, target, "-f"))
    assert pixels(target).shape == (36, 48, 3)
