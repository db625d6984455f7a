"""vqcodec generate with a prior that is told something of a picture."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior

from vqcodec.cards.finding import MODELS_VARIABLE
from vqcodec.cards.model_card import load_model_folder
from vqcodec.generation.config import SamplingConfig, Series
from vqcodec.generation.sampler import Sampler

pytestmark = pytest.mark.usefixtures("installed")


@pytest.fixture(scope="module")
def priors(tiny_model: Path, edges_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of priors: told nothing, the picture at low resolution, its edges."""
    folder = tmp_path_factory.mktemp("priors")
    write_prior(folder / "nothing", tiny_model)
    write_prior(folder / "low-4", tiny_model, condition="low-4")
    write_prior(folder / "edges", tiny_model, condition="edges", condition_model=edges_model)
    return folder


def generate(prior: Path, *arguments: object) -> Result:
    return vqcodec("generate", "--model", "tiny", "--prior", prior, "--device", "cpu", *arguments)


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


@pytest.mark.parametrize("option", ["--condition", "--condition-map"])
@pytest.mark.parametrize("name", ["low-4", "edges"])
def test_pictures_are_those_that_python_makes(
    name: str, option: str, priors: Path, photo: Path, tmp_path: Path, tiny_model: Path, edges_model: Path
) -> None:
    maker = edges_model if name == "edges" else tiny_model
    more = ("--condition-model", maker, "-n", 2, "--seed", 4, "--class", "dog", "--guidance", 1)
    result = generate(priors / name, "-o", tmp_path / "out", option, photo, *more)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    out = tmp_path / "out"
    assert names_in(out) == ["000.png", "001.png"]
    start = f"{out / '000.png'}: 48 x 33, class dog, 2 levels, 18 of 18 tokens sampled, "
    assert result.stdout.splitlines()[0].startswith(start)
    sampler = Sampler.load(tiny_model, priors / name, condition_model=maker, device="cpu")
    told = (sampler.condition_of if option == "--condition" else sampler.condition_from_map)(pixels(photo))
    config = SamplingConfig(guidance=1.0)
    for each in sampler.generate(Series(2, labels=[1] * 2, seed=4, config=config), size=(48, 33), condition=told):
        assert np.array_equal(pixels(out / f"00{each.number}.png"), each.rgb)


def test_the_model_of_the_condition_is_found_by_its_id(
    priors: Path, photo: Path, tmp_path: Path, tiny_model: Path, edges_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODELS_VARIABLE, os.pathsep.join([str(tiny_model.parent), str(edges_model.parent)]))
    assert generate(priors / "edges", "-o", tmp_path / "a", "--condition", photo).exit_code == 0
    named = generate(priors / "edges", "-o", tmp_path / "b", "--condition", photo, "--condition-model", "tiny-edges")
    assert named.exit_code == 0
    assert np.array_equal(pixels(tmp_path / "a" / "000.png"), pixels(tmp_path / "b" / "000.png"))


def test_guidance_leads_towards_the_condition(priors: Path, photo: Path, tmp_path: Path) -> None:
    for guidance in (0, 3):
        options = ("--condition", photo, "--guidance", guidance, "-o", tmp_path / str(guidance))
        assert generate(priors / "low-4", *options).exit_code == 0
    assert not np.array_equal(pixels(tmp_path / "0" / "000.png"), pixels(tmp_path / "3" / "000.png"))


def test_a_condition_need_not_be_given(priors: Path, photo: Path, tmp_path: Path) -> None:
    assert generate(priors / "low-4", "-o", tmp_path / "a", "--size", "48x33").exit_code == 0
    assert generate(priors / "low-4", "-o", tmp_path / "b", "--condition", photo).exit_code == 0
    assert not np.array_equal(pixels(tmp_path / "a" / "000.png"), pixels(tmp_path / "b" / "000.png"))


def test_transparency_is_dropped_and_that_is_said(priors: Path, photo: Path, tmp_path: Path) -> None:
    with Image.open(photo) as image:
        image.putalpha(100)
        image.save(photo)
    result = generate(priors / "low-4", "-o", tmp_path / "out", "--condition", photo)
    assert result.exit_code == 0
    assert result.stderr == f"warning: {photo}: transparency dropped: hidden colours may show\n"


# ---- what is refused ----


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        (
            "low-4",
            ("--condition", "x.png", "--condition-map", "x.png"),
            "give --condition or --condition-map, not",
        ),
        ("low-4", ("--condition", "x.png", "--size", "20x20"), "as large as that of the condition; leave --size out"),
        ("low-4", ("--condition-map", "x.png", "--size", "20x20"), "leave --size out"),
        ("nothing", ("--condition", "x.png"), "prior random is told nothing of a picture; leave the condition out"),
        ("nothing", ("--condition-map", "x.png"), "prior random is told nothing of a picture"),
        ("low-4", ("--guidance", "1"), "give --class or --condition or --condition-map"),
    ],
)
def test_wrong_usage(name: str, arguments: tuple[str, ...], message: str, priors: Path, tmp_path: Path) -> None:
    result = generate(priors / name, "-o", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in " ".join(result.stderr.split())
    assert names_in(tmp_path) == []


def test_models_of_conditions_that_do_not_suit(
    priors: Path, photo: Path, tmp_path: Path, tiny_model: Path, edges_model: Path
) -> None:
    own, learned = (load_model_folder(folder).card.model_id.hex() for folder in (tiny_model, edges_model))
    given = ("-o", tmp_path / "out", "--condition", photo)
    line = only_error(generate(priors / "edges", *given, "--condition-model", "tiny"))
    assert line == f"error: prior random is told edges (model {learned}), not edges (model {own})"
    line = only_error(generate(priors / "edges", *given))
    assert line.startswith(f"error: {learned}: no such model folder, and no installed model of that name or id")
    line = only_error(generate(priors / "nothing", "-o", tmp_path / "out", "--condition-model", "tiny"))
    assert line == "error: prior random is told nothing of a picture; leave the model of its condition out"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_a_condition_that_is_no_picture(content: bytes | None, priors: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.png"
    if content is not None:
        file.write_bytes(content)
    line = only_error(generate(priors / "low-4", "-o", tmp_path / "out", "--condition", file))
    assert line.startswith(f"error: {file}: ")
    assert not (tmp_path / "out").exists()


def test_a_condition_of_too_many_pixels_names_the_option(priors: Path, tmp_path: Path) -> None:
    picture = make_picture(tmp_path / "a.png", 20, 10)
    options = ("-o", tmp_path / "out", "--condition", picture, "--max-pixels", 199)
    line = only_error(generate(priors / "low-4", *options))
    assert line.startswith(f"error: {picture}: ")
    assert "--max-pixels 200" in line


def test_a_model_of_label_maps_encodes_no_pictures(edges_model: Path, photo: Path, tmp_path: Path) -> None:
    line = only_error(vqcodec("encode", photo, tmp_path / "a.vq", "--model", edges_model, "--device", "cpu"))
    assert line == (
        f"error: {photo}: model tiny-edges is of edges, as conditions of priors: it does not code pictures; "
        "use another --model"
    )
    assert not (tmp_path / "a.vq").exists()
