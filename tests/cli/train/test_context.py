"""vqcodec train stage2 --kind context: from pictures to streams that the network codes, and what goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_helpers import make_picture, vqcodec
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior
from safetensors.torch import load_file
from stage2_command_helpers import QUICK, exported, logged, only_error, run, succeeded

from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import PRIOR_WEIGHTS_FILE, find_prior, load_prior_folder
from vqcodec.prior.context_config import context_config
from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
from vqcodec.training.stage2.context_export import context_arrays
from vqcodec.training.stage2.context_trainer import context_recipe_of

SMALL = ("--set=model.channels=8", "--set=model.token_width=4", "--set=model.hidden=8")


@pytest.fixture
def model(hierarchical_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hierarchical_model, tmp_path / "model"))


@pytest.fixture
def train(train_stage2: Any, model: Path) -> Any:
    def context(*options: object, **given: Any) -> Result:
        result: Result = train_stage2("--kind", "context", "--model", model, *options, **given)
        return result

    return context


def usage_error(result: Result) -> str:
    assert result.exit_code == 2, result.output
    return result.stderr


def test_from_pictures_to_streams(train: Any, model: Path, pictures: Path, tmp_path: Path) -> None:
    held_out = make_picture(tmp_path / "held-out.png", 60, 50)
    succeeded(train(*QUICK, *SMALL, "--validation", held_out))
    assert [line["step"] for line in logged(tmp_path)] == [0, 1]
    assert logged(tmp_path)[0]["bits_1"] == pytest.approx(4, abs=1e-5)
    (validated,) = logged(tmp_path, "validation.jsonl")
    assert set(validated) == {
        "step",
        *(f"{name}_{level}" for name in ("bits", "saved", "static") for level in range(1, 5)),
    }
    exported(tmp_path, tmp_path / "network")
    folder = load_model_folder(model)
    card = find_prior(folder, tmp_path / "network").card
    assert card.context == context_config(folder.card.autoencoder, channels=8, token_width=4, hidden=8)
    assert card.training["steps"] == 2

    photo = make_picture(tmp_path / "photo.png", 90, 70)
    result = vqcodec("quantize-prior", model, "--context", tmp_path / "network")
    assert (result.exit_code, result.stderr) == (0, "")
    told = vqcodec("encode", photo, tmp_path / "photo.vq", "--model", model, "--json")
    assert json.loads(told.stdout)["entropy"] == "prior"
    size = (tmp_path / "photo.vq").stat().st_size
    limited = vqcodec("encode", photo, tmp_path / "small.vq", "--model", model, "--max-bytes", size - 20)
    assert limited.exit_code == 0
    assert (tmp_path / "small.vq").stat().st_size <= size - 20
    for name in ("photo", "small"):
        assert vqcodec("decode", tmp_path / f"{name}.vq", tmp_path / f"{name}-out.png", "--model", model).exit_code == 0


def test_two_priors(train: Any, model: Path, pictures: Path, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL, "--first", 3))
    assert set(logged(tmp_path)[0]) >= {"bits_3", "bits_4"}
    assert "bits_1" not in logged(tmp_path)[0]
    exported(tmp_path, tmp_path / "network")
    transformer = write_prior(tmp_path / "transformer", model, classes=(), levels=2)
    both = ("quantize-prior", model, "--prior", transformer, "--context", tmp_path / "network")
    assert "a transformer needs --data" in vqcodec(*both).stderr
    assert vqcodec(*both, "--data", pictures, "--crops", 2).exit_code == 0
    stated = load_model_folder(model).card.entropy_prior
    assert stated is not None
    assert stated.prior is not None
    assert stated.context is not None
    assert (stated.prior.levels, list(stated.context.covered)) == (2, [2, 3])
    photo = make_picture(tmp_path / "photo.png", 90, 70)
    assert vqcodec("encode", photo, tmp_path / "photo.vq", "--model", model, "--entropy", "prior").exit_code == 0


def test_a_network_of_the_later_levels_alone_cannot_code(train: Any, model: Path, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL, "--first", 3))
    exported(tmp_path, tmp_path / "network")
    result = vqcodec("quantize-prior", model, "--context", tmp_path / "network")
    assert result.exit_code == 1
    assert "has the levels 3 to 4; it must go on at level 1" in result.stderr


def test_resuming(train: Any, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL))
    succeeded(train("--resume", "--steps", 3, "--no-tensorboard"))
    path = newest_checkpoint(tmp_path / "run")
    recipe = context_recipe_of(path, load_checkpoint(path))
    assert (path.name, recipe.training.batch_size, recipe.model.hidden) == ("checkpoint-00000003.pt", 2, 8)
    assert "holds checkpoints already" in train(*QUICK).stderr
    line = only_error(run("train", "stage2", "--resume", "--data", tmp_path, "--out", tmp_path / "run"))
    assert "not a checkpoint of stage 2 of this version" in line


def test_a_network_goes_on_from_another(train: Any, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL))
    exported(tmp_path, tmp_path / "network")
    first = find_weights(tmp_path / "run")
    again = ("--init", tmp_path / "network", "--steps", 1, "--set", "training.learning_rate=1e-12")
    succeeded(train(*QUICK, *SMALL, *again, "--out", tmp_path / "again"))
    second = find_weights(tmp_path / "again")
    assert first.keys() == second.keys()
    assert all(torch.allclose(first[name], second[name], atol=1e-5) for name in first)
    wider = ("--set=model.channels=16", "--init", tmp_path / "network", "--out", tmp_path / "other")
    line = only_error(train(*QUICK, *wider))
    assert "the context network to start from has another configuration than this run" in line


def test_a_network_goes_on_from_that_of_a_model(train: Any, model: Path, tmp_path: Path) -> None:
    """Of which there are only the whole numbers: they are enough."""
    succeeded(train(*QUICK, *SMALL))
    exported(tmp_path, tmp_path / "network")
    assert vqcodec("quantize-prior", model, "--context", tmp_path / "network").exit_code == 0
    again = ("--init", model, "--steps", 1, "--set", "training.learning_rate=1e-12")
    succeeded(train(*QUICK, *SMALL, *again, "--out", tmp_path / "again"))
    exported(tmp_path, tmp_path / "other", "again")
    networks = [load_prior_folder(tmp_path / name).load_context() for name in ("network", "other")]
    first, second = map(context_arrays, networks)
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first if not name.endswith("scale"))
    assert all(np.allclose(first[name], second[name], rtol=1e-6) for name in first)


def test_a_model_without_a_network_is_no_start(train: Any, model: Path, tmp_path: Path) -> None:
    line = only_error(train(*QUICK, *SMALL, "--init", model))
    assert "has no context network to start from; leave --init out" in line


def find_weights(folder: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_checkpoint(newest_checkpoint(folder))["average"]
    return weights


def test_it_draws_pictures_if_it_has_all_levels(train: Any, model: Path, tmp_path: Path) -> None:
    for first, code in ((1, 0), (2, 1)):
        out = tmp_path / f"from-{first}"
        succeeded(train(*QUICK, *SMALL, "--first", first, "--out", out))
        exported(tmp_path, tmp_path / f"network-{first}", out.name)
        options = ("--model", model, "--prior", tmp_path / f"network-{first}", "--size", "40x24")
        result = vqcodec("generate", "-o", tmp_path / "drawn", *options)
        assert result.exit_code == code, result.stderr
    assert "prior new has the levels from 2 on: it draws no pictures" in result.stderr


def test_it_is_told_a_condition_and_enlarges(train: Any, model: Path, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL, "--condition", "low-2"))
    exported(tmp_path, model / "prior-low-2")
    assert {weight.dtype for weight in load_file(model / "prior-low-2" / PRIOR_WEIGHTS_FILE).values()} == {
        torch.float16
    }
    small, large = tmp_path / "small.png", tmp_path / "large.png"
    Image.fromarray(np.full((9, 13, 3), 90, np.uint8)).save(small)
    enlarge = ("upscale", small, large, "--factor", 2, "--model", model)
    result = vqcodec(*enlarge)
    assert result.exit_code == 0, result.stderr
    with Image.open(large) as image:
        assert image.size == (26, 18)
    assert "is a context network, which cannot be guided" in only_error(vqcodec(*enlarge, "-f", "--guidance", 1))
    drawn = ("generate", "-o", tmp_path / "drawn", "--model", model, "--prior", model / "prior-low-2")
    assert "draws no picture without its condition, low-2" in only_error(vqcodec(*drawn))
    complete = ("complete", small, tmp_path / "whole.png", "--keep", "top", *drawn[3:])
    assert "draws no picture without its condition, low-2" in only_error(vqcodec(*complete))
    line = only_error(vqcodec("quantize-prior", model, "--context", model / "prior-low-2"))
    assert "a context network that is told low-2: one that codes knows tokens alone" in line


def test_it_goes_on_with_its_condition(train: Any, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL, "--condition", "low-2", "--until", 1))
    for told in ((), ("--condition", "low-4")):
        wanted = "has learned another condition; give the same --condition and --condition-model"
        assert wanted in only_error(train("--resume", *told))
    succeeded(train("--resume", "--condition", "low-2"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "tiny"), "--size is of a transformer; a context network has none"),
        (("--order", "raster"), "--order is of a transformer"),
        (("--labels",), "--labels is of a transformer"),
        (("--first", 5), "a first level of 5: there are 4"),
        (("--first", 2, "--condition", "low-2"), "told a condition has all levels: leave the first one out"),
        (("--levels", 5), "5 levels: the model has 1 to 4"),
        (("--set", "model.depth=3"), "depth"),
    ],
)
def test_options_that_it_does_not_have(options: tuple[object, ...], message: str, train: Any) -> None:
    assert message in usage_error(train(*QUICK, *options))


def test_a_transformer_has_no_first_level(train_stage2: Any) -> None:
    assert "--first is of a context network; give --kind context, too" in usage_error(train_stage2("--first", 2))
