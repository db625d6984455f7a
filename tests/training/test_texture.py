"""The loss on texture: places do not count, kinds do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vqcodec.perceptual import LPIPS
from vqcodec.training.texture import _statistics, texture_distance


@pytest.fixture(params=["alex", "vgg"])
def network(request: pytest.FixtureRequest, perceptual_weights: Path) -> LPIPS:
    return LPIPS(perceptual_weights, request.param)


def noise(seed: int, strength: float = 0.2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (0.5 + strength * torch.randn(2, 3, 96, 96, generator=generator)).clamp(0, 1)


def distance(network: LPIPS, x: Tensor, y: Tensor) -> float:
    return float(texture_distance(network, network.describe(x), network.describe(y), x.shape[2]))


def test_another_sample_of_a_texture_is_near_and_a_blur_is_far(network: LPIPS) -> None:
    """LPIPS holds the blur for the better of the two."""
    texture, same_kind, blur = noise(1), noise(2), torch.full((2, 3, 96, 96), 0.5)
    assert distance(network, texture, texture) == 0
    assert 0 < distance(network, texture, same_kind) < 0.35 * distance(network, texture, blur)
    ratio = network(texture, same_kind).mean() / network(texture, blur).mean()
    assert float(ratio) > 0.5


def test_statistics_are_those_of_windows() -> None:
    features = torch.rand(2, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    mean, deviation = _statistics(features, 4)
    assert mean.shape == deviation.shape == (2, 5, 3, 5)
    unit = features / features.norm(dim=1, keepdim=True)
    window = unit[:, :, 2:6, 4:8]
    torch.testing.assert_close(mean[:, :, 1, 2], window.mean(dim=(2, 3)))
    expected = (window.var(dim=(2, 3), correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(deviation[:, :, 1, 2], expected)


def test_flat_pictures_have_finite_gradients(network: LPIPS) -> None:
    flat = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    wanted = network.describe(noise(1)[:1, :, :64, :64])
    texture_distance(network, network.describe(flat), wanted, 64).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()
