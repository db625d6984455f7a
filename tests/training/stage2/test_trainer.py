"""Training of the prior on hand-made tokens: it learns, resumes to the bit, and survives what goes wrong."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from stage1_helpers import Trainers, assert_same_checkpoint, leaves
from stage2_helpers import ABOUT, CONFIG, MODEL, PriorTrainers, RowTokens, randomise, weights_of
from torch import Tensor

from vqcodec.prior.transformer import Prior
from vqcodec.training.common.checkpoint import (
    CheckpointError,
    checkpoints,
    load_checkpoint,
    newest_checkpoint,
    save_checkpoint,
)
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.stage2 import trainer as stage2_module
from vqcodec.training.stage2.recipe import Stage2Config, Stage2Recipe
from vqcodec.training.stage2.trainer import Stage2Trainer, stage2_recipe_of

#: dropout in the network, random tokens, labels and conditions left out: all that is random in a run
RANDOM = replace(MODEL, dropout=0.2, classes=3)
RANDOM_SOURCE = RowTokens(classes=("a", "b", "c"))
RANDOM_CONFIG = {"pkeep": 0.8, "label_dropout": 0.5, "level_shares": ()}

# ---- learning ----


def test_predictable_tokens_cost_few_bits(prior_trainer: PriorTrainers) -> None:
    """A row costs 3 bits, once for its four tokens; the second level nothing, as it follows from the first."""
    history: list[dict[str, float]] = []
    made = prior_trainer(steps=40, batch_size=16, learning_rate=0.06, gradient_clip=10.0)
    made.run(report=lambda step, values: history.append(values))
    assert len(history) == 40
    assert history[0]["bits_1"] == pytest.approx(3, abs=1e-4)
    assert history[0]["bits_2"] == pytest.approx(2.585, abs=1e-3)
    assert history[-1]["bits_1"] < 1.0
    assert history[-1]["bits_2"] < 0.1
    assert set(history[0]) == {"bits_1", "bits_2", "gradient_norm", "skipped", "seconds"}
    held_out = RowTokens(16)(99).levels
    assert float(made.average.bits(held_out, 0).mean()) < 1.0
    assert float(made.average.bits(held_out, 1).mean()) < 0.1


def test_both_optimisers_follow_the_schedule(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer(adam_share=0.25)
    seen: list[list[float]] = []
    made.run(report=lambda step, values: seen.append([each.param_groups[0]["lr"] for each in made.optimizers]))
    rates = [made.config.learning_rate_at(step) for step in range(6)]
    assert seen == [[rate, 0.25 * rate] for rate in rates]


def test_the_schedule_of_the_learning_rate() -> None:
    config = Stage2Config(steps=100, warmup_steps=10, decay_share=0.5, learning_rate=2.0)
    rates = [config.learning_rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 5 for step in range(10)])
    assert rates[10:51] == [2.0] * 41
    assert rates[50:] == pytest.approx([(100 - step) / 25 for step in range(50, 100)])


def test_matrices_inside_the_network_learn_by_muon_and_all_else_by_adamw(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer(model=replace(MODEL, classes=3, coordinates=True), source=RowTokens(classes=("a", "b", "c")))
    name_of = {id(parameter): name for name, parameter in made.model.named_parameters()}
    inner, outer = ({name_of[id(each)] for each in it.param_groups[0]["params"]} for it in made.optimizers)
    assert inner | outer == set(name_of.values())
    assert not inner & outer
    assert {name.split(".")[0] for name in inner} == {"blocks", "inputs", "place"}
    assert all(made.model.get_parameter(name).dim() > 1 for name in inner)
    assert {"tokens", "levels", "labels", "relative", "heads", "norm"} <= {name.split(".")[0] for name in outer}
    assert all(made.model.get_parameter(name).dim() == 1 for name in outer if name.startswith(("blocks", "inputs")))


def test_the_average_follows_the_weights(prior_trainer: PriorTrainers) -> None:
    """Faster in the first steps: by (1 + step) / (10 + step), until that reaches ema_decay."""
    made = prior_trainer(ema_decay=0.3)
    expected = weights_of(made.model)

    def watch(step: int, values: dict[str, float]) -> None:
        decay = (1 + step) / (10 + step) if step < 3 else 0.3
        for name, value in made.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * value.detach()

    made.run(report=watch)
    for name, value in made.average.named_parameters():
        torch.testing.assert_close(value, expected[name], msg=name)
    assert not made.average.training
    assert not any(parameter.requires_grad for parameter in made.average.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(made.average.parameters(), made.model.parameters(), strict=True))


# ---- resuming ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_resuming_gives_the_same_bits(
    prior_trainer: PriorTrainers, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage2_module, "fast_dtype", lambda device: dtype)
    settings: dict[str, Any] = {"model": RANDOM, "source": RANDOM_SOURCE, **RANDOM_CONFIG}
    whole, part, rest = prior_trainer("whole", **settings), *(prior_trainer("parts", **settings) for _ in range(2))
    whole.run()
    part.run(until=3)
    assert part.step == 3
    rest.resume()
    assert rest.step == 3
    rest.run()
    left, right = checkpoints(whole.out)[-1], checkpoints(rest.out)[-1]
    assert left.name == right.name == "checkpoint-00000006.pt"
    assert_same_checkpoint(left, right)
    kept = leaves(load_checkpoint(right)["optimizers"])
    names = {name.split(".")[-1] for name, value in kept.items() if isinstance(value, Tensor)}
    assert names == {"momentum", "exp_avg", "exp_avg_sq", "step"}


def test_the_settings_survive_the_checkpoint(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer(model=RANDOM, source=RANDOM_SOURCE, **RANDOM_CONFIG)
    made.save()
    path = newest_checkpoint(made.out)
    state = load_checkpoint(path)
    assert stage2_recipe_of(path, state) == Stage2Recipe(RANDOM, made.config) == made.recipe
    assert state["about"] == ABOUT | {"classes": ["a", "b", "c"]}


def test_a_run_of_another_prior_cannot_resume(prior_trainer: PriorTrainers) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint there to resume from"):
        prior_trainer().resume()
    prior_trainer().save()
    with pytest.raises(CheckpointError, match=r"checkpoint-00000000\.pt: made with another configuration of the prior"):
        prior_trainer(model=replace(MODEL, radius=3)).resume()
    with pytest.raises(CheckpointError, match=r"00000000\.pt: has learned other classes; give the same --data"):
        prior_trainer(model=RANDOM, source=RANDOM_SOURCE).resume()
    other = prior_trainer()
    other.about = ABOUT | {"model_id": "cd" * 8}
    with pytest.raises(CheckpointError, match=r"00000000\.pt: has learned the tokens of some; give this model with"):
        other.resume()
    prior_trainer(steps=9, learning_rate=0.1).resume()


def test_a_checkpoint_of_stage_1_is_named(trainer: Trainers, prior_trainer: PriorTrainers) -> None:
    trainer().save()
    with pytest.raises(CheckpointError, match=r"checkpoint-00000000\.pt: not a checkpoint of stage 2"):
        prior_trainer().resume()


@pytest.mark.parametrize("changes", [{"steps": "many"}, {"crop": None}, {"batch_size": 3, "accumulate": 2}])
def test_a_checkpoint_with_settings_of_another_version_is_named(
    prior_trainer: PriorTrainers, tmp_path: Path, changes: dict[str, Any]
) -> None:
    state = prior_trainer().state()
    path = save_checkpoint(tmp_path, 1, state | {"config": {**state["config"], "unknown": 1} | changes})
    with pytest.raises(CheckpointError, match=r"checkpoint-00000001\.pt: not a checkpoint of stage 2 of this version"):
        stage2_recipe_of(path, load_checkpoint(path))


# ---- a finished prior to start from ----


def test_training_starts_from_a_finished_prior(prior_trainer: PriorTrainers) -> None:
    made, first = prior_trainer("new"), prior_trainer("first")
    randomise(first)
    made.start_from(first.model)
    for network in (made.model, made.average):
        assert all(torch.equal(a, b) for a, b in zip(network.parameters(), first.model.parameters(), strict=True))
    before = weights_of(first.model)
    made.run(until=1)
    assert all(torch.equal(value, before[name]) for name, value in first.model.named_parameters())
    with pytest.raises(TrainingError, match="the prior to start from has another configuration than this run"):
        made.start_from(Prior(replace(MODEL, radius=3)))


# ---- settings that cannot be ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accumulate": 3}, "a batch of 4 cannot be cut into 3 equal parts"),
        ({"pkeep": 1.5}, "pkeep 1.5: take a share, 0 to 1"),
        ({"label_dropout": -0.1}, "label_dropout -0.1"),
        ({"condition_dropout": 2.0}, "condition_dropout 2.0"),
        ({"level_shares": (1.0, 1.1)}, r"level shares \(1.0, 1.1\): take shares, 0 to 1"),
    ],
)
def test_settings_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


def test_a_recipe_that_cannot_be_trained(prior_trainer: PriorTrainers, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingError, match=r"1 level shares for 2 levels; change training\.level_shares"):
        prior_trainer(level_shares=(1.0,))
    monkeypatch.setattr(stage2_module, "process_count", lambda: 3)
    with pytest.raises(TrainingError, match="a batch of 4 cannot be shared by 3 processes in 1 parts each"):
        prior_trainer()


# ---- gradients that are not finite ----


def spoil(made: Stage2Trainer, *steps: int) -> None:
    """The loss is not a number at these steps."""
    loss = made.loss

    def spoilt(*given: Any) -> Tensor:
        value = loss(*given)
        return value * float("nan") if made.step in steps else value

    made.loss = spoilt  # type: ignore[method-assign,assignment]


def test_a_step_without_a_finite_gradient_is_skipped(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer()
    spoil(made, 2)
    states: list[dict[str, Any]] = []
    skipped: list[float] = []

    def watch(step: int, values: dict[str, float]) -> None:
        skipped.append(values["skipped"])
        found = leaves({name: made.state()[name] for name in ("model", "average", "optimizers")})
        states.append({name: value.clone() for name, value in found.items() if isinstance(value, Tensor)})

    made.run(report=watch)
    changed = [any(not torch.equal(value, b[name]) for name, value in a.items()) for a, b in pairwise(states)]
    assert changed == [True, False, True, True, True]
    assert skipped == [0, 0, 1, 1, 1, 1]
    assert all(torch.isfinite(value).all() for value in states[-1].values())


def test_ten_such_steps_in_a_row_end_the_run(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer(steps=20)
    spoil(made, 0, *range(2, 12))
    with pytest.raises(TrainingError, match="step 11: ten steps in a row gave no finite gradient"):
        made.run()
    assert all(torch.isfinite(value).all() for value in made.model.parameters())
    assert [path.name for path in checkpoints(made.out)] == ["checkpoint-00000011.pt"]


def test_the_checkpoint_of_such_an_end_is_kept_beside_the_others(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer(steps=20)
    spoil(made, *range(3, 13))
    with pytest.raises(TrainingError):
        made.run(checkpoint_every=1, keep=0)
    assert [int(path.stem[-2:]) for path in checkpoints(made.out)] == list(range(1, 13))


def test_a_resumed_run_takes_another_decay_of_weights(prior_trainer: PriorTrainers) -> None:
    prior_trainer().save()
    resumed = prior_trainer(weight_decay=0.5)
    resumed.resume()
    assert {group["weight_decay"] for each in resumed.optimizers for group in each.param_groups} == {0.5}
