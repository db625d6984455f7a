"""The nearest codes by one fused Triton kernel: what it is given, and how it is started. The kernel is in fused_kernel.

Shapes: N vectors, K codes, D dimensions, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from vqcodec.kernels.contract import Metric, metric_of
from vqcodec.kernels.dispatch import interpreted
from vqcodec.kernels.fused_kernel import find_codes
from vqcodec.kernels.layout import CodeStack, Layout, margin_of


def fused_nearest(z: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """As `vqcodec.kernels.nearest_codes`."""
    return _run(z, [codebook], metric_of(metric)).indices[0]


def fused_assign(
    z: Tensor, codebook: Tensor, metric: str, in_use: Tensor | None
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As `vqcodec.kernels.assign_codes`."""
    codes, dimension = codebook.shape
    learned = _Learned(
        vectors=torch.empty(z.shape, device=z.device),
        errors=torch.empty(len(z), device=z.device),
        counts=torch.zeros(codes, device=z.device),
        sums=torch.zeros(codes, dimension, device=z.device),
        in_use=in_use,
    )
    indices = _run(z, [codebook], metric_of(metric), learned=learned).indices[0]
    return indices, learned.vectors, learned.errors, learned.counts, learned.sums


def fused_residual(z: Tensor, codebooks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """As `vqcodec.kernels.residual_codes`."""
    found = _run(z, codebooks, "l2", residual=True)
    return found.indices, found.remaining


@dataclass(frozen=True)
class _Learned:
    """What training needs of a pass: as `vqcodec.kernels.Assignment`."""

    vectors: Tensor
    errors: Tensor
    counts: Tensor
    sums: Tensor
    in_use: Tensor | None


@dataclass(frozen=True)
class _Found:
    """indices: (L, N). remaining: (N, D) float32, only of a residual pass."""

    indices: Tensor
    remaining: Tensor


def _run(
    z: Tensor, codebooks: Sequence[Tensor], metric: Metric, *, learned: _Learned | None = None, residual: bool = False
) -> _Found:
    count, dimension = z.shape
    layout = Layout.of(dimension)
    indices = torch.empty(len(codebooks), count, dtype=torch.int64, device=z.device)
    remaining = torch.empty(z.shape if residual else (0, dimension), device=z.device)
    if not count:
        return _Found(indices, remaining)
    stack = CodeStack.of(codebooks, metric, layout)
    margin = margin_of(dimension, cut_off=interpreted())
    in_use = None if learned is None else learned.in_use
    nothing = remaining  # stands for what this kind of pass does not touch
    with torch.cuda.device_of(z):
        find_codes[lambda meta: (triton.cdiv(count, meta["ROWS"]),)](
            z,
            *z.stride(),
            stack.codes,
            stack.squares,
            stack.high,
            stack.low,
            stack.offsets,
            stack.radius,
            stack.sizes,
            indices,
            remaining,
            nothing if learned is None else learned.vectors,
            nothing if learned is None else learned.errors,
            nothing if learned is None else learned.counts,
            nothing if learned is None else learned.sums,
            nothing if in_use is None else in_use.contiguous().view(torch.uint8),
            count,
            stack.codes.shape[1],
            stack.high.shape[1],
            margin.relative,
            margin.squared,
            margin.tiny,
            DIMENSION=dimension,
            SLICE=layout.slice_width,
            SLICES=layout.slices,
            LEVELS=len(codebooks),
            PACKED=layout.packed,
            COSINE=metric == "cosine",
            SPLIT=z.dtype != torch.bfloat16 or residual,
            RESIDUAL=residual,
            LEARN=learned is not None,
            MASKED=in_use is not None,
            size_class=stack.high.shape[1].bit_length(),
        )
    return _Found(indices, remaining)
