"""A discriminator goes on with the next run that starts from its model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stage1_helpers import CONFIG, Trainers

from vqcodec.cards.engines import load_network
from vqcodec.cards.finding import find_model
from vqcodec.cards.model_files import DISCRIMINATOR_FILE
from vqcodec.training.common.checkpoint import checkpoints
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.export import export_model
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.trainer import Stage1Trainer

ON_FEATURES = AdversaryConfig(start=3, width=4, kind="features")


def exported(made: Stage1Trainer, pictures: Path, folder: Path) -> Path:
    made.run()
    export_model(
        checkpoints(made.out)[-1],
        folder,
        name="mine",
        pictures=PictureSet([pictures]),
        picture_count=2,
        description="d",
        licence="private",
    )
    return folder


def started(trainer: Trainers, model: Path, adversary: AdversaryConfig) -> dict[str, torch.Tensor]:
    """The discriminator of a run that starts from a model."""
    made = trainer(f"from-{adversary.kind}-{adversary.width}", adversary=adversary)
    found = find_model(model)
    made.start_from(load_network(found), found.path)
    assert made.losses.adversary is not None
    weights: dict[str, torch.Tensor] = made.losses.adversary.network.state_dict()
    return weights


def test_a_run_goes_on_with_the_discriminator_of_its_model(trainer: Trainers, pictures: Path, tmp_path: Path) -> None:
    first = trainer("first", adversary=ON_FEATURES)
    model = exported(first, pictures, tmp_path / "model")
    assert first.losses.adversary is not None
    expected = first.losses.adversary.network.state_dict()
    found = started(trainer, model, ON_FEATURES)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)
    assert bool((found["scales"] > 0).all())


@pytest.mark.parametrize("adversary", [replace(ON_FEATURES, width=8), replace(ON_FEATURES, kind="patch")])
def test_one_that_does_not_fit_is_left_alone(
    trainer: Trainers, pictures: Path, tmp_path: Path, adversary: AdversaryConfig, caplog: pytest.LogCaptureFixture
) -> None:
    model = exported(trainer("first", adversary=ON_FEATURES), pictures, tmp_path / "model")
    started(trainer, model, adversary)
    assert ("has other shapes than this run's discriminator" in caplog.text) is (adversary.kind == "features")


def test_none_is_kept_of_a_run_whose_discriminator_never_began(
    trainer: Trainers, pictures: Path, tmp_path: Path
) -> None:
    late = replace(ON_FEATURES, start=CONFIG.steps + 1)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / DISCRIMINATOR_FILE).write_bytes(b"of the model that is overwritten")
    model = exported(trainer("first", adversary=late), pictures, tmp_path / "model")
    assert not (model / DISCRIMINATOR_FILE).exists()
    assert json.loads((model / "card.json").read_text())["name"] == "mine"


def test_a_damaged_one_is_named(trainer: Trainers, pictures: Path, tmp_path: Path) -> None:
    model = exported(trainer("first", adversary=ON_FEATURES), pictures, tmp_path / "model")
    (model / DISCRIMINATOR_FILE).write_bytes(b"none")
    with pytest.raises(TrainingError, match=f"{DISCRIMINATOR_FILE}: cannot be read .*; delete it"):
        started(trainer, model, ON_FEATURES)
