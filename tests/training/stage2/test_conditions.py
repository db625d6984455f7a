"""Stage 2 with conditions: a start from a prior that knows less, and runs that cannot go on with another condition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from stage2_helpers import ABOUT, MODEL, PriorTrainers, RowTokens, randomise

from vqcodec.prior.conditions import Conditions
from vqcodec.prior.config import ConditionConfig, PriorConfig
from vqcodec.prior.transformer import Prior
from vqcodec.training.common.checkpoint import CheckpointError, load_checkpoint, newest_checkpoint, save_checkpoint
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.export import export_prior
from vqcodec.training.stage2.trainer import Stage2Trainer

CLASSES = ("a", "b", "c")
#: of what `RowTokens` gives
CONDITION = ConditionConfig("edges", (5,), 8)
TOLD = replace(MODEL, condition=CONDITION)
WITH_BOTH = replace(TOLD, classes=3)


def logits(network: Prior, source: RowTokens) -> list[torch.Tensor]:
    """Of both levels of a batch, with all that the network can be told of it."""
    batch = source(7)
    labels = batch.labels.clamp_min(0) if network.config.classes else None
    told = Conditions(labels=labels, grid=batch.condition if network.config.condition else None)
    return [network.eval()(batch.levels, level, told) for level in (0, 1)]


def trained(prior_trainer: PriorTrainers, model: PriorConfig, source: RowTokens | None = None) -> Stage2Trainer:
    """Of random weights, all of which matter."""
    made = prior_trainer("first", model=model, source=source)
    randomise(made)
    return made


# ---- a prior that knows less, to start from ----


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        (MODEL, TOLD),
        (MODEL, WITH_BOTH),
        (MODEL, replace(MODEL, classes=3)),
        (replace(MODEL, classes=3), WITH_BOTH),
        (TOLD, WITH_BOTH),
        (MODEL, replace(MODEL, condition=ConditionConfig("low-4", (5, 6, 7), 16))),
    ],
)
@torch.no_grad()
def test_what_is_new_has_no_influence_at_first(
    known: PriorConfig, wanted: PriorConfig, prior_trainer: PriorTrainers
) -> None:
    first = trained(prior_trainer, known)
    made = prior_trainer("new", model=wanted)
    made.start_from(first.model)
    source = RowTokens(4, with_condition=True)
    expected = logits(first.model, source)
    if wanted.condition and len(wanted.condition.codebook_sizes) == 3:
        batch = source(7)
        grid = torch.arange(36).view(1, 3, 3, 4).expand(4, -1, -1, -1) % 5
        made_logits = [made.average(batch.levels, level, Conditions(grid=grid)) for level in (0, 1)]
    else:
        made_logits = logits(made.average, source)
    for a, b in zip(expected, made_logits, strict=True):
        torch.testing.assert_close(b, a, rtol=0, atol=1e-5)
    assert all(torch.equal(a, b) for a, b in zip(made.model.parameters(), made.average.parameters(), strict=True))


def test_the_new_parts_learn(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer("new", model=WITH_BOTH, source=RowTokens(4, with_condition=True, classes=CLASSES))
    made.start_from(trained(prior_trainer, MODEL).model)
    new = ("labels.weight", "inputs.0.below.weight", "inputs.1.below.weight", "condition.0.weight")
    before = {name: made.model.get_parameter(name).detach().clone() for name in new}
    width = MODEL.token_width
    assert not before["inputs.0.below.weight"].any()
    assert not before["inputs.1.below.weight"][:, width:].any()
    assert before["inputs.1.below.weight"][:, :width].any()
    made.run(until=3)
    for name in new:
        assert float((made.model.get_parameter(name).detach() - before[name]).abs().max()) > 1e-4, name
    assert made.model.get_parameter("inputs.1.below.weight")[:, width:].any()


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        (TOLD, MODEL),
        (TOLD, replace(MODEL, condition=ConditionConfig("low-4", (5,), 8))),
        (TOLD, replace(MODEL, condition=ConditionConfig("edges", (5, 5), 8))),
        (replace(MODEL, classes=3), MODEL),
        (replace(MODEL, classes=3), replace(TOLD, classes=4)),
    ],
)
def test_a_prior_that_knows_something_else_is_no_start(
    known: PriorConfig, wanted: PriorConfig, prior_trainer: PriorTrainers
) -> None:
    with pytest.raises(TrainingError, match="the prior to start from knows other classes or another condition than"):
        prior_trainer(model=wanted).start_from(Prior(known))


def test_a_prior_of_another_shape_is_no_start_either(prior_trainer: PriorTrainers) -> None:
    with pytest.raises(TrainingError, match="the prior to start from has another configuration than this run"):
        prior_trainer(model=TOLD).start_from(Prior(replace(MODEL, radius=3)))


# ---- resuming ----


def told(prior_trainer: PriorTrainers, condition: ConditionConfig | None, model_id: str) -> Stage2Trainer:
    made = prior_trainer(model=replace(MODEL, condition=condition), source=RowTokens(with_condition=True))
    made.about = ABOUT | {"condition_model_id": model_id}
    return made


@pytest.mark.parametrize(
    ("condition", "model_id"),
    [(None, ""), (CONDITION, "ef" * 4), (ConditionConfig("low-4", (5,), 8), "cd" * 4), (None, "cd" * 4)],
)
def test_a_run_with_another_condition_cannot_resume(
    condition: ConditionConfig | None, model_id: str, prior_trainer: PriorTrainers
) -> None:
    told(prior_trainer, CONDITION, "cd" * 4).save()
    with pytest.raises(
        CheckpointError,
        match=r"00000000\.pt: has learned another condition; give the same --condition and --condition-model",
    ):
        told(prior_trainer, condition, model_id).resume()
    told(prior_trainer, CONDITION, "cd" * 4).resume()


def test_a_run_without_condition_cannot_resume_with_one(prior_trainer: PriorTrainers) -> None:
    prior_trainer().save()
    with pytest.raises(CheckpointError, match="has learned another condition"):
        told(prior_trainer, CONDITION, "cd" * 4).resume()


def test_a_checkpoint_from_before_there_were_conditions(prior_trainer: PriorTrainers, tmp_path: Path) -> None:
    made = prior_trainer()
    about = {name: value for name, value in ABOUT.items() if name != "condition_model_id"}
    save_checkpoint(made.out, 2, made.state() | {"about": about})
    made.resume()
    assert made.step == 2
    words = {"name": "old", "description": "rows", "licence": "MIT"}
    card = export_prior(newest_checkpoint(made.out), tmp_path / "prior", **words)
    assert (card.condition, card.condition_model_id) == ("", "")


def test_a_run_with_a_condition_and_its_continuation(prior_trainer: PriorTrainers) -> None:
    settings: dict[str, Any] = {
        "model": replace(WITH_BOTH, dropout=0.2),
        "source": RowTokens(with_condition=True, classes=CLASSES),
        "condition_dropout": 0.5,
        "label_dropout": 0.5,
        "steps": 4,
    }
    whole, part, rest = prior_trainer("whole", **settings), *(prior_trainer("parts", **settings) for _ in range(2))
    whole.run()
    part.run(until=2)
    rest.resume()
    rest.run()
    left, right = (load_checkpoint(newest_checkpoint(each.out))["average"] for each in (whole, rest))
    assert all(torch.equal(value, right[name]) for name, value in left.items())
