"""How LPIPS and DISTS compare two feature maps, with gradients written out.

Maps are taken as rows of channels, as channels_last has them in memory, and each step is one pass over them: autograd's
own chain of small operations takes longer than the convolutions of VGG16 where these run in bfloat16 on matrix units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: added to lengths of feature vectors, as LPIPS v0.1 does
_LENGTH_FLOOR = 1e-10


def unit_distance(a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
    """(B,) of two (B, C, H, W): weighted squared distance of vectors made as long as 1, mean over positions.

    weights: (C,). At least float32. Zhang et al., 2018, equation 1. Gradients can be taken once, by a and b; they are 0
    where a vector is.
    """
    result: Tensor = _UnitDistance.apply(*torch.broadcast_tensors(a, b), weights)  # type: ignore[no-untyped-call]
    return result


class Moments(NamedTuple):
    """Of each channel over all positions, (B, C), at least float32."""

    mean_a: Tensor
    mean_b: Tensor
    variance_a: Tensor
    variance_b: Tensor
    covariance: Tensor


def moments(a: Tensor, b: Tensor) -> Moments:
    """Of two (B, C, H, W), as DISTS compares them. Gradients can be taken once, by a and b."""
    return Moments(*_Moments.apply(*torch.broadcast_tensors(a, b)))  # type: ignore[no-untyped-call]


def _rows(features: Tensor) -> Tensor:
    """(B, H W, C) of (B, C, H, W): a view where the memory is channels_last."""
    return features.flatten(2).transpose(1, 2).contiguous()


def _wide(tensor: Tensor) -> torch.dtype:
    """What to sum in."""
    return torch.promote_types(tensor.dtype, torch.float32)


def _like(rows: Tensor, features: Tensor) -> Tensor:
    """Back again, as a channels_last tensor of that shape and type."""
    return rows.to(features.dtype).transpose(1, 2).unflatten(2, features.shape[2:])


class _UnitDistance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, weights: Tensor) -> Tensor:
        (unit_a, inverse_a), (unit_b, inverse_b) = (_unit_rows(_rows(each)) for each in (a, b))
        difference = unit_a - unit_b
        weighted = difference * weights.to(difference.dtype)
        ctx.save_for_backward(a, b, weighted, unit_a, unit_b, inverse_a, inverse_b)
        return _sums(difference.mul_(weighted)).sum(dim=(1, 2)) / a.shape[2:].numel()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, b, weighted, unit_a, unit_b, inverse_a, inverse_b = ctx.saved_tensors
        scale = 2 * gradients[0][:, None, None] / a.shape[2:].numel()
        by_a = _like(_by_rows(weighted, unit_a, scale * inverse_a), a) if ctx.needs_input_grad[0] else None
        by_b = _like(_by_rows(weighted, unit_b, -scale * inverse_b), b) if ctx.needs_input_grad[1] else None
        return by_a, by_b, None


def _sums(rows: Tensor) -> Tensor:
    """(B, H W, 1) of each row. A sum that is told its type converts all rows first, and takes ten times as long."""
    return rows.sum(dim=2, keepdim=True).to(_wide(rows))


def _unit_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows made as long as 1, and (B, H W, 1), the inverse of their lengths, 0 for rows of zeros."""
    lengths = _sums(rows.square()).sqrt_()
    inverse = torch.where(lengths > 0, 1 / (lengths + _LENGTH_FLOOR), 0)
    return rows * inverse.to(rows.dtype), inverse


def _by_rows(by_unit: Tensor, unit: Tensor, scale: Tensor) -> Tensor:
    """The gradient by rows from that by the unit rows: less what points along them, times `scale`."""
    along = _sums(by_unit * unit).to(unit.dtype)
    across = torch.addcmul(by_unit, unit, along, value=-1)
    return across.mul_(scale.to(across.dtype))


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> tuple[Tensor, ...]:
        rows_a, rows_b = _rows(a), _rows(b)
        mean_a, mean_b = (rows.mean(dim=1, dtype=_wide(rows)) for rows in (rows_a, rows_b))
        centred_a, centred_b = rows_a - mean_a[:, None], rows_b - mean_b[:, None]  # float32: bfloat16 is too coarse
        ctx.save_for_backward(a, b, centred_a, centred_b)
        products = (centred_a, centred_a), (centred_b, centred_b), (centred_a, centred_b)
        return mean_a, mean_b, *((first * second).mean(dim=1) for first, second in products)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        a, b, centred_a, centred_b = ctx.saved_tensors
        count = a.shape[2:].numel()
        by_mean_a, by_mean_b, by_variance_a, by_variance_b, by_covariance = (
            each[:, None] / count for each in gradients
        )

        def by(centred: Tensor, other: Tensor, by_mean: Tensor, by_variance: Tensor) -> Tensor:
            return torch.addcmul(by_mean, centred, 2 * by_variance).addcmul_(other, by_covariance)

        by_a = _like(by(centred_a, centred_b, by_mean_a, by_variance_a), a) if ctx.needs_input_grad[0] else None
        by_b = _like(by(centred_b, centred_a, by_mean_b, by_variance_b), b) if ctx.needs_input_grad[1] else None
        return by_a, by_b
