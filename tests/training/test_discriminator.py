"""The PatchGAN discriminator and its losses."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqcodec.training.discriminator import (
    MAXIMUM_ADAPTIVE_WEIGHT,
    Adversary,
    AdversaryConfig,
    PatchDiscriminator,
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
)


def test_a_logit_sees_70_pixels() -> None:
    torch.manual_seed(0)
    network = PatchDiscriminator(4).eval()
    images = torch.randn(1, 3, 160, 160, requires_grad=True)
    logits = network(images)
    assert logits.shape == (1, 1, 18, 18)
    seen = torch.autograd.grad(logits[0, 0, 9, 9], images)[0].abs().sum(dim=(0, 1)) > 0
    rows, cols = (seen.any(dim=dim).nonzero().flatten() for dim in (1, 0))
    assert int(rows.max() - rows.min()) + 1 == int(cols.max() - cols.min()) + 1 == 70


def test_the_losses_are_the_hinge_losses() -> None:
    real, made = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, -0.5, 1.0])
    assert float(discriminator_loss(real, made)) == pytest.approx(0.5 * (0 + 0.5 + 2) / 3 + 0.5 * (0 + 0.5 + 2) / 3)
    assert float(adversarial_loss(made)) == pytest.approx(0.5)


def test_the_adaptive_weight_is_the_ratio_of_the_norms() -> None:
    ones = torch.ones(4)
    assert float(adaptive_weight(3 * ones, 2 * ones)) == pytest.approx(1.5)
    assert float(adaptive_weight(ones, torch.zeros(4))) == MAXIMUM_ADAPTIVE_WEIGHT
    assert float(adaptive_weight(torch.zeros(4), ones)) == 0
    weight = adaptive_weight(ones.bfloat16(), ones.bfloat16())
    assert (weight.dtype, weight.requires_grad) == (torch.float32, False)


def learn(adversary: Adversary, real: Tensor, made: Tensor) -> dict[str, Tensor]:
    values = adversary.look(real, made, 1.0)
    adversary.learn(1.0)
    return values


def test_it_learns_to_tell_noise_from_flat_pictures() -> None:
    torch.manual_seed(1)
    adversary = Adversary(AdversaryConfig(width=8, learning_rate=2e-3), torch.device("cpu"))
    real, made = torch.randn(4, 3, 40, 40), torch.zeros(4, 3, 40, 40)
    losses = [float(learn(adversary, real, made)["discriminator"]) for _ in range(60)]
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert losses[-1] < 0.3
    loss, gradient = adversary.gradient(made)
    assert gradient.shape == made.shape
    assert adversarial_loss(adversary.network(made - 100 * gradient)).detach() < loss


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    adversary = Adversary(AdversaryConfig(width=4), torch.device("cpu"))
    before = [value.detach().clone() for value in adversary.network.parameters()]
    learn(adversary, torch.full((1, 3, 40, 40), torch.nan), torch.zeros(1, 3, 40, 40))
    assert all(torch.equal(a, b) for a, b in zip(before, adversary.network.parameters(), strict=True))


def test_its_state_is_carried_over() -> None:
    first, second = (Adversary(AdversaryConfig(width=4), torch.device("cpu")) for _ in range(2))
    real, made = torch.randn(2, 3, 40, 40), torch.zeros(2, 3, 40, 40)
    learn(first, real, made)
    second.load(first.state())
    assert learn(first, real, made) == learn(second, real, made)


@pytest.mark.parametrize(
    ("config", "step", "active"), [((0.8, 5), 4, False), ((0.8, 5), 5, True), ((0.0, 0), 9, False)]
)
def test_when_it_takes_part(config: tuple[float, int], step: int, active: bool) -> None:
    adversary = Adversary(AdversaryConfig(weight=config[0], start=config[1], width=2), torch.device("cpu"))
    assert adversary.is_active(step) is active
