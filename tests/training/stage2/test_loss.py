"""What the prior is trained on in a step: shares of a batch by level, corrupted inputs, conditions left out."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from stage2_helpers import MODEL, SHAPE, PriorTrainers, RowTokens, randomise, seeded, weights_of
from torch import Tensor

from vqcodec.prior.conditions import Conditions
from vqcodec.prior.config import ConditionConfig
from vqcodec.training.stage2.crop_tokens import TokenBatch
from vqcodec.training.stage2.recipe import Stage2Config
from vqcodec.training.stage2.trainer import Stage2Trainer

CLASSES = ("a", "b", "c")


def gradients(made: Stage2Trainer, batch: TokenBatch, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Those that a step gives; the weights stay."""
    for optimizer in made.optimizers:
        monkeypatch.setattr(optimizer, "step", lambda: None)
    made.train_step(batch)
    return {name: each.grad.clone() for name, each in made.model.named_parameters() if each.grad is not None}


def seen_by(made: Stage2Trainer, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A list that grows by what the network is given at each call: tokens, level, conditions, seen."""
    calls: list[dict[str, Any]] = []
    forward = made.model.forward

    def watched(tokens: list[Tensor], level: int, conditions: Conditions, *, seen: Tensor) -> Tensor:
        calls.append({"tokens": tokens, "level": level, "conditions": conditions, "seen": seen})
        return forward(tokens, level, conditions, seen=seen)

    monkeypatch.setattr(made.model, "forward", watched)
    return calls


# ---- shares of the batch ----


def test_a_batch_in_parts_gives_the_gradient_of_the_whole(
    prior_trainer: PriorTrainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for parts in (1, 2, 4):
        made = prior_trainer(f"{parts}", accumulate=parts, gradient_clip=1e9)
        randomise(made)
        found.append(gradients(made, RowTokens()(0), monkeypatch))
    assert set(found[0]) == {name for name, _ in made.model.named_parameters()}
    for other in found[1:]:
        for name, value in found[0].items():
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6, msg=name)
    assert all(float(value.abs().max()) > 1e-5 for value in found[0].values())


def test_the_gradient_is_that_of_the_cross_entropy_of_each_levels_share(
    prior_trainer: PriorTrainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prior_trainer(level_shares=(1.0, 0.3), gradient_clip=1e9)
    randomise(made)
    calls = seen_by(made, monkeypatch)
    found = gradients(made, RowTokens()(0), monkeypatch)
    assert [(call["level"], len(call["seen"])) for call in calls] == [(0, 4), (1, 2)]
    total = torch.zeros(())
    for call, share in zip(calls[:2], (1.0, 0.3), strict=True):
        logits = made.model(call["tokens"], call["level"], call["conditions"], seen=call["seen"])
        total = total + share * F.cross_entropy(logits.flatten(0, 2), call["tokens"][call["level"]].flatten())
    names = dict(made.model.named_parameters())
    for (name, _), expected in zip(names.items(), torch.autograd.grad(total, list(names.values())), strict=True):
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-7, msg=name)


def test_bits_are_those_of_the_batch_before_the_step(prior_trainer: PriorTrainers) -> None:
    made = prior_trainer(accumulate=2)
    randomise(made)
    batch = RowTokens()(0)
    expected = {f"bits_{level + 1}": float(made.model.bits(batch.levels, level).mean()) for level in (0, 1)}
    values = made.train_step(batch)
    assert {name: values[name] for name in expected} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_without_a_share_learns_nothing(prior_trainer: PriorTrainers, level: int) -> None:
    shares = [1.0, 1.0]
    shares[level] = 0.0
    made = prior_trainer(level_shares=tuple(shares))
    before = weights_of(made.model)
    history: list[dict[str, float]] = []
    made.run(report=lambda step, values: history.append(values))
    assert all(f"bits_{level + 1}" not in values and f"bits_{2 - level}" in values for values in history)
    untouched = {name for name, value in made.model.named_parameters() if torch.equal(value, before[name])}
    own = {name for name in before if name.startswith((f"heads.{level}.", f"inputs.{level}."))}
    assert own <= untouched
    assert not any(name.startswith((f"heads.{1 - level}.", f"inputs.{1 - level}.", "blocks")) for name in untouched)


def test_shares_of_the_levels() -> None:
    assert Stage2Config().shares_of(1) == (1.0,)
    assert Stage2Config().shares_of(4) == pytest.approx((1, 1 / 3, 1 / 3, 1 / 3))
    assert Stage2Config(level_shares=(0.0, 1.0)).shares_of(2) == (0.0, 1.0)
    with pytest.raises(ValueError, match="2 level shares for 3 levels"):
        Stage2Config(level_shares=(0.0, 1.0)).shares_of(3)


def test_which_part_of_a_batch_a_level_learns_from_changes(
    prior_trainer: PriorTrainers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = prior_trainer(level_shares=(0.0, 0.25), steps=30)
    calls = seen_by(made, monkeypatch)
    batch = RowTokens()(0)
    for made.step in range(30):
        made.train_step(batch)
    chosen = {tuple(call["tokens"][0].flatten().tolist()) for call in calls}
    assert chosen == {tuple(grid.flatten().tolist()) for grid in batch.levels[0]}


# ---- random tokens in place of the right ones ----


@pytest.mark.parametrize(("pkeep", "agreeing"), [(1.0, 1.0), (0.75, 0.75 + 0.25 / 8), (0.0, 1 / 8)])
def test_a_share_of_the_tokens_shown_is_random_and_none_of_those_predicted(
    prior_trainer: PriorTrainers, monkeypatch: pytest.MonkeyPatch, pkeep: float, agreeing: float
) -> None:
    made = prior_trainer(pkeep=pkeep, batch_size=200)
    randomise(made)
    calls = seen_by(made, monkeypatch)
    batch = RowTokens(200)(0)
    for level, codes in enumerate(MODEL.codebook_sizes):
        loss = made.loss(batch, level, seeded(level))
        (call,) = calls[level:]
        assert len(call["tokens"]) == level + 1
        assert all(torch.equal(a, b) for a, b in zip(call["tokens"], batch.levels, strict=False))
        assert int(call["seen"].min()) >= 0
        assert int(call["seen"].max()) < codes
        logits = made.model(call["tokens"], level, call["conditions"], seen=call["seen"])
        expected = F.cross_entropy(logits.flatten(0, 2), batch.levels[level].flatten())
        torch.testing.assert_close(loss, expected)
        calls.pop()
    agreement = (calls[0]["seen"] == batch.levels[0]).float().mean()
    assert float(agreement) == pytest.approx(agreeing, abs=0 if pkeep == 1 else 0.03)


# ---- labels and conditions ----


@pytest.mark.parametrize("dropout", [0.0, 0.25, 1.0])
def test_labels_are_left_out_at_random(prior_trainer: PriorTrainers, dropout: float) -> None:
    made = prior_trainer(model=replace(MODEL, classes=3), source=RowTokens(classes=CLASSES), label_dropout=dropout)
    labels = torch.arange(-1, 3).repeat(200)
    batch = TokenBatch([torch.zeros(800, *SHAPE, dtype=torch.int64)] * 2, labels)
    found = made._conditions(batch, seeded(3)).labels
    assert found is not None
    known = labels >= 0
    assert (found[~known] == 3).all()
    kept = found[known] == labels[known]
    assert (found[known][~kept] == 3).all()
    assert 1 - float(kept.float().mean()) == pytest.approx(dropout, abs=0.05 if 0 < dropout < 1 else 0)
    assert torch.equal(batch.labels, torch.arange(-1, 3).repeat(200))


def test_a_prior_without_classes_gets_no_labels(prior_trainer: PriorTrainers) -> None:
    conditions = prior_trainer(label_dropout=1.0)._conditions(RowTokens(with_condition=True)(0), seeded())
    assert conditions == Conditions()


@pytest.mark.parametrize("dropout", [0.0, 0.5, 1.0])
def test_conditions_are_left_out_at_random_and_as_a_whole(prior_trainer: PriorTrainers, dropout: float) -> None:
    model = replace(MODEL, condition=ConditionConfig("edges", (5,), 8))
    made = prior_trainer(model=model, condition_dropout=dropout)
    batch = RowTokens(400, with_condition=True)(0)
    assert batch.condition is not None
    conditions = made._conditions(batch, seeded(4))
    assert conditions.labels is None
    assert conditions.grid is not None
    dropped = (conditions.grid == -1).flatten(1)
    assert torch.equal(dropped.all(dim=1), dropped.any(dim=1))
    kept = ~dropped[:, 0]
    assert torch.equal(conditions.grid[kept], batch.condition[kept])
    assert 1 - float(kept.float().mean()) == pytest.approx(dropout, abs=0.08 if 0 < dropout < 1 else 0)
    assert made._conditions(replace(batch, condition=None), seeded(4)) == Conditions()


def test_labels_and_conditions_are_learned(prior_trainer: PriorTrainers, monkeypatch: pytest.MonkeyPatch) -> None:
    model = replace(MODEL, classes=3, condition=ConditionConfig("edges", (5,), 8))
    source = RowTokens(with_condition=True, classes=CLASSES)
    made = prior_trainer(model=model, source=source)
    randomise(made)
    found = gradients(made, source(0), monkeypatch)
    assert float(found["labels.weight"].abs().max()) > 1e-5
    assert float(found["condition.0.weight"].abs().max()) > 1e-5


def test_the_bits_at_the_start_are_those_of_a_fixed_length(prior_trainer: PriorTrainers) -> None:
    values = prior_trainer().train_step(RowTokens()(0))
    assert [values["bits_1"], values["bits_2"]] == pytest.approx([math.log2(8), math.log2(6)])
