"""Scores that find the nearest code fast, and how far rounding can lead them astray.

The score of a code for a vector is larger the nearer it is: z c - c^2 / 2 ("l2"), or z c / |c| ("cosine"). Paths
compute it in float32 or less. Where the best score leads the second best by more than `Margin` gives, no rounding can
have changed their order: the index is that of the contract (`vqcodec.kernels.contract`). The other vectors, few, are
settled by the contract itself. Shapes: N vectors, K codes, D dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from vqcodec.kernels.contract import Metric

#: scores, and all sums on the way to them, are trusted below it
LARGEST_SCORE: Final = 2.0**120
#: what is added to lengths: no component whose square underflows is longer, of up to 2^26 of them
LEAST_LENGTH: Final = 2.0**-50


@dataclass(frozen=True)
class ScoredCodes:
    """A codebook made ready: score = z @ vectors + offsets.

    vectors: (K, D) float32. offsets: (K,) float32. radius: length of the longest, as `lengths_of` has it. With a code
    that is not finite there is no margin, and all vectors are settled.
    """

    vectors: Tensor
    offsets: Tensor
    radius: Tensor

    @classmethod
    def of(cls, codebook: Tensor, metric: Metric) -> ScoredCodes:
        """A codebook (K, D), made ready for scores of this metric."""
        vectors = codebook.float()
        if metric == "cosine":
            vectors = vectors / vectors.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
            lengths = vectors.square().sum(dim=1, keepdim=True).sqrt()
            vectors = torch.where(lengths == 0, 0.0, vectors / lengths)
        squares = vectors.square().sum(dim=1)
        offsets = torch.zeros_like(squares) if metric == "cosine" else -0.5 * squares
        return cls(vectors, offsets, squares.max().sqrt() + LEAST_LENGTH)


def lengths_of(vectors: Tensor) -> Tensor:
    """The lengths (N,) of vectors (N, D), and LEAST_LENGTH more, as squares can underflow."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=1)
    return lengths + LEAST_LENGTH


@dataclass(frozen=True)
class Margin:
    """By how much a score must lead, for vectors of length |z| and codes of length up to R: twice the largest error.

    With u = 2^-24, a sum of n products in float32, in any order, is wrong by at most n u / (1 - n u) times the sum of
    their sizes, which is |z| R + R^2 / 2 at most (Higham, Accuracy and Stability, §3.1). `relative` is twice that with
    room for the rounding of offsets and lengths, and more where products are of rounded factors; `squared` covers the
    contract's own rounding, which is relative to |z - c|^2; `tiny` is what underflow can lose.
    """

    relative: float
    squared: float
    tiny: float

    @classmethod
    def of(cls, dimension: int, factor_error: float = 0.0) -> Margin:
        """For products of factors that are wrong by up to `factor_error`, relative, in all."""
        return cls(
            relative=2 * ((2 * dimension + 16) * 2.0**-24 + 1.01 * factor_error),
            squared=2 * (dimension + 8) * 2.0**-52,
            tiny=2 * (dimension + 8) * 2.0**-118,
        )

    def at(self, lengths: Tensor, radius: Tensor) -> Tensor:
        """(N,) for vectors of these lengths (N,), as `lengths_of` has them."""
        largest = (lengths + radius) * radius
        errors = self.relative * largest + self.squared * lengths.square() + self.tiny * (1 + lengths + radius)
        return torch.where(largest < LARGEST_SCORE, errors, torch.inf)  # beyond it, sums may overflow on the way
