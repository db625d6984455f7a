"""The discriminators and their losses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqcodec.perceptual.networks import LPIPS, PerceptualWeightsError
from vqcodec.training.stage1 import discriminator as discriminator_module
from vqcodec.training.stage1.discriminator import (
    MAXIMUM_ADAPTIVE_WEIGHT,
    Adversary,
    AdversaryConfig,
    FeatureDiscriminator,
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


# ---- on the features of VGG16 ----

CPU = torch.device("cpu")
ON_FEATURES = AdversaryConfig(kind="features", width=4, windows=2, learning_rate=2e-3)


@pytest.fixture
def small_weights(perceptual_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A VGG16 with few channels."""
    described = LPIPS(perceptual_weights, "vgg").describe(torch.zeros(1, 3, 16, 16))
    monkeypatch.setattr(discriminator_module, "_VGG16_CHANNELS", tuple(each.shape[1] for each in described[:4]))
    return perceptual_weights


def texture(fineness: float, seed: int, count: int = 3, side: int = 64) -> Tensor:
    """(count, 3, side, side) noise; fineness: from 0, smooth over 4 pixels, to 1, white."""
    noise = torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.avg_pool2d(noise, 5, stride=1, padding=2) * 5
    return 0.4 * (fineness * noise + (1 - fineness) * smooth)


def parameters(adversary: Adversary) -> list[Tensor]:
    return [value.detach().clone() for value in adversary.network.parameters()]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48), (16, 16)])
def test_four_heads_with_a_logit_every_two_pixels(small_weights: Path, height: int, width: int) -> None:
    network = FeatureDiscriminator(small_weights, width=4)
    assert network(torch.rand(2, 3, height, width) * 2 - 1).shape == (2, 4, height // 2, width // 2)


def test_each_head_weighs_the_same_in_the_mean(small_weights: Path) -> None:
    torch.manual_seed(0)
    network = FeatureDiscriminator(small_weights, width=4).eval().requires_grad_(False)
    images = texture(0.5, 1)
    logits = network(images)
    features = network.trunk.describe(images / 2 + 0.5)
    own = [head(value / s) for head, value, s in zip(network.heads, features, network.scales, strict=False)]
    assert [tuple(each.shape[1:]) for each in own] == [(1, 32, 32), (1, 16, 16), (1, 8, 8), (1, 4, 4)]
    assert float(logits.mean()) == pytest.approx(sum(float(each.mean()) for each in own) / 4, abs=1e-6)
    for number, (each, repeat) in enumerate(zip(own, (1, 2, 4, 8), strict=True)):
        repeated = each.repeat_interleave(repeat, 2).repeat_interleave(repeat, 3)
        torch.testing.assert_close(logits[:, number, None], repeated)


def test_the_trunk_is_neither_trained_nor_stored(small_weights: Path) -> None:
    adversary = Adversary(ON_FEATURES, CPU, small_weights)
    network = adversary.network
    assert isinstance(network, FeatureDiscriminator)
    trained = {id(each) for group in adversary.optimizer.param_groups for each in group["params"]}
    named = {name: id(each) for name, each in network.named_parameters()}
    assert trained == set(named.values())
    assert all(name.startswith("heads.") for name in named)
    assert {name.split(".")[0] for name in network.state_dict()} == {"heads", "scales"}
    trunk = {name: value.clone() for name, value in network.trunk.named_buffers()}
    assert len(trunk) > 2 * 13
    before = parameters(adversary)
    learn(adversary, texture(1, 0), texture(0, 1))
    assert all(torch.equal(value, trunk[name]) for name, value in network.trunk.named_buffers())
    changed = {
        name.split(".")[1]
        for (name, value), old in zip(network.named_parameters(), before, strict=True)
        if not torch.equal(value, old)
    }
    assert changed == {"0", "1", "2", "3"}


def test_the_scales_are_those_of_the_first_pictures(small_weights: Path) -> None:
    network = FeatureDiscriminator(small_weights, width=4)
    assert network.scales.tolist() == [0] * 4
    first = texture(0.5, 2)
    network(first)
    features = network.trunk.describe(first / 2 + 0.5)[:4]
    scales = [float(each.square().mean().sqrt()) for each in features]
    assert network.scales.tolist() == pytest.approx(scales)
    network(texture(1, 3))
    assert network.scales.tolist() == pytest.approx(scales)
    other = FeatureDiscriminator(small_weights, width=4)
    other.load_state_dict(network.state_dict())
    images = texture(0, 4)
    assert torch.equal(other.eval()(images), network.eval()(images))
    assert other.scales.tolist() == pytest.approx(scales)


def test_several_processes_have_the_same_scales(small_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = texture(1, 0), texture(0, 1)
    alone, together = (FeatureDiscriminator(small_weights, width=4) for _ in range(2))
    alone(torch.cat([first, second]))
    powers = [each.square().mean() for each in together.trunk.describe(second / 2 + 0.5)[:4]]
    monkeypatch.setattr(discriminator_module, "process_count", lambda: 2)
    monkeypatch.setattr(discriminator_module, "sum_over_processes", lambda own: own + torch.stack(powers))
    together(first)
    torch.testing.assert_close(together.scales, alone.scales)


def test_pictures_that_are_not_finite_leave_no_scales(small_weights: Path) -> None:
    adversary = Adversary(ON_FEATURES, CPU, small_weights)
    before = parameters(adversary)
    learn(adversary, torch.full((2, 3, 32, 32), torch.nan), torch.zeros(2, 3, 32, 32))
    assert all(torch.equal(a, b) for a, b in zip(before, parameters(adversary), strict=True))
    values = learn(adversary, texture(1, 0), texture(0, 1))
    assert all(torch.isfinite(value) for value in values.values())
    assert torch.isfinite(adversary.network.get_buffer("scales")).all()


def test_it_learns_to_tell_textures_apart(small_weights: Path) -> None:
    torch.manual_seed(2)
    adversary = Adversary(replace(ON_FEATURES, width=8, learning_rate=1e-2), CPU, small_weights)
    losses = [
        float(learn(adversary, texture(0.9, step), texture(0.1, 1000 + step))["discriminator"]) for step in range(25)
    ]
    assert losses[0] == pytest.approx(1, abs=0.1)
    assert losses[-1] < 0.8
    with torch.no_grad():
        real, made = (adversary.network(texture(fineness, 2000)).mean(dim=(1, 2, 3)) for fineness in (0.9, 0.1))
    assert float(real.min()) > float(made.max())
    pictures = texture(0.1, 3000, count=2)
    loss, gradient = adversary.gradient(pictures)
    assert gradient.shape == pictures.shape
    adversary.network.eval()
    assert adversarial_loss(adversary.network(pictures - 10 * gradient)).detach() < loss


def test_it_looks_at_the_same_windows_of_both(small_weights: Path) -> None:
    adversary = Adversary(ON_FEATURES, CPU, small_weights)
    real = torch.arange(3 * 3 * 80 * 96).float().view(3, 3, 80, 96)
    looked_at = adversary._part(real, -real)
    assert [part.shape for part in looked_at] == [(2, 3, 64, 64)] * 2
    assert torch.equal(looked_at[0], -looked_at[1])
    patch = Adversary(AdversaryConfig(width=2), CPU)
    assert patch._part(real)[0] is real


def test_the_state_on_features_is_carried_over(small_weights: Path) -> None:
    first, second = (Adversary(ON_FEATURES, CPU, small_weights) for _ in range(2))
    real, made = texture(1, 0, count=2), texture(0, 1, count=2)
    learn(first, real, made)
    second.load(first.state())
    results = []
    for adversary in (first, second):
        torch.manual_seed(5)  # the windows
        results.append(learn(adversary, real, made))
    assert results[0] == results[1]


def test_features_need_the_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a discriminator on features needs --perceptual-weights"):
        Adversary(ON_FEATURES, CPU)
    with pytest.raises(PerceptualWeightsError, match=r"vgg16_conv_fp16\.safetensors: no such file"):
        Adversary(ON_FEATURES, CPU, tmp_path)
