"""The distances with gradients written out, against their formulas and autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqcodec.perceptual.feature_distances import Moments, moments, unit_distance


def features(seed: int, dtype: torch.dtype = torch.float64, *, memory: torch.memory_format) -> Tensor:
    """As a ReLU gives them: half of them 0."""
    made = torch.randn(2, 5, 4, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).relu() + 0.01
    return made.to(dtype).contiguous(memory_format=memory).requires_grad_()


def unit_formula(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    units = [each / (each.square().sum(dim=1, keepdim=True).sqrt() + 1e-10) for each in (a, b)]
    return ((units[0] - units[1]).square() * weights[:, None, None]).sum(dim=1).mean(dim=(1, 2))


def moments_formula(a: Tensor, b: Tensor) -> Moments:
    means = a.mean(dim=(2, 3)), b.mean(dim=(2, 3))
    centred = [each - mean[:, :, None, None] for each, mean in zip((a, b), means, strict=True)]
    products = centred[0] ** 2, centred[1] ** 2, centred[0] * centred[1]
    return Moments(*means, *(each.mean(dim=(2, 3)) for each in products))


MEMORY = (torch.contiguous_format, torch.channels_last)


@pytest.mark.parametrize("memory", MEMORY)
def test_values_and_gradients_are_those_of_the_formula(memory: torch.memory_format) -> None:
    a, b = features(0, memory=memory), features(1, memory=memory)
    weights = torch.rand(5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    torch.testing.assert_close(unit_distance(a, b, weights), unit_formula(a, b, weights))
    for made, expected in zip(moments(a, b), moments_formula(a, b), strict=True):
        torch.testing.assert_close(made, expected)
    assert torch.autograd.gradcheck(lambda x, y: unit_distance(x, y, weights), (a, b))
    assert torch.autograd.gradcheck(lambda x, y: tuple(moments(x, y)), (a, b))


@pytest.mark.parametrize("memory", MEMORY)
def test_in_bfloat16_they_are_close(memory: torch.memory_format) -> None:
    a, b = (features(seed, torch.bfloat16, memory=memory) for seed in (0, 1))
    weights = torch.ones(5)
    result = unit_distance(a, b, weights)
    assert result.dtype == torch.float32
    wide_a, wide_b = (each.detach().double().requires_grad_() for each in (a, b))
    expected = unit_formula(wide_a, wide_b, weights.double())
    torch.testing.assert_close(result.double(), expected, rtol=0.02, atol=0)
    result.sum().backward()
    expected.sum().backward()
    assert a.grad is not None
    assert wide_a.grad is not None
    assert a.grad.dtype == torch.bfloat16
    torch.testing.assert_close(a.grad.double(), wide_a.grad, rtol=0.05, atol=0.02 * float(wide_a.grad.abs().max()))
    for made, moment in zip(moments(a, b), moments_formula(wide_a, wide_b), strict=True):
        torch.testing.assert_close(made.double(), moment)


def test_one_is_compared_with_many() -> None:
    one, many = features(0, memory=torch.channels_last)[:1], features(1, memory=torch.channels_last)
    weights = torch.ones(5, dtype=torch.float64)
    torch.testing.assert_close(unit_distance(many, one, weights), unit_formula(many, one, weights))
    torch.testing.assert_close(moments(many, one).covariance, moments_formula(many, one).covariance)


def test_equal_features_are_at_no_distance_and_zeros_have_no_gradient() -> None:
    a = features(0, torch.float32, memory=torch.channels_last)
    assert unit_distance(a, a.detach(), torch.ones(5)).tolist() == [0, 0]
    zeros = torch.zeros(1, 5, 2, 2, requires_grad=True)
    unit_distance(zeros, torch.ones(1, 5, 2, 2), torch.ones(5)).sum().backward()
    assert zeros.grad is not None
    assert not zeros.grad.any()
