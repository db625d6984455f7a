"""The context network group by group, and what it is told besides tokens."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from context_helpers import FACTORS, SIZES, SMALL, context_models, grids, random_network, tensors

from vqcodec.prior.conditions import Conditions
from vqcodec.prior.config import ConditionConfig
from vqcodec.prior.context_config import ContextConfig, check_together
from vqcodec.prior.context_network import NATS

TOLD = ConditionConfig("low-2", (5, 9), min(FACTORS))


@pytest.mark.parametrize("size", [(1, 1), (8, 70), (41, 70)])
@pytest.mark.parametrize("at_once", [30, 1 << 18])
def test_groups_give_what_all_together_give(
    size: tuple[int, int], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqcodec.prior.context_network.FREQUENCIES_AT_ONCE", at_once)
    network, _ = context_models()
    tokens = tensors(grids(size, seed=3))
    for level, grid in enumerate(tokens):
        wanted = network(tokens, level).flatten(2).transpose(1, 2) * NATS
        started = network.begin(tokens[:level], (grid.shape[1], grid.shape[2]))
        known, seen = torch.zeros(1, grid[0].numel(), dtype=torch.int64), []
        for positions in started.groups:
            torch.testing.assert_close(started.logits(known), wanted[:, positions], rtol=0, atol=0)
            known[:, positions] = grid.flatten(1)[:, positions]
            seen.append(positions)
        assert torch.cat(seen).sort().values.tolist() == list(range(grid[0].numel()))


def test_a_condition_counts_where_it_lies() -> None:
    network = random_network(ContextConfig(SIZES, FACTORS, condition=TOLD, **SMALL))
    tokens = tensors(grids((256, 256), seed=5))
    side = 256 // TOLD.factor
    condition = torch.zeros(1, 2, side, side, dtype=torch.int64)
    other = condition.clone()
    other[:, 1, -1, -1] = 8
    for level, grid in enumerate(tokens):
        changed = (network(tokens, level, other) - network(tokens, level, condition)).abs().sum(dim=1)[0]
        assert changed.shape == grid.shape[1:]
        assert changed[-1, -1] > 0
        assert changed[0, 0] == 0


def test_what_does_not_go_together() -> None:
    network = random_network(ContextConfig(SIZES, FACTORS, condition=TOLD, **SMALL))
    tokens = tensors(grids((32, 32)))
    with pytest.raises(ValueError, match="a condition of 0 levels; this context network is told 2"):
        network(tokens, 0)
    with pytest.raises(ValueError, match="does not cover"):
        network(tokens, 0, torch.zeros(1, 2, 1, 1, dtype=torch.int64))
    with pytest.raises(ValueError, match="knows no classes"):
        network.begin([], (2, 2), conditions=Conditions(labels=torch.zeros(1, dtype=torch.int64)))
    with pytest.raises(ValueError, match="must be multiples of each other"):
        replace(network.config, condition=ConditionConfig("low-2", (5,), 5))
    with pytest.raises(ValueError, match="is told low-2: one that codes knows tokens alone"):
        check_together(None, network.config)


def test_the_configuration_survives_json() -> None:
    for condition in (None, TOLD):
        config = ContextConfig(SIZES, FACTORS, condition=condition, **SMALL)
        assert ContextConfig.from_dict(config.to_dict()) == config
    assert "condition" not in ContextConfig(SIZES, FACTORS).to_dict()
