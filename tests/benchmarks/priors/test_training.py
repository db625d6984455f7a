from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqcodec.benchmarks.priors.training import Training, bits_per_token, order_0_bits, train
from vqcodec.training.common.loop import TrainingError


class Frequencies(nn.Module):
    """Logits that do not depend on anything."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(codes))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.logits.expand(*tokens.shape, -1)


def test_training_ends_after_steps_and_learns() -> None:
    tokens = torch.tensor([0, 0, 0, 1]).view(4, 1, 1)
    network = Frequencies(4)
    told: list[tuple[int, float]] = []
    training = Training(batch_size=4, learning_rate=0.3, seed=0, steps=60)
    steps, seconds = train(network, network, tokens, training, lambda *values: told.append(values))
    assert steps == 60 == len(told)
    assert [step for step, _ in told] == list(range(60))
    assert told[0][1] == pytest.approx(2)
    assert seconds > 0
    entropy = 0.75 * math.log2(4 / 3) + 0.25 * 2
    assert bits_per_token(network, tokens, torch.device("cpu")) == pytest.approx(entropy, abs=0.02)
    assert not network.training


def test_training_ends_after_seconds() -> None:
    network = Frequencies(4)
    told: list[int] = []
    training = Training(batch_size=2, learning_rate=0.1, seed=0, seconds=0.05)
    steps, seconds = train(
        network, network, torch.zeros(3, 1, 1).long(), training, lambda step, bits: told.append(step)
    )
    assert steps == len(told) >= 1
    assert seconds >= 0.05


def test_every_grid_is_taken_once_before_any_comes_again() -> None:
    seen: list[int] = []
    network = Frequencies(8)

    def predict(tokens: Tensor) -> Tensor:
        seen.extend(tokens.flatten().tolist())
        return network(tokens)

    training = Training(batch_size=3, learning_rate=0.1, seed=0, steps=16)
    train(network, predict, torch.arange(8).view(8, 1, 1), training, lambda step, bits: None)
    epochs = [seen[start : start + 8] for start in range(0, 48, 8)]
    assert all(sorted(epoch) == list(range(8)) for epoch in epochs)
    assert len(set(map(tuple, epochs))) > 1


def test_a_batch_may_be_larger_than_what_there_is() -> None:
    network = Frequencies(8)
    training = Training(batch_size=20, learning_rate=0.1, seed=0, steps=2)
    assert train(network, network, torch.zeros(3, 1, 1).long(), training, lambda step, bits: None)[0] == 2


def test_a_loss_that_is_not_finite_ends_the_training() -> None:
    network = Frequencies(4)
    network.logits.data[0] = torch.nan
    training = Training(batch_size=2, learning_rate=0.1, seed=0, steps=2)
    with pytest.raises(TrainingError, match="step 0: the loss is not finite; take a lower --learning-rate"):
        train(network, network, torch.zeros(3, 1, 1).long(), training, lambda step, bits: None)


@pytest.mark.parametrize("end", [{}, {"steps": 1, "seconds": 1.0}])
def test_a_training_has_one_end(end: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="give one of them"):
        Training(batch_size=2, learning_rate=0.1, seed=0, **end)


def test_bits_per_token_of_known_probabilities() -> None:
    pmf = torch.tensor([0.5, 0.25, 0.125, 0.125])

    def predict(tokens: Tensor) -> Tensor:
        return pmf.log().expand(*tokens.shape, 4)

    tokens = torch.tensor([0, 1, 2, 3]).repeat(9).view(-1, 2, 2)
    assert bits_per_token(predict, tokens, torch.device("cpu")) == pytest.approx((1 + 2 + 3 + 3) / 4)


def test_order_0_bits() -> None:
    training = torch.tensor([[0, 0, 0, 1]])  # and one more of each: 4, 2, 1, 1 of 8
    assert order_0_bits(training, torch.tensor([0]), 4) == pytest.approx(1)
    assert order_0_bits(training, torch.tensor([[1, 2], [3, 3]]), 4) == pytest.approx((2 + 3 + 3 + 3) / 4)
