"""How vectors and codes lie for a GPU's matrix units, which multiply 16 dimensions of bfloat16 at a time.

Shapes: K codes, D dimensions, L levels; K' and D' are K and D rounded up to whole tiles, W is the width of the layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.kernels.code_scores import Margin, ScoredCodes
from vqcodec.kernels.contract import Metric, code_squares

#: K is padded to a multiple of it
LARGEST_TILE: Final = 256
#: the offset of what is no code, or none to be chosen: below all scores, and finite, as it meets zeros
NO_CODE: Final = -(2.0**126)
#: numbers that are added up for each dimension: three products, counted twice, as matrix units cut sums off, and twice
#: again, as scores are lifted by as much as they can be large
_SUMMANDS: Final = 12
#: what products of split factors lack, relative: 2^-18 for what is beyond the second part of either factor, and 2^-18
#: for the product of both second parts; and 2^-18 more for each where they are cut off instead of rounded
_FACTOR_ERROR, _CUT_FACTOR_ERROR = 3 * 2.0**-18, 7 * 2.0**-18

#: dimensions in one matrix product, at most: more are added up product by product
_LARGEST_SLICE: Final = 64
#: up to this width both parts of the factors, and the offsets, stand side by side in one matrix product
_LARGEST_PACKED: Final = 32


@dataclass(frozen=True)
class Layout:
    """slice_width: of one product. slices: so many of them hold a vector. packed: the parts stand side by side."""

    slice_width: int
    slices: int
    packed: bool

    @classmethod
    def of(cls, dimension: int) -> Layout:
        """Of vectors of so many dimensions."""
        side_by_side = 3 * dimension + 4
        packed = side_by_side <= _LARGEST_PACKED
        least = side_by_side if packed else dimension
        width = min(_LARGEST_SLICE, max(16, 1 << (least - 1).bit_length()))
        return cls(width, -(-least // width), packed)

    @property
    def width(self) -> int:
        """Numbers that a code takes in all slices together."""
        return self.slice_width * self.slices

    def multiplications(self, *, split: bool) -> int:
        """For one score, on matrix units. split: whether z has a second part, which bfloat16 has not."""
        if self.packed:
            return self.width
        return self.width * (3 if split else 2)


def margin_of(dimension: int, *, cut_off: bool = False) -> Margin:
    """Of scores by split factors. cut_off: as Triton's interpreter makes the parts of z."""
    return Margin.of(_SUMMANDS * dimension, _CUT_FACTOR_ERROR if cut_off else _FACTOR_ERROR)


@dataclass(frozen=True)
class CodeStack:
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
    def of(cls, codebooks: Sequence[Tensor], metric: Metric, layout: Layout) -> CodeStack:
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
