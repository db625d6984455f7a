"""Codebooks: K code vectors of dimension D, the look-up of the nearest one, and four ways to learn them.

Sources: VQ-VAE (van den Oord et al., 2017): codes that follow the gradient of the codebook loss, and (appendix A.1)
codes that follow moving averages; SimVQ (Zhu et al., 2024): a fixed basis behind one learned linear map, so that every
code moves whenever one does.

Shapes: D code dimension, K codes, N vectors.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.compute.distributed import broadcast, sum_over_processes
from vqcodec.kernels import Assignment, assign_codes, nearest_codes

#: a code that is chosen less than this share as often as the average code is dead
DEAD_SHARE = 0.05
#: vectors whose products with all codes are held at a time
_PRODUCT_ROWS = 1024


class CodebookStatistics(NamedTuple):
    """usage: share of codes chosen lately, 0..1. perplexity: exp of the entropy of the choices, 1..K. dead: codes."""

    usage: float
    perplexity: float
    dead: int


class Codebook(nn.Module):
    """What all codebooks share: the look-up, the counts of choices, the revival of dead codes; always float32.

    `unit`: the code vectors have length 1, and so have the vectors that are looked up. The counts exist only after
    `begin_learning`: a codebook that is only looked up carries none. This class alone is a fixed codebook.
    """

    code_vectors: Tensor
    average_counts: Tensor

    def __init__(self, codes: int, code_dimension: int, *, unit: bool = True, decay: float = 0.99) -> None:
        super().__init__()
        self.decay, self.unit = decay, unit
        self._hold(self._shaped(torch.randn(codes, code_dimension)))
        self.register_buffer("average_counts", None)

    def _hold(self, codes: Tensor) -> None:
        self.register_buffer("code_vectors", codes)

    def _shaped(self, vectors: Tensor) -> Tensor:
        return F.normalize(vectors, dim=1, eps=1e-12) if self.unit else vectors

    def codes(self) -> Tensor:
        """The code vectors (K, D) as they are looked up; differentiable where they are learned by gradients."""
        return self.code_vectors

    def begin_learning(self) -> None:
        """Start counting, each code chosen once."""
        self.average_counts = torch.ones_like(self.codes().detach()[:, 0])

    def look_up(self, indices: Tensor) -> Tensor:
        """Code vectors (..., D) of `indices` (...)."""
        return F.embedding(indices, self.codes())

    def nearest(self, vectors: Tensor) -> Tensor:
        """Index (N,) of the code nearest to each of `vectors` (N, D)."""
        return nearest_codes(vectors, self.codes().detach())

    def assign(self, vectors: Tensor, in_use: Tensor | None = None) -> Assignment:
        """The nearest codes to `vectors` (N, D), and what `update` needs of the ones `in_use` (N,) bool."""
        return assign_codes(vectors, self.codes().detach(), in_use=in_use)

    def largest_products(self, vectors: Tensor) -> Tensor:
        """Index (N,) of the code with the largest inner product with each of `vectors` (N, D), the first of equals."""
        codes = self.codes().detach().t()
        return torch.cat([(part @ codes).argmax(dim=1) for part in vectors.split(_PRODUCT_ROWS)])

    def distances(self, vectors: Tensor) -> Tensor:
        """Squared distances (N, K) of `vectors` (N, D) from the codes."""
        codes = self.codes().detach()
        products = vectors @ codes.t()
        lengths = vectors.square().sum(dim=1, keepdim=True) + codes.square().sum(dim=1)
        return (lengths - 2 * products).clamp_min(0)

    @torch.no_grad()
    def update(self, counts: Tensor, sums: Tensor) -> None:
        """Take note of how many vectors chose each code (K,) in this process, and of their sums (K, D).

        Sums that are not finite move nothing: the trainer skips such a step.
        """
        counts, sums = sum_over_processes(counts), sum_over_processes(sums)
        if torch.isfinite(sums).all():
            self.average_counts.lerp_(counts, 1 - self.decay)
            self._follow(sums)

    def _follow(self, sums: Tensor) -> None:
        """Move towards the sums (K, D) of the vectors that chose each code."""

    @torch.no_grad()
    def revive_dead_codes(self, vectors: Tensor, generator: torch.Generator, *, share: float = DEAD_SHARE) -> int:
        """Put codes chosen less than `share` as often as the average onto random `vectors` (N, D); returns how many.

        The vectors are those of the first process.
        """
        mean_count = self.average_counts.mean()
        dead = (self.average_counts < share * mean_count).nonzero().flatten()
        if len(dead):
            chosen = vectors[torch.randint(len(vectors), (len(dead),), generator=generator).to(vectors.device)]
            self._restart(dead, broadcast(chosen), mean_count)
        return len(dead)

    @torch.no_grad()
    def start_from(self, vectors: Tensor, generator: torch.Generator, *, iterations: int = 12) -> None:
        """k-means (spherical for unit vectors) on `vectors` (N, D), N >= K. Raises ValueError when there are fewer."""
        codes = len(self.codes())
        if len(vectors) < codes:
            raise ValueError(f"k-means for {codes} codes needs at least as many vectors, got {len(vectors)}")
        teacher = AverageCodebook(codes, vectors.shape[1], unit=self.unit, decay=0.0).to(vectors.device)
        teacher.begin_learning()
        first = vectors[torch.randperm(len(vectors), generator=generator)[:codes].to(vectors.device)]
        everything = torch.arange(codes, device=vectors.device)
        teacher._restart(everything, first, torch.tensor(len(vectors) / codes, device=vectors.device))
        for _ in range(iterations):
            assigned = teacher.assign(vectors)
            teacher.update(assigned.counts, assigned.sums)
            teacher.revive_dead_codes(vectors, generator, share=0.01)
        self._set(everything, teacher.code_vectors)
        self.begin_learning()

    def _restart(self, codes: Tensor, vectors: Tensor, count: Tensor) -> None:
        self._set(codes, vectors)
        self.average_counts[codes] = count

    def _set(self, codes: Tensor, vectors: Tensor) -> None:
        """Put the codes of these indices onto `vectors`."""
        self.code_vectors.data[codes] = vectors

    def statistics(self) -> CodebookStatistics:
        """By the moving averages of the choices."""
        counts = self.average_counts
        pmf = counts / counts.sum()
        entropy = -(pmf * pmf.clamp_min(1e-12).log()).sum()
        dead = int((counts <= DEAD_SHARE * counts.mean()).sum())
        return CodebookStatistics(1 - dead / len(counts), float(entropy.exp()), dead)


class AverageCodebook(Codebook):
    """Codes that are the moving averages of the vectors that chose them."""

    average_sums: Tensor

    def __init__(self, codes: int, code_dimension: int, *, unit: bool = True, decay: float = 0.99) -> None:
        super().__init__(codes, code_dimension, unit=unit, decay=decay)
        self.register_buffer("average_sums", None)

    def begin_learning(self) -> None:
        super().begin_learning()
        self.average_sums = self.code_vectors.clone()

    def _follow(self, sums: Tensor) -> None:
        self.average_sums.lerp_(sums, 1 - self.decay)
        means = self.average_sums / self.average_counts.clamp_min(1e-12)[:, None]
        self.code_vectors.copy_(self._shaped(means))

    def _restart(self, codes: Tensor, vectors: Tensor, count: Tensor) -> None:
        super()._restart(codes, vectors, count)
        self.average_sums[codes] = vectors * count


class GradientCodebook(Codebook):
    """Codes that are parameters, moved by the codebook loss. (Unit ones are scaled to length 1 when looked up.)"""

    def _hold(self, codes: Tensor) -> None:
        self.code_vectors = nn.Parameter(codes)

    def codes(self) -> Tensor:
        return self._shaped(self.code_vectors)


class SimCodebook(Codebook):
    """Fixed vectors behind a learned linear map, moved by the codebook loss."""

    def __init__(self, codes: int, code_dimension: int, *, unit: bool = True, decay: float = 0.99) -> None:
        super().__init__(codes, code_dimension, unit=unit, decay=decay)
        self.transform = nn.Linear(code_dimension, code_dimension, bias=False)
        nn.init.eye_(self.transform.weight)

    def codes(self) -> Tensor:
        return self._shaped(self.transform(self.code_vectors))

    def _set(self, codes: Tensor, vectors: Tensor) -> None:
        """Onto `vectors` as seen through the linear map: the basis gets their pre-images."""
        self.code_vectors[codes] = torch.linalg.lstsq(self.transform.weight, vectors.T).solution.T


CODEBOOKS: dict[str, type[Codebook]] = {
    "average": AverageCodebook,
    "gradient": GradientCodebook,
    "sim": SimCodebook,
}
