"""The discriminators and their losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqcodec.perceptual.networks import LPIPS
from vqcodec.training.stage1 import discriminator as discriminator_module
from vqcodec.training.stage1.discriminator import (
    MAXIMUM_ADAPTIVE_WEIGHT,
    Adversary,
    AdversaryConfig,
    FeatureDiscriminator,
    PatchDiscriminator,
    adaptive_weight,
    adversarial_losses,
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
    assert float(adversarial_losses(made[:, None, None, None]).mean()) == pytest.approx(0.5)


def test_the_adaptive_weight_is_the_ratio_of_the_norms() -> None:
    ones = torch.ones(4)
    assert float(adaptive_weight(3 * ones, 2 * ones)) == pytest.approx(1.5)
    assert float(adaptive_weight(ones, torch.zeros(4))) == MAXIMUM_ADAPTIVE_WEIGHT
    assert float(adaptive_weight(torch.zeros(4), ones)) == 0
    weight = adaptive_weight(ones.bfloat16(), ones.bfloat16())
    assert (weight.dtype, weight.requires_grad) == (torch.float32, False)


Seen = Tensor | list[Tensor]


def learn(adversary: Adversary, real: Seen, made: Seen) -> dict[str, Tensor]:
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
    pixels, levels = made.requires_grad_(), torch.tensor([1, 2, 1, 2])
    loss = adversary.adversarial_loss(pixels, levels)
    (gradient,) = torch.autograd.grad(loss, pixels)
    assert adversary.adversarial_loss(made - 100 * gradient, levels) < loss
    assert all(parameter.requires_grad and parameter.grad is None for parameter in adversary.network.parameters())


def test_pictures_weigh_by_their_number_of_levels() -> None:
    torch.manual_seed(1)
    adversary = Adversary(AdversaryConfig(width=4, by_level=(1.0, 0.25)), torch.device("cpu"))
    adversary.network.eval()
    made = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        losses = adversarial_losses(adversary.network(made))
        loss = adversary.adversarial_loss(made, torch.tensor([1, 2]))
    torch.testing.assert_close(loss, (losses[0] + 0.25 * losses[1]) / 2)


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


def test_its_weight_rises() -> None:
    config = AdversaryConfig(weight=0.4, start=100, rise_steps=50)
    assert [config.weight_at(step) for step in (100, 125, 150, 1000)] == pytest.approx([0.0, 0.2, 0.4, 0.4])
    assert replace(config, rise_steps=0).weight_at(100) == 0.4


@pytest.mark.parametrize(
    ("config", "step", "active"), [((0.8, 5), 4, False), ((0.8, 5), 5, True), ((0.0, 0), 9, False)]
)
def test_when_it_takes_part(config: tuple[float, int], step: int, active: bool) -> None:
    adversary = Adversary(AdversaryConfig(weight=config[0], start=config[1], width=2), torch.device("cpu"))
    assert adversary.is_active(step) is active


def test_weights_are_normalised_in_float32_under_autocast() -> None:
    """Of both precisions the same weights, to the bit, and one step of the power iteration a pass."""
    states = []
    for enabled in (False, True):
        torch.manual_seed(1)
        network = PatchDiscriminator(4)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            logits = network(torch.ones(1, 3, 40, 40))
        assert logits.dtype == (torch.bfloat16 if enabled else torch.float32)
        states.append(network.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


# ---- on the features of VGG16 ----

CPU = torch.device("cpu")
ON_FEATURES = AdversaryConfig(kind="features", width=4, learning_rate=2e-3)


@pytest.fixture
def vgg(perceptual_weights: Path) -> LPIPS:
    """A VGG16 with few channels."""
    return LPIPS(perceptual_weights, "vgg")


def channels(vgg: LPIPS) -> list[int]:
    return [each.shape[1] for each in vgg.describe(torch.zeros(1, 3, 16, 16))[:4]]


def texture(fineness: float, seed: int, count: int = 3, side: int = 64) -> Tensor:
    """(count, 3, side, side) noise; fineness: from 0, smooth over 4 pixels, to 1, white."""
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2) * 5
    return 0.4 * (fineness * noise + (1 - fineness) * smooth)


def seen(vgg: LPIPS, *arguments: float, **options: int) -> list[Tensor]:
    return vgg.describe(texture(*arguments, **options) / 2 + 0.5)  # type: ignore[arg-type]


def parameters(adversary: Adversary) -> list[Tensor]:
    return [value.detach().clone() for value in adversary.network.parameters()]


def test_each_head_weighs_the_same_in_the_mean(vgg: LPIPS) -> None:
    torch.manual_seed(0)
    network = FeatureDiscriminator(channels(vgg), width=4).eval().requires_grad_(False)
    features = seen(vgg, 0.5, 1)
    logits = network(features)
    assert logits.shape == (3, 4, 32, 32)
    own = [head(value / s) for head, value, s in zip(network.heads, features, network.scales, strict=False)]
    assert [tuple(each.shape[1:]) for each in own] == [(1, 32, 32), (1, 16, 16), (1, 8, 8), (1, 4, 4)]
    assert float(logits.mean()) == pytest.approx(sum(float(each.mean()) for each in own) / 4, abs=1e-6)
    for number, (each, repeat) in enumerate(zip(own, (1, 2, 4, 8), strict=True)):
        repeated = each.repeat_interleave(repeat, 2).repeat_interleave(repeat, 3)
        torch.testing.assert_close(logits[:, number, None], repeated)


def test_all_heads_learn(vgg: LPIPS) -> None:
    adversary = Adversary(ON_FEATURES, CPU, channels=channels(vgg))
    before = parameters(adversary)
    learn(adversary, seen(vgg, 1, 0), seen(vgg, 0, 1))
    named = adversary.network.named_parameters()
    changed = {
        name.split(".")[1] for (name, value), old in zip(named, before, strict=True) if not torch.equal(value, old)
    }
    assert changed == {"0", "1", "2", "3"}


def test_the_scales_are_those_of_the_first_pictures(vgg: LPIPS) -> None:
    network = FeatureDiscriminator(channels(vgg), width=4)
    assert network.scales.tolist() == [0] * 4
    first = seen(vgg, 0.5, 2)
    network(first)
    scales = [float(each.square().mean().sqrt()) for each in first[:4]]
    assert network.scales.tolist() == pytest.approx(scales)
    network(seen(vgg, 1, 3))
    assert network.scales.tolist() == pytest.approx(scales)
    other = FeatureDiscriminator(channels(vgg), width=4)
    other.load_state_dict(network.state_dict())
    features = seen(vgg, 0, 4)
    assert torch.equal(other.eval()(features), network.eval()(features))
    assert other.scales.tolist() == pytest.approx(scales)


def test_several_processes_have_the_same_scales(vgg: LPIPS, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = seen(vgg, 1, 0), seen(vgg, 0, 1)
    alone, together = (FeatureDiscriminator(channels(vgg), width=4) for _ in range(2))
    alone([torch.cat(pair) for pair in zip(first, second, strict=True)])
    powers = [each.square().mean() for each in second[:4]]
    monkeypatch.setattr(discriminator_module, "process_count", lambda: 2)
    monkeypatch.setattr(discriminator_module, "sum_over_processes", lambda own: own + torch.stack(powers))
    together(first)
    torch.testing.assert_close(together.scales, alone.scales)


def test_pictures_that_are_not_finite_leave_no_scales(vgg: LPIPS) -> None:
    adversary = Adversary(ON_FEATURES, CPU, channels=channels(vgg))
    before = parameters(adversary)
    wrong = [torch.full_like(each, torch.nan) for each in seen(vgg, 1, 0)]
    learn(adversary, wrong, seen(vgg, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(adversary), strict=True))
    values = learn(adversary, seen(vgg, 1, 0), seen(vgg, 0, 1))
    assert all(torch.isfinite(value) for value in values.values())
    assert torch.isfinite(adversary.network.get_buffer("scales")).all()


def test_it_learns_to_tell_textures_apart(vgg: LPIPS) -> None:
    torch.manual_seed(2)
    adversary = Adversary(replace(ON_FEATURES, width=8, learning_rate=1e-2), CPU, channels=channels(vgg))
    losses = [
        float(learn(adversary, seen(vgg, 0.9, step), seen(vgg, 0.1, 1000 + step))["discriminator"])
        for step in range(25)
    ]
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert losses[-1] < 0.8
    adversary.network.eval()
    with torch.no_grad():
        real, made = (adversary.network(seen(vgg, fineness, 2000)).mean(dim=(1, 2, 3)) for fineness in (0.9, 0.1))
    assert float(real.min()) > float(made.max())
    levels, pictures = torch.tensor([1, 1]), texture(0.1, 3000, count=2).requires_grad_()
    loss = adversary.adversarial_loss(vgg.describe(pictures / 2 + 0.5), levels)
    (gradient,) = torch.autograd.grad(loss, pictures)
    assert adversary.adversarial_loss(vgg.describe((pictures - 10 * gradient) / 2 + 0.5), levels) < loss


def test_the_state_on_features_is_carried_over(vgg: LPIPS) -> None:
    first, second = (Adversary(ON_FEATURES, CPU, channels=channels(vgg)) for _ in range(2))
    real, made = seen(vgg, 1, 0, count=2), seen(vgg, 0, 1, count=2)
    learn(first, real, made)
    second.load(first.state())
    assert learn(first, real, made) == learn(second, real, made)
