"""vqcodec train stage2 and vqcodec train tokens: from pictures to a prior that is found, and what goes wrong."""

from __future__ import annotations

import json
import math
import shutil
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from prior_helpers import write_prior
from stage2_command_helpers import QUICK, SMALL, exported, logged, only_error, recipe, run, succeeded
from stage2_helpers import ABOUT, PriorTrainers

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import PRIOR_FOLDER, find_prior, load_prior_folder
from vqcodec.codec import Codec
from vqcodec.compute import devices
from vqcodec.prior.config import prior_config
from vqcodec.prior.transformer import Prior
from vqcodec.training.common.checkpoint import checkpoints, load_checkpoint, newest_checkpoint
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.stage2.crop_tokens import PictureTokens
from vqcodec.training.stage2.recipe import Stage2Config, Stage2Recipe
from vqcodec.training.stage2.validation import PriorValidation, PriorValidationResult


@pytest.fixture
def train(train_stage2: Any) -> Any:
    """On the tokens of the default model, or another."""
    return train_stage2


@pytest.fixture
def classes(pictures: Path, tmp_path: Path) -> Path:
    """The pictures in two folders."""
    for number, path in enumerate(sorted(pictures.iterdir())):
        folder = tmp_path / "classes" / ("dog", "cat")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    return tmp_path / "classes"


# ---- from pictures to a prior ----


def test_tokens_to_train_on_are_made_where_training_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(devices, "choose_device", lambda name: torch.device("cuda" if name == "auto" else name))
    monkeypatch.setattr(Codec, "load", lambda _, device: asked.append(device))
    for device in ("auto", "cpu"):
        import_module("vqcodec.cli.train.stage2")._codec(DEFAULT_MODEL, device)
    assert asked == ["cuda", "cpu"]


def test_the_default_models_prior_from_pictures_to_its_folder(train: Any, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.png"
    Image.effect_noise((50, 60), 40).convert("RGB").save(held_out)
    succeeded(train(*QUICK, *SMALL, "--validation", held_out))
    model = find_model(DEFAULT_MODEL)
    shape: dict[str, Any] = {"width": 16, "depth": 1, "heads": 2, "token_width": 4}
    config = prior_config(model.card.autoencoder, "tiny", **shape)
    default = Stage2Config()
    assert recipe(tmp_path) == Stage2Recipe(
        config, replace(default, steps=2, batch_size=2, crop=replace(default.crop, size=32))
    )
    assert [line["step"] for line in logged(tmp_path)] == [0, 1]
    uniform = list(map(math.log2, model.card.autoencoder.quantizer.codebook_sizes))
    levels = range(1, len(uniform) + 1)
    assert [logged(tmp_path)[0][f"bits_{level}"] for level in levels] == pytest.approx(uniform, abs=1e-3)
    (validated,) = logged(tmp_path, "validation.jsonl")
    assert set(validated) == {
        "step",
        *(f"{name}_{level}" for name in ("bits", "saved", "bpp") for level in levels),
    }

    result = exported(tmp_path, tmp_path / "prior")
    found = find_prior(model, tmp_path / "prior")
    assert result.stdout == (
        f"{tmp_path / 'prior'}: prior new for model {model.card.name} ({model.card.model_id.hex()})\n"
    )
    assert found.card.prior == config
    assert (found.card.name, found.card.licence, found.card.classes) == ("new", "MIT", ())
    assert found.card.training == {
        "data": "four waves",
        "steps": 2,
        "settings": json.loads(json.dumps(recipe(tmp_path).training.to_dict())),
    }
    weights = found.load().state_dict()
    averaged = load_checkpoint(newest_checkpoint(tmp_path / "run"))["average"]
    assert weights.keys() == averaged.keys()
    for name, value in weights.items():
        assert torch.equal(value, averaged[name].half().float()), name


def test_a_prior_in_the_folder_of_its_model_is_the_default(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    succeeded(train(*QUICK, *SMALL, "--model", model, "--levels", 1, "--order", "raster"))
    exported(tmp_path, model / PRIOR_FOLDER)
    load_model_folder.cache_clear()
    card = find_prior(load_model_folder(model)).card
    assert (card.prior.codebook_sizes, card.prior.orders, card.model_name) == ((32,), ("raster",), "tiny")


def test_a_run_and_its_continuation(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    given = ("--model", tiny_model)
    options = ("--seed", 5, "--learning-rate", 0.01, "--accumulate", 2, "--set", "training.pkeep=0.9")
    succeeded(train(*given, *QUICK, *SMALL, *options, "--until", 1))
    started = recipe(tmp_path)
    training = started.training
    assert (training.seed, training.learning_rate, training.accumulate, training.pkeep) == (5, 0.01, 2, 0.9)
    succeeded(train(*given, "--resume", "--no-tensorboard"))
    assert recipe(tmp_path) == started
    succeeded(train(*given, "--resume", "--no-tensorboard", "--steps", 3, "--set", "training.ema_decay=0.5"))
    assert recipe(tmp_path) == replace(started, training=replace(training, steps=3, ema_decay=0.5))
    assert [line["step"] for line in logged(tmp_path)] == [0, 1, 2]
    assert load_checkpoint(newest_checkpoint(tmp_path / "run"))["step"] == 3


def test_training_starts_from_a_prior(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    first = write_prior(tmp_path / "first", tiny_model, classes=())
    options = ("--set", "training.learning_rate=1e-9", "--set", "training.weight_decay=0.0")
    succeeded(train("--model", tiny_model, *QUICK, *options, "--init", first))
    before = load_prior_folder(first)
    assert recipe(tmp_path).model == before.card.prior
    state = load_checkpoint(newest_checkpoint(tmp_path / "run"))
    for name, value in before.load().state_dict().items():
        torch.testing.assert_close(state["model"][name], value, rtol=0, atol=1e-6, msg=name)


@pytest.mark.parametrize("option", [("--size", "small"), ("--levels", 1), ("--order", "raster")])
def test_a_start_from_a_prior_has_its_shape(option: tuple[object, ...], train: Any, tiny_model: Path) -> None:
    folder = write_prior(tiny_model.parent / "shape", tiny_model, classes=())
    result = train("--model", tiny_model, *QUICK, "--init", folder, *option)
    assert result.exit_code == 2
    assert f"with --init the prior has the shape of the one there; leave {option[0]} out" in result.stderr


def test_classes_are_learned(
    train: Any, tiny_model: Path, classes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The held-out pictures are all dogs: they have the number that dogs have in the training."""
    measured: list[list[int]] = []
    measure = PriorValidation.run

    def watched(self: PriorValidation, model: Prior, step: int) -> PriorValidationResult:
        measured.append(self.labels.tolist())
        return measure(self, model, step)

    monkeypatch.setattr(PriorValidation, "run", watched)
    shutil.copytree(classes / "dog", tmp_path / "held-out" / "dog")
    given = ("--model", tiny_model, "--labels")
    held_out = ("--validation", tmp_path / "held-out")
    succeeded(train(*given, *QUICK, *SMALL, *held_out, "--until", 1, data=classes))
    assert recipe(tmp_path).model.classes == 2
    assert measured == [[1, 1]]
    succeeded(train(*given, "--resume", "--no-tensorboard", data=classes))
    forgotten = train("--model", tiny_model, "--resume", "--no-tensorboard", data=classes)
    assert "00000002.pt: has learned other classes; give the same --data, with or without --labels" in only_error(
        forgotten
    )
    exported(tmp_path, tmp_path / "prior")
    assert load_prior_folder(tmp_path / "prior").card.classes == ("cat", "dog")


# ---- tokens made beforehand ----


def make_tokens(path: Path, data: Path, *options: object) -> Result:
    return run("train", "tokens", path, "--data", data, "--crop-size", 32, "--device=cpu", *options)


def test_tokens_are_made_once_and_learned_from(train: Any, tiny_model: Path, classes: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.npz"
    result = make_tokens(file, classes, "--model", tiny_model, "--labels", "--crops", 3)
    assert succeeded(result).stdout == f"{file}: tokens of 3 crops of 32 x 32 pixels, model tiny\n"
    succeeded(train("--model", tiny_model, *QUICK, *SMALL, data=file))
    assert recipe(tmp_path).model.classes == 2
    assert load_checkpoint(newest_checkpoint(tmp_path / "run"))["about"] == {
        "model_id": load_model_folder(tiny_model).card.model_id.hex(),
        "model_name": "tiny",
        "classes": ["cat", "dog"],
        "condition_model_id": "",
    }


def test_the_tokens_are_those_of_the_crops(pictures: Path, tiny_model: Path, tmp_path: Path) -> None:
    succeeded(make_tokens(tmp_path / "t.npz", pictures, "--model", tiny_model, "--crops", 20, "--seed", 3))
    crop = replace(Stage2Config().crop, size=32)
    codec = Codec.load(tiny_model, device="cpu")
    source = PictureTokens(PictureSet([pictures]), codec, levels=2, batch_size=16, crop=crop, seed=3)
    with np.load(tmp_path / "t.npz") as file:
        for level in (1, 2):
            expected = torch.cat([source(step).levels[level - 1] for step in (0, 1)])
            assert np.array_equal(file[f"level_{level}"], expected[:20])
        assert set(file["labels"].tolist()) == {-1}


def test_files_of_tokens_that_do_not_suit(train: Any, tiny_model: Path, pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "tokens.npz"
    succeeded(make_tokens(file, pictures, "--model", tiny_model, "--crops", 2))
    tiny = load_model_folder(tiny_model).card.model_id.hex()
    default = find_model(DEFAULT_MODEL).card.model_id.hex()
    line = only_error(train(*QUICK, data=file))
    assert line == f"error: {file}: tokens of model {tiny}, not of {default}; make them anew"
    file.write_bytes(file.read_bytes()[:500])
    line = only_error(train(*QUICK, "--model", tiny_model, data=file))
    assert line.startswith(f"error: {file}: not a file of tokens; make one with `vqcodec train tokens`")
    both = train(*QUICK, "--model", tiny_model, "--data", pictures, data=file)
    assert both.exit_code == 2
    assert "give one file of tokens, or pictures, not both" in both.stderr


# ---- what cannot be ----


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "training.stepz=1"], "there is no stepz"),
        (["--set", "model.width=15"], "a width of 15 is not a multiple of 6 heads"),
        (["--set", "training.pkeep=2"], "pkeep 2.0: take a share, 0 to 1"),
        (["--set", "model.width"], "write NAME=VALUE"),
        (["--batch-size", "3", "--accumulate", "2"], "a batch of 3 cannot be cut into 2 equal parts"),
        (["--size", "huge"], "prior 'huge': there are tiny, small, base, paper"),
        (["--order", "magic"], "order 'magic': there are"),
        (["--levels", "3"], "3 levels: the model has 1 to 2"),
        (["--set", "training.level_shares=[0,0]"], "level shares that are all 0 train nothing"),
        (["--levels", "0"], "0 is not in the range"),
        (["--init", __file__], "is a file"),
        (["--data", "/nowhere"], "does not exist"),
        (["--learning-rate", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage(train: Any, tiny_model: Path, options: list[str], said: str, tmp_path: Path) -> None:
    result = train("--model", tiny_model, *QUICK, *options)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not (tmp_path / "run").exists()


def test_tokens_have_a_name_of_their_own(pictures: Path, tmp_path: Path) -> None:
    result = make_tokens(tmp_path / "tokens", pictures)
    assert result.exit_code == 2
    assert f"{tmp_path / 'tokens'}: name it *.npz" in result.stderr
    assert only_error(make_tokens(tmp_path / "gone" / "t.npz", pictures, "--crops", 1)).startswith(
        f"error: {tmp_path / 'gone'}"
    )


def test_what_cannot_be_is_one_line(
    train: Any, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "vqcodec.training.stage1.trainer", raising=False)  # as in a process of its own
    empty = tmp_path / "empty"
    empty.mkdir()
    given = ("--model", tiny_model)
    for options, said in (
        (("--resume",), f"{tmp_path / 'run'}: no checkpoint there to resume from; leave --resume out to start anew"),
        ((*QUICK, "--crop-size", 40), "crops of 40 pixels: take a multiple of 16"),
        ((*QUICK, "--set", "training.level_shares=[1]"), "1 level shares for 2 levels; change training.level_shares"),
        ((*QUICK, "--device", "cuda:99"), "not available here"),
        ((*QUICK, "--labels"), "the pictures have no class labels"),
        ((*QUICK, "--init", empty), f"{empty}: not a prior folder, it has no prior.json"),
        ((*QUICK, "--model", tmp_path / "nowhere"), "nowhere: no such model folder"),
        ((*QUICK, "--validation", empty), f"{empty}: no pictures"),
    ):
        line = only_error(train(*given, *options))
        assert line.startswith("error: ")
        assert said in line
    assert not list(tmp_path.glob("run/checkpoint-*"))


def test_a_folder_with_checkpoints_is_not_overwritten(prior_trainer: PriorTrainers, train: Any, tmp_path: Path) -> None:
    prior_trainer().save()
    line = only_error(train(*QUICK))
    assert line == f"Error: {tmp_path / 'run'}: holds checkpoints already; give --resume or another --out"


def test_a_run_is_continued_with_its_own_model(prior_trainer: PriorTrainers, train: Any, tiny_model: Path) -> None:
    prior_trainer().save()
    line = only_error(train("--resume", "--model", tiny_model, "--crop-size", 32, "--no-tensorboard"))
    assert line.endswith(f"has learned the tokens of {ABOUT['model_name']}; give this model with --model")


def test_a_prior_of_tokens_of_another_shape_is_no_start(train: Any, tiny_model: Path, tmp_path: Path) -> None:
    first = write_prior(tmp_path / "first", tiny_model)
    line = only_error(train(*QUICK, "--init", first))
    assert line == (
        f"error: {first}: for the tokens of model tiny, which have another shape than those of {DEFAULT_MODEL}; "
        "leave --init out"
    )
    line = only_error(train(*QUICK, "--init", first, "--model", tiny_model))  # its classes are not those of the run
    assert line == "error: the prior to start from knows other classes or another condition than this run"


def test_a_checkpoint_of_stage_1_cannot_be_resumed(train: Any, trainer: Any, tmp_path: Path) -> None:
    trainer().save()
    path = checkpoints(tmp_path / "run")[-1]
    assert only_error(train("--resume")).startswith(f"error: {path}: not a checkpoint of stage 2 of this version")
