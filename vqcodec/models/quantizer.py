"""Vector quantisation: codebooks of unit code vectors, and residual levels of them.

Sources: VQ-VAE (van den Oord et al., 2017) for the straight-through estimator and the EMA codebook (appendix A.1);
ViT-VQGAN (Yu et al., 2022, §3.2) for l2-normalised codes in few dimensions; SoundStream (Zeghidour et al., 2021,
§III-C) for residual levels, quantizer dropout and the k-means start; DAC (Kumar et al., 2023, §3.2) for a projection
of each level.

Shapes: B batch, h w rows and columns of the token grid, C latent channels, D code dimension, K codes, N vectors,
L levels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Rows of the similarity matrix that are held at a time: 2**22 float32 are 16 MiB, about what stays in the cache.
_SIMILARITY_ELEMENTS = 2**22


def nearest_codes(vectors: Tensor, code_vectors: Tensor) -> Tensor:
    """Index (N,) int64 of the code vector (K, D) with the largest inner product with each of `vectors` (N, D).

    For unit vectors that is the nearest code. The N x K matrix is never held whole. Ties go to the lowest index.
    """
    rows = max(1, _SIMILARITY_ELEMENTS // code_vectors.shape[0])
    transposed = code_vectors.t()
    return torch.cat([(chunk @ transposed).argmax(dim=1) for chunk in vectors.split(rows)])


@dataclass(frozen=True)
class QuantizeResult:
    """What quantising a latent gives.

    quantized: (B, C, h, w), the sum of the levels in use. indices: one (B, h, w) int64 tensor a level, coarse to fine.
    codebook_loss and commitment_loss: scalars of equal value, the mean squared distance between the latents and their
    quantised selves, as a share of what level 1 spans at the start. The gradient of the former moves the way back from
    codes (the codes themselves learn by moving averages), that of the latter the Encoder: it keeps the latents, whose
    scale nothing else holds, within the reach of the levels.
    """

    quantized: Tensor
    indices: tuple[Tensor, ...]
    codebook_loss: Tensor
    commitment_loss: Tensor


class CodebookStatistics(NamedTuple):
    """usage: share of codes chosen lately, 0..1. perplexity: exp of the entropy of the choices, 1..K."""

    usage: float
    perplexity: float


class Codebook(nn.Module):
    """K unit code vectors of dimension D, learned by moving averages; always float32.

    The averages exist only after `begin_learning`: a codebook that is only looked up carries none.
    """

    code_vectors: Tensor
    average_counts: Tensor
    average_sums: Tensor

    def __init__(self, codes: int, code_dimension: int, *, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("code_vectors", F.normalize(torch.randn(codes, code_dimension), dim=1))
        self.register_buffer("average_counts", None)
        self.register_buffer("average_sums", None)

    def begin_learning(self) -> None:
        """Start the moving averages at the present code vectors, each counted once."""
        self.average_counts = torch.ones_like(self.code_vectors[:, 0])
        self.average_sums = self.code_vectors.clone()

    def look_up(self, indices: Tensor) -> Tensor:
        """Code vectors (..., D) of `indices` (...)."""
        return F.embedding(indices, self.code_vectors)

    @torch.no_grad()
    def update(self, vectors: Tensor, indices: Tensor) -> None:
        """Move the codes towards the means of the unit `vectors` (N, D) that chose them: `indices` (N,).

        Vectors that are not finite move nothing: the trainer skips such a step.
        """
        counts = torch.zeros_like(self.average_counts).index_add_(0, indices, torch.ones_like(vectors[:, 0]))
        sums = torch.zeros_like(self.average_sums).index_add_(0, indices, vectors)
        if not torch.isfinite(sums).all():
            return
        self.average_counts.lerp_(counts, 1 - self.decay)
        self.average_sums.lerp_(sums, 1 - self.decay)
        self.code_vectors.copy_(F.normalize(self.average_sums, dim=1, eps=1e-12))

    @torch.no_grad()
    def revive_dead_codes(self, vectors: Tensor, generator: torch.Generator, *, share: float = 0.05) -> int:
        """Put codes chosen less than `share` as often as the average onto random `vectors` (N, D); returns how many."""
        mean_count = self.average_counts.mean()
        dead = (self.average_counts < share * mean_count).nonzero().flatten()
        if len(dead):
            chosen = vectors[torch.randint(len(vectors), (len(dead),), generator=generator).to(vectors.device)]
            self._restart(dead, chosen, mean_count)
        return len(dead)

    @torch.no_grad()
    def start_from(self, vectors: Tensor, generator: torch.Generator, *, iterations: int = 12) -> None:
        """Spherical k-means on unit `vectors` (N, D), N >= K. Raises ValueError when there are fewer."""
        codes = len(self.code_vectors)
        if len(vectors) < codes:
            raise ValueError(f"k-means for {codes} codes needs at least as many vectors, got {len(vectors)}")
        everything = torch.arange(codes, device=vectors.device)
        first = vectors[torch.randperm(len(vectors), generator=generator)[:codes].to(vectors.device)]
        share = torch.tensor(len(vectors) / codes, device=vectors.device)
        self._restart(everything, first, share)
        decay, self.decay = self.decay, 0.0
        for _ in range(iterations):
            self.update(vectors, nearest_codes(vectors, self.code_vectors))
            self.revive_dead_codes(vectors, generator, share=0.01)
        self.decay = decay
        self.begin_learning()

    def _restart(self, codes: Tensor, vectors: Tensor, count: Tensor) -> None:
        self.code_vectors[codes] = vectors
        self.average_sums[codes] = vectors * count
        self.average_counts[codes] = count

    def statistics(self) -> CodebookStatistics:
        """Usage and perplexity by the moving averages."""
        counts = self.average_counts
        pmf = counts / counts.sum()
        entropy = -(pmf * pmf.clamp_min(1e-12).log()).sum()
        return CodebookStatistics(float((counts > 0.05 * counts.mean()).float().mean()), float(entropy.exp()))


class VectorQuantizer(nn.Module):
    """One level: project to D - 1 dimensions, lift onto the unit sphere in D, take the nearest code, project back.

    Lifting: subtract a mean and divide by a standard deviation (both fixed when training starts), append a constant,
    scale to unit length. The constant keeps what scaling alone would lose, the distance from the mean: a dark and a
    bright flat area differ in just that. (With moving averages in their place the latents grew without bound.)
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, latent_channels: int, codes: int, code_dimension: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(latent_channels, code_dimension - 1, bias=False)
        self.register_buffer("mean", torch.zeros(code_dimension - 1))
        self.register_buffer("variance", torch.ones(()))
        self.project_out = nn.Linear(code_dimension, latent_channels)
        self.codebook = Codebook(codes, code_dimension)

    @property
    def lift(self) -> float:
        """The constant that is appended: twice the length that the rest has on average."""
        return 2.0 * self.project_in.out_features**0.5

    def unit_vectors(self, latent: Tensor) -> Tensor:
        """(N, C) -> (N, D) of length 1."""
        standardised = (self.project_in(latent) - self.mean) * self.variance.rsqrt()
        constant = standardised.new_full((len(latent), 1), self.lift)
        return F.normalize(torch.cat([standardised, constant], dim=1), dim=1)

    @torch.no_grad()
    def start_from(self, latents: Tensor, generator: torch.Generator) -> None:
        """Start at the principal directions of `latents` (N, C) and at k-means codes; N >= K."""
        mean = latents.mean(dim=0)
        covariance = (latents - mean).T.double() @ (latents - mean).double() / len(latents)
        directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, : self.project_in.out_features].float()
        self.project_in.weight.copy_(directions.T)
        projected = self.project_in(latents)
        self.mean.copy_(projected.mean(dim=0))
        self.variance.copy_(projected.var(dim=0).mean())
        vectors = self.unit_vectors(latents)
        self.codebook.start_from(vectors, generator)
        codes = self.codebook.look_up(nearest_codes(vectors, self.codebook.code_vectors))
        # the linear map from codes to latents with the least squared error
        with_bias = torch.cat([codes, torch.ones_like(codes[:, :1])], dim=1)
        solution = torch.linalg.lstsq(with_bias.double(), latents.double(), driver="gelsd").solution.float()
        self.project_out.weight.copy_(solution[:-1].T)
        self.project_out.bias.copy_(solution[-1])

    def choose(self, latent: Tensor) -> Tensor:
        """Tokens (N,) of a latent (N, C)."""
        return nearest_codes(self.unit_vectors(latent), self.codebook.code_vectors)

    def reconstruct(self, indices: Tensor) -> Tensor:
        """Latent (N, C) of tokens (N,)."""
        return self.project_out(self.codebook.look_up(indices))


class ResidualQuantizer(nn.Module):
    """L levels, each quantising what the levels before it have left."""

    def __init__(self, latent_channels: int, codebook_sizes: tuple[int, ...], code_dimension: int) -> None:
        super().__init__()
        quantizers = (VectorQuantizer(latent_channels, codes, code_dimension) for codes in codebook_sizes)
        self.levels = nn.ModuleList(quantizers)

    def each(self) -> list[VectorQuantizer]:
        """The levels, coarse to fine."""
        return list(cast("Iterable[VectorQuantizer]", self.levels))

    def begin_learning(self) -> None:
        """Prepare every codebook for training passes."""
        for level in self.each():
            level.codebook.begin_learning()

    def tokens(self, latent: Tensor, levels: int) -> list[Tensor]:
        """Latent (B, C, h, w) -> `levels` token tensors (B, h, w), coarse to fine."""
        batch, _, rows, cols = latent.shape
        residual = _as_vectors(latent)
        tokens = []
        for level in self.each()[:levels]:
            indices = level.choose(residual)
            residual = residual - level.reconstruct(indices)
            tokens.append(indices.view(batch, rows, cols))
        return tokens

    def latent(self, tokens: list[Tensor]) -> Tensor:
        """Token tensors (B, h, w) of the first levels -> latent (B, C, h, w)."""
        shape = tokens[0].shape
        total = sum(level.reconstruct(indices.flatten()) for level, indices in zip(self.each(), tokens, strict=False))
        assert isinstance(total, Tensor)
        return _as_grid(total, shape)

    def forward(self, latent: Tensor, levels: Tensor) -> QuantizeResult:
        """Training pass. latent (B, C, h, w); levels (B,): how many levels each picture uses (quantizer dropout).

        In training mode the codebooks move. Always in float32, inside torch.autocast too.
        """
        with torch.autocast(latent.device.type, enabled=False):
            return self._forward(latent, levels)

    def _forward(self, latent: Tensor, levels: Tensor) -> QuantizeResult:
        batch, _, rows, cols = latent.shape
        wanted = _as_vectors(latent.float())
        residual, passed, reconstructed = wanted, torch.zeros_like(wanted), torch.zeros_like(wanted)
        indices = []
        for number, level in enumerate(self.each()):
            in_use = (levels > number).repeat_interleave(rows * cols)
            vectors = level.unit_vectors(residual)
            chosen = nearest_codes(vectors.detach(), level.codebook.code_vectors)
            codes = level.codebook.look_up(chosen)
            indices.append(chosen.view(batch, rows, cols))
            if self.training:
                level.codebook.update(vectors.detach()[in_use], chosen[in_use])
            output = level.project_out(vectors + (codes - vectors).detach())
            residual = residual - output
            passed = passed + output * in_use[:, None]
            reconstructed = reconstructed + level.project_out(codes) * in_use[:, None]
        first = self.each()[0]
        span = len(wanted) * first.variance * first.project_in.out_features
        return QuantizeResult(
            quantized=_as_grid(passed, (batch, rows, cols)),
            indices=tuple(indices),
            codebook_loss=(wanted.detach() - reconstructed).square().sum() / span,
            commitment_loss=(wanted - reconstructed.detach()).square().sum() / span,
        )

    @torch.no_grad()
    def start_levels(self, latents: Tensor, generator: torch.Generator) -> None:
        """Start every level, one after the other, from latents (N, C): directions, codes, and the way back."""
        residual = latents
        for level in self.each():
            level.start_from(residual, generator)
            residual = residual - level.reconstruct(level.choose(residual))

    @torch.no_grad()
    def revive_dead_codes(self, latents: Tensor, generator: torch.Generator) -> int:
        """Revive dead codes of every level from the latents (N, C) of a batch; returns how many in all."""
        residual, revived = latents, 0
        for level in self.each():
            revived += level.codebook.revive_dead_codes(level.unit_vectors(residual), generator)
            residual = residual - level.reconstruct(level.choose(residual))
        return revived


def _as_vectors(latent: Tensor) -> Tensor:
    return latent.permute(0, 2, 3, 1).reshape(-1, latent.shape[1])


def _as_grid(vectors: Tensor, shape: tuple[int, ...]) -> Tensor:
    batch, rows, cols = shape
    return vectors.view(batch, rows, cols, -1).permute(0, 3, 1, 2)
