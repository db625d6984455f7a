"""How long a gradient may be."""

from __future__ import annotations

import pytest
import torch

from vqcodec.training.stage1.clipping import GradientClip


def clipped(clip: GradientClip, *norms: float) -> list[float]:
    """What norms become, one after the other."""
    lengths = []
    for norm in norms:
        parameter = torch.nn.Parameter(torch.zeros(4))
        parameter.grad = torch.full((4,), norm / 2)
        assert float(clip([parameter])) == pytest.approx(norm, nan_ok=True)
        lengths.append(float(parameter.grad.norm()))
    return lengths


def test_a_fixed_limit() -> None:
    clip = GradientClip(2.0, 0.0)
    assert clipped(clip, *[1.0, 5.0] * 20) == pytest.approx([1.0, 2.0] * 20, rel=1e-4)


def test_a_quantile_follows_the_norms() -> None:
    clip = GradientClip(1e9, 0.5)
    assert clipped(clip, *map(float, range(1, 20)), 400.0) == pytest.approx([*range(1, 20), 400.0])
    assert clip.limit == 10.5
    assert clipped(clip, 300.0, 4.0) == pytest.approx([10.5, 4.0], rel=1e-4)


def test_what_is_not_finite_leaves_no_trace() -> None:
    clip, other = GradientClip(1e9, 0.9), GradientClip(1e9, 0.9)
    clipped(clip, *[3.0] * 30, float("nan"), float("inf"))
    assert clip.limit == 3.0
    other.load(clip.state())
    assert other.limit == 3.0
