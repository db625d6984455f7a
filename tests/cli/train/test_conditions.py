"""vqcodec train stage2 --condition: from pictures to a prior that is told something of them, and what goes wrong."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prior_helpers import write_prior
from stage2_command_helpers import QUICK, SMALL, exported, logged, only_error, recipe, run, succeeded

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import load_prior_folder
from vqcodec.generation.config import Series
from vqcodec.generation.sampler import Sampler
from vqcodec.prior.config import ConditionConfig
from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint


@pytest.fixture
def train(train_stage2: Any, tiny_model: Path) -> Any:
    """On the tokens of the tiny model."""
    return lambda *options, **others: train_stage2("--model", tiny_model, *options, **others)


@pytest.fixture
def another_edges_model(edges_model: Path, tmp_path: Path) -> Path:
    """With the same weights, and another id."""
    folder = Path(shutil.copytree(edges_model, tmp_path / "other-edges"))
    dataclasses.replace(load_model_folder(edges_model).card, static_frequencies=()).save(folder)
    return folder


def model_id(folder: Path) -> str:
    return load_model_folder(folder).card.model_id.hex()


def test_a_prior_that_is_told_the_picture_at_low_resolution(
    train: Any, tiny_model: Path, pictures: Path, tmp_path: Path
) -> None:
    succeeded(train(*QUICK, *SMALL, "--condition", "low-4", "--validation", pictures))
    assert recipe(tmp_path).model.condition == ConditionConfig("low-4", (32, 32), 16)
    (validated,) = logged(tmp_path, "validation.jsonl")
    assert {"bits_1", "bits_2"} < set(validated)
    exported(tmp_path, tmp_path / "prior")
    card = load_prior_folder(tmp_path / "prior").card
    assert (card.condition, card.condition_model_id) == ("low-4", model_id(tiny_model))
    assert card.prior == recipe(tmp_path).model
    sampler = Sampler.load(tiny_model, tmp_path / "prior", condition="low-4", device="cpu")
    assert next(sampler.upscale(synthetic_picture(12, 9))).rgb.shape == (36, 48, 3)


def test_a_prior_that_is_told_the_edges_by_a_model_of_edges(
    train: Any, tiny_model: Path, edges_model: Path, tmp_path: Path
) -> None:
    succeeded(train(*QUICK, *SMALL, "--condition", "edges", "--condition-model", edges_model, "--until", 1))
    succeeded(train("--resume", "--no-tensorboard", "--condition", "edges", "--condition-model", edges_model))
    assert recipe(tmp_path).model.condition == ConditionConfig("edges", (16, 8), 8)
    exported(tmp_path, tmp_path / "prior")
    card = load_prior_folder(tmp_path / "prior").card
    assert (card.condition, card.condition_model_id) == ("edges", model_id(edges_model))
    sampler = Sampler.load(tiny_model, tmp_path / "prior", condition_model=edges_model, device="cpu")
    rgb = synthetic_picture(40, 30)
    made = next(sampler.generate(Series(), size=(40, 30), condition=sampler.condition_of(rgb)))
    assert (made.rgb.shape, made.rgb.dtype) == (rgb.shape, np.uint8)


def test_a_start_from_a_prior_that_is_told_nothing_costs_no_bits_at_first(
    train: Any, tiny_model: Path, edges_model: Path, tmp_path: Path
) -> None:
    first = write_prior(tmp_path / "first", tiny_model, classes=())
    costs = []
    for options in ((), ("--condition", "edges", "--condition-model", edges_model)):
        succeeded(train(*QUICK, "--init", first, "--until", 1, *options))
        costs.append(logged(tmp_path)[0]["bits_1"])
        shutil.rmtree(tmp_path / "run")
    assert costs[1] == pytest.approx(costs[0], rel=1e-2)  # bfloat16, where the processor has it


# ---- what cannot be ----


@pytest.mark.parametrize("options", [(), ("--condition", "low-2"), ("--condition", "edges")])
def test_a_run_is_continued_with_its_own_condition(options: tuple[str, ...], train: Any, tmp_path: Path) -> None:
    succeeded(train(*QUICK, *SMALL, "--condition", "low-4", "--until", 1))
    line = only_error(train("--resume", "--no-tensorboard", *options))
    path = newest_checkpoint(tmp_path / "run")
    assert line == (f"error: {path}: has learned another condition; give the same --condition and --condition-model")
    assert load_checkpoint(path)["step"] == 1


def test_a_run_is_continued_with_its_own_model_of_the_condition(
    train: Any, edges_model: Path, another_edges_model: Path
) -> None:
    given = ("--condition", "edges", "--condition-model")
    succeeded(train(*QUICK, *SMALL, *given, edges_model, "--until", 1))
    line = only_error(train("--resume", "--no-tensorboard", *given, another_edges_model))
    assert "has learned another condition; give the same --condition and --condition-model" in line


def test_files_of_tokens_have_no_condition(train: Any, tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.npz"
    words = ("--model", tiny_model, "--crops", 2, "--crop-size", 32, "--device=cpu")
    succeeded(run("train", "tokens", file, "--data", pictures, *words))
    result = train(*QUICK, "--condition", "low-4", data=file)
    assert result.exit_code == 2
    assert f"{file}: a file of tokens has no low-4; give pictures" in " ".join(result.stderr.split())


def test_a_model_of_a_condition_needs_one(train: Any, edges_model: Path, tmp_path: Path) -> None:
    result = train(*QUICK, "--condition-model", edges_model)
    assert result.exit_code == 2
    assert "--condition-model makes the tokens of a --condition: give one" in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


def test_conditions_that_a_model_does_not_make(train: Any, edges_model: Path, tmp_path: Path) -> None:
    line = only_error(train(*QUICK, "--condition", "depth"))
    assert line == (
        "error: model tiny makes no tokens of the condition 'depth': it does of edges, colours, low-2, low-4, low-8"
    )
    line = only_error(train(*QUICK, "--condition", "colours", "--condition-model", edges_model))
    assert line == "error: model tiny-edges makes no tokens of the condition 'colours': it does of edges"
    line = only_error(train(*QUICK, "--condition", "edges", "--condition-model", tmp_path / "none"))
    assert f"{tmp_path / 'none'}: no such model folder" in line


def test_a_prior_that_is_told_something_else_is_no_start(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    first = write_prior(tmp_path / "first", tiny_model, classes=(), condition="low-4")
    for options in ((), ("--condition", "low-2")):
        line = only_error(train(*QUICK, "--init", first, *options))
        assert line == "error: the prior to start from knows other classes or another condition than this run"
    succeeded(train(*QUICK, "--init", first, "--condition", "low-4"))
