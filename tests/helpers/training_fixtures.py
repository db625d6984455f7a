"""Fixtures for the tests of the training: a few pictures, and trainers of a tiny model and of a tiny prior."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from PIL import Image
from stage1_helpers import CONFIG, MODEL, Trainers
from stage2_command_helpers import run
from stage2_helpers import MODEL as PRIOR
from stage2_helpers import PriorTrainers, make_trainer

from vqcodec.models.config import AutoencoderConfig
from vqcodec.prior.config import PriorConfig
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.stage1 import trainer as stage1_module
from vqcodec.training.stage1.recipe import Stage1Recipe
from vqcodec.training.stage1.trainer import Stage1Trainer
from vqcodec.training.stage2 import trainer as stage2_module
from vqcodec.training.stage2.trainer import Stage2Trainer


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four generated pictures, 96 x 80."""
    folder = tmp_path_factory.mktemp("pictures")
    y, x = np.mgrid[:80, :96]
    for number in range(4):
        waves = [np.sin(x / (5 + number + k)) + np.cos(y / (9 - number + k) + k) for k in range(3)]
        Image.fromarray((128 + 60 * np.stack(waves, axis=2)).clip(0, 255).astype(np.uint8)).save(
            folder / f"{number}.png"
        )
    return folder


@pytest.fixture(autouse=True)
def one_seed_for_all() -> Iterator[None]:
    """A trainer seeds torch; the other tests need not notice."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture
def trainer(pictures: Path, perceptual_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainers:
    """Makes a trainer in a folder of this test, with some settings of CONFIG changed."""
    monkeypatch.setattr(stage1_module, "fast_dtype", lambda device: torch.float32)

    def make(out: str = "run", model: AutoencoderConfig = MODEL, **changes: Any) -> Stage1Trainer:
        return Stage1Trainer(
            Stage1Recipe(model, replace(CONFIG, **changes)),
            PictureSet([pictures]),
            tmp_path / out,
            perceptual_weights=perceptual_weights,
            device="cpu",
        )

    return make


@pytest.fixture
def prior_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PriorTrainers:
    """Makes a trainer of a prior in a folder of this test."""
    monkeypatch.setattr(stage2_module, "fast_dtype", lambda device: torch.float32)

    def make(out: str = "run", model: PriorConfig = PRIOR, **changes: Any) -> Stage2Trainer:
        return make_trainer(tmp_path / out, model, **changes)

    return make


@pytest.fixture
def train_stage2(pictures: Path, tmp_path: Path) -> Any:
    """Runs the command on the four pictures, in RUN of this test."""

    def stage2(*options: object, data: Path | None = None) -> Result:
        return run("train", "stage2", "--data", data or pictures, "--out", tmp_path / "run", "--device=cpu", *options)

    return stage2
