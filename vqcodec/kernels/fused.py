"""The nearest codes by one fused Triton kernel: what it is given, and how it is started. The kernel is in fused_kernel.

Shapes: N vectors, K codes, D dimensions, L levels; K' and D' are K and D rounded up to whole tiles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from vqcodec.kernels.contract import Metric, code_squares
from vqcodec.kernels.dispatch import interpreted
from vqcodec.kernels.fused_kernel import LARGEST_TILE, NO_CODE, find_codes
from vqcodec.kernels.layout import Layout
from vqcodec.kernels.scores import Margin, ScoredCodes

#: numbers that are added up for each dimension: three products, counted twice, as matrix units cut sums off, and twice
#: again, as scores are lifted by as much as they can be large
_SUMMANDS = 12
#: what products of split factors lack, relative: 2^-18 for what is beyond the second part of either factor, and 2^-18
#: for the product of both second parts. (The interpreter cuts the parts of z off instead of rounding them.)
_FACTOR_ERROR = (7 if interpreted() else 3) * 2.0**-18


def fused_nearest(z: Tensor, codebook: Tensor, metric: str) -> Tensor:
    """As `vqcodec.kernels.nearest_codes`."""
    return _run(z, [codebook], _metric(metric)).indices[0]


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
    indices = _run(z, [codebook], _metric(metric), learned=learned).indices[0]
    return indices, learned.vectors, learned.errors, learned.counts, learned.sums


def fused_residual(z: Tensor, codebooks: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """As `vqcodec.kernels.residual_codes`."""
    found = _run(z, codebooks, "l2", residual=True)
    return found.indices, found.remaining


def _metric(name: str) -> Metric:
    return "cosine" if name == "cosine" else "l2"


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


@dataclass(frozen=True)
class _Stack:
    """Codebooks of L levels, one after the other in memory, padded with codes that are never the best.

    codes: (L, K, D) float32 as given. squares: (L, K) float64, of the codes, for "cosine". high, low: (L, K', D')
    bfloat16, of which the sum is nearly the scored vectors. offsets: (L, K') float32. Where the layout is packed, all
    of these stand side by side in `high`, (L, K', W): high twice, low, the three parts of the offsets, and a one.
    radius: (L,) float32. sizes: (L,) int32, K of each.
    """

    codes: Tensor
    squares: Tensor
    high: Tensor
    low: Tensor
    offsets: Tensor
    radius: Tensor
    sizes: Tensor

    @classmethod
    def of(cls, codebooks: Sequence[Tensor], metric: Metric, layout: Layout) -> _Stack:
        largest = max(map(len, codebooks))
        given = [F.pad(codebook.float(), (0, 0, 0, largest - len(codebook))) for codebook in codebooks]
        scored = [ScoredCodes.of(codebook, metric) for codebook in codebooks]
        dimension = given[0].shape[1]
        wide, tall = 0 if layout.packed else layout.width - dimension, largest + (-largest % LARGEST_TILE)
        vectors = torch.stack([F.pad(each.vectors, (0, wide, 0, tall - len(each.vectors))) for each in scored])
        padded = [F.pad(each.offsets, (0, tall - len(each.offsets)), value=NO_CODE) for each in scored]
        offsets = torch.stack(padded).clamp_min(NO_CODE)
        high, low = _parts(vectors, 2)
        if layout.packed:
            ones = torch.ones_like(offsets, dtype=torch.bfloat16)
            high = torch.cat([high, high, low, torch.stack([*_parts(offsets, 3), ones], dim=2)], dim=2)
            high = F.pad(high, (0, layout.width - high.shape[2]))
        squares = [code_squares(each.double()) if metric == "cosine" else each.new_zeros(1) for each in given]
        return cls(
            codes=torch.stack(given),
            squares=torch.stack(squares).double(),
            high=high,
            low=low,
            offsets=offsets,
            radius=torch.stack([each.radius for each in scored]),
            sizes=torch.tensor([len(codebook) for codebook in codebooks], dtype=torch.int32).to(vectors.device),
        )


def _parts(x: Tensor, count: int) -> list[Tensor]:
    """bfloat16, of which the sum is nearly x: each of what those before leave."""
    parts: list[Tensor] = []
    for _ in range(count):
        parts.append(x.bfloat16())
        x = x - parts[-1].float()
    return parts


def _run(
    z: Tensor, codebooks: Sequence[Tensor], metric: Metric, *, learned: _Learned | None = None, residual: bool = False
) -> _Found:
    count, dimension = z.shape
    layout = Layout.of(dimension)
    indices = torch.empty(len(codebooks), count, dtype=torch.int64, device=z.device)
    remaining = torch.empty(z.shape if residual else (0, dimension), device=z.device)
    if not count:
        return _Found(indices, remaining)
    stack = _Stack.of(codebooks, metric, layout)
    margin = Margin.of(_SUMMANDS * dimension, _FACTOR_ERROR)
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
