"""Vector quantisation of latents: single levels of several kinds behind one interface, and residual levels of them.

Sources: VQ-VAE (van den Oord et al., 2017) for the straight-through estimator and the losses; ViT-VQGAN (Yu et al.,
2022, §3.2) for l2-normalised codes in few dimensions; the rotation trick (Fifty et al., 2024, §4); SoundStream
(Zeghidour et al., 2021, §III-C) for residual levels, quantizer dropout and the k-means start; DAC (Kumar et al., 2023,
§3.2) for a projection of each level; VQ-VAE-2 (Razavi et al., 2019) for levels of several resolutions.

Shapes: B batch, h w rows and columns of the token grid, C latent channels, D code dimension, K codes, N vectors,
L levels.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.codebooks import CODEBOOKS
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.gumbel import GumbelQuantizer
from vqcodec.models.level import Level, LevelOutput


@dataclass(frozen=True)
class QuantizeResult:
    """What quantising a latent gives.

    quantized: (B, C, h, w), the sum of the levels in use. indices: one (B, h / s, w / s) int64 tensor a level, coarse
    to fine, s its stride.
    codebook_loss, commitment_loss: scalars. The gradient of the former moves the codes and the way back from them, that
    of the latter the Encoder. For lifted codes both are the mean squared distance between the latents and their
    quantised selves, as a share of what level 1 spans at the start; for others the mean squared distance between the
    vectors that are looked up and their codes (VQ-VAE, equation 3), in the units of these vectors, of each level over
    the pictures that use it, averaged over the levels; those of two latents are summed.
    """

    quantized: Tensor
    indices: tuple[Tensor, ...]
    codebook_loss: Tensor
    commitment_loss: Tensor


class VectorQuantizer(Level):
    """Project to the codes' space, take the nearest code, project back.

    The space, `lookup`: "lifted" projects to D - 1 dimensions and lifts these onto the unit sphere in D: subtract a
    mean and divide by a standard deviation (both fixed when training starts), append a constant, scale to length 1.
    The constant keeps what scaling alone would lose, the distance from the mean: a dark and a bright flat area differ
    in just that. (With moving averages in their place the latents grew without bound.) "cosine" scales D dimensions to
    length 1, "euclidean" takes them as they are. "product" does so, too, and takes the code with the largest inner
    product in the place of the nearest one (IBQ: Shi et al., 2024, §3.2).
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, latent_channels: int, codes: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.config = config
        lifted, unit = config.lookup == "lifted", config.lookup in ("lifted", "cosine")
        self.project_in = nn.Linear(latent_channels, config.code_dimension - lifted, bias=not lifted)
        if lifted:
            self.register_buffer("mean", torch.zeros(config.code_dimension - 1))
            self.register_buffer("variance", torch.ones(()))
        self.project_out = nn.Linear(config.code_dimension, latent_channels)
        self.codebook = CODEBOOKS[config.codebook](codes, config.code_dimension, unit=unit)

    @property
    def lift(self) -> float:
        """The constant that is appended: twice the length that the rest has on average."""
        return 2.0 * self.project_in.out_features**0.5

    @property
    def span(self) -> Tensor:
        """What the projected latents spanned at the start: their summed variance."""
        return self.variance * self.project_in.out_features

    def vectors(self, latent: Tensor) -> Tensor:
        """(N, C) -> (N, D), what is looked up."""
        projected: Tensor = self.project_in(latent)
        if self.config.lookup == "lifted":
            standardised = (projected - self.mean) * self.variance.rsqrt()
            projected = F.pad(standardised, (0, 1), value=self.lift)
        return F.normalize(projected, dim=1) if self.codebook.unit else projected

    @torch.no_grad()
    def start_from(self, latents: Tensor, generator: torch.Generator) -> None:
        """Start at the principal directions of `latents` (N, C) and at k-means codes; N >= K."""
        mean = latents.mean(dim=0)
        covariance = (latents - mean).T.double() @ (latents - mean).double() / len(latents)
        directions = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, : self.project_in.out_features].float()
        self.project_in.weight.zero_()[: directions.shape[1]] = directions.T
        if self.config.lookup == "lifted":
            projected = self.project_in(latents)
            self.mean.copy_(projected.mean(dim=0))
            self.variance.copy_(projected.var(dim=0).mean())
        else:
            self.project_in.bias.copy_(-self.project_in.weight @ mean)
        vectors = self.vectors(latents)
        self.codebook.start_from(vectors, generator)
        codes = self.codebook.look_up(self.codebook.nearest(vectors))
        # the linear map from codes to latents with the least squared error
        with_bias = torch.cat([codes, torch.ones_like(codes[:, :1])], dim=1)
        wanted = latents.double().cpu()
        solution = torch.linalg.lstsq(with_bias.double().cpu(), wanted, driver="gelsd").solution.to(latents)
        self.project_out.weight.copy_(solution[:-1].T)
        self.project_out.bias.copy_(solution[-1])

    def choose(self, latent: Tensor) -> Tensor:
        vectors = self.vectors(latent)
        if self.config.lookup == "product":
            return self.codebook.largest_products(vectors)
        return self.codebook.nearest(vectors)

    def distances(self, latent: Tensor) -> Tensor:
        """Squared, in the space of the look-up; by how much a product falls short of the largest, where those count."""
        vectors = self.vectors(latent)
        if self.config.lookup == "product":
            products = vectors @ self.codebook.codes().detach().t()
            return products.amax(dim=1, keepdim=True) - products
        return self.codebook.distances(vectors)

    def unit_distances(self, latent: Tensor) -> Tensor:
        """Of products, where the nearest code has none, half the squared distance of that code: products with codes of
        one length differ by half of what their squared distances do."""
        if self.config.lookup != "product":
            return super().unit_distances(latent)
        vectors = self.vectors(latent)
        nearest_codes = self.codebook.look_up(self.codebook.largest_products(vectors))
        return (vectors - nearest_codes).square().sum(dim=1) / 2

    def reconstruct(self, indices: Tensor) -> Tensor:
        latent: Tensor = self.project_out(self.codebook.look_up(indices))
        return latent

    def learn(self, latent: Tensor, in_use: Tensor) -> LevelOutput:
        vectors = self.vectors(latent)
        indices, counts, sums = self._assigned(vectors.detach(), in_use)
        codes = self.codebook.look_up(indices)
        if self.training:
            self.codebook.update(counts, sums)
        passed = rotated(vectors, codes.detach()) if self.config.gradient == "rotation" else _straight(vectors, codes)
        weight = in_use[:, None] / in_use.sum().clamp_min(1) / codes.shape[1]
        return LevelOutput(
            indices=indices,
            passed=self.project_out(passed),
            reconstructed=self.project_out(codes),
            codebook_loss=((vectors.detach() - codes).square() * weight).sum(),
            commitment_loss=((vectors - codes.detach()).square() * weight).sum(),
        )

    def _assigned(self, vectors: Tensor, in_use: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (N,); how many of the vectors (N, D) in use chose each code, (K,), and their sums (K, D)."""
        if self.config.lookup != "product":
            assigned = self.codebook.assign(vectors, in_use)
            return assigned.indices, assigned.counts, assigned.sums
        indices, used = self.codebook.largest_products(vectors), vectors[in_use]
        counts = torch.bincount(indices[in_use], minlength=len(self.codebook.codes())).to(vectors.dtype)
        return indices, counts, vectors.new_zeros(len(counts), used.shape[1]).index_add_(0, indices[in_use], used)

    def revive(self, latent: Tensor, generator: torch.Generator) -> int:
        return self.codebook.revive_dead_codes(self.vectors(latent), generator)


def _straight(vectors: Tensor, codes: Tensor) -> Tensor:
    """The codes, with the gradient of the vectors."""
    return vectors + (codes - vectors).detach()


def rotated(vectors: Tensor, codes: Tensor) -> Tensor:
    """The codes (N, D) as a fixed rotation and scaling of the vectors (N, D): the gradient turns with them.

    Fifty et al., 2024, §4.2: R = 1 - 2 r r^T + 2 q e^T with unit e, q and r = (e + q) / |e + q|, held constant.
    """
    length = vectors.detach().norm(dim=1, keepdim=True).clamp_min(1e-12)
    start, end = vectors.detach() / length, F.normalize(codes, dim=1)
    middle = F.normalize(start + end, dim=1)
    scale = codes.norm(dim=1, keepdim=True) / length
    along_middle = (vectors * middle).sum(dim=1, keepdim=True)
    along_start = (vectors * start).sum(dim=1, keepdim=True)
    return scale * (vectors - 2 * along_middle * middle + 2 * along_start * end)


def nearest(level: Level, seen: Tensor, coarser: list[Tensor]) -> Tensor:
    """The token of the nearest code for each position of (B, C, h, w), (B, h, w)."""
    return level.choose(as_vectors(seen)).view(len(seen), *seen.shape[2:])


#: how tokens are chosen: a level, what is left for it (B, C, h, w), the tokens of the levels before -> (B, h, w)
Choice: TypeAlias = Callable[[Level, Tensor, list[Tensor]], Tensor]


class ResidualQuantizer(nn.Module):
    """L levels, each quantising what the levels before it have left.

    A level of stride s sees the latents averaged over s x s positions, and gives the same to all of these: its grid has
    ceil(h / s) x ceil(w / s) tokens.
    """

    def __init__(self, latent_channels: int, config: QuantizerConfig) -> None:
        super().__init__()
        kind = GumbelQuantizer if config.codebook == "gumbel" else VectorQuantizer
        self.config = config
        self.levels = nn.ModuleList(kind(latent_channels, codes, config) for codes in config.codebook_sizes)

    def each(self) -> list[Level]:
        """The levels, coarse to fine."""
        return list(cast("Iterable[Level]", self.levels))

    def begin_learning(self) -> None:
        """Prepare every codebook for training passes."""
        for level in self.each():
            level.codebook.begin_learning()

    def reduced(self, latent: Tensor, number: int) -> Tensor:
        """What level `number`, from 0, sees of (B, C, h, w)."""
        return _reduced(latent, self.config.strides[number])

    def enlarged(self, made: Tensor, number: int, rows: int, cols: int) -> Tensor:
        """What level `number`, from 0, gives of latents in its grid to all, (B, C, rows, cols)."""
        return enlarged(made, self.config.strides[number], rows, cols)

    def sides(self, tokens: Sequence[Tensor]) -> tuple[int, int]:
        """Rows and columns of the latent of token tensors (B, h / s, w / s) of the first levels."""
        finest = min(range(len(tokens)), key=lambda number: self.config.strides[number])
        rows, cols = (side * self.config.strides[finest] for side in tokens[finest].shape[1:])
        return rows, cols

    def _made(self, vectors: Tensor, seen: Tensor, number: int, like: Tensor) -> Tensor:
        """Vectors (N, C) of level `number`, which saw `seen`, as a latent of the shape of `like`."""
        return self.enlarged(_as_grid(vectors, seen), number, like.shape[2], like.shape[3])

    def tokens(self, latent: Tensor, levels: int, choose: Choice = nearest) -> list[Tensor]:
        """Latent (B, C, h, w) -> `levels` token tensors (B, h / s, w / s), coarse to fine, s the stride of each.

        choose: given a level, what is left for it, (B, C, h / s, w / s), and the tokens of the levels before.
        """
        tokens: list[Tensor] = []
        for number, level in enumerate(self.each()[:levels]):
            seen = self.reduced(latent, number)
            tokens.append(choose(level, seen, tokens))
            indices = tokens[-1].flatten()
            if len(tokens) < levels:
                latent = latent - self._made(level.reconstruct(indices), seen, number, latent)
        return tokens

    def latent(self, tokens: Sequence[Tensor]) -> Tensor:
        """Token tensors (B, h / s, w / s) of the first levels -> latent (B, C, h, w).

        h, w are those of the finest level that is there, in units of its stride. Tokens below 0 give nothing.
        """
        rows, cols = self.sides(tokens)
        parts = []
        for number, (level, indices) in enumerate(zip(self.each(), tokens, strict=False)):
            grid = level.reconstruct(indices.flatten().clamp_min(0)).view(*indices.shape, -1).permute(0, 3, 1, 2)
            if bool((indices < 0).any()):
                grid = grid * (indices >= 0)[:, None]
            parts.append(self.enlarged(grid, number, rows, cols))
        return functools.reduce(torch.add, parts)

    def forward(self, latent: Tensor, levels: Tensor) -> QuantizeResult:
        """Training pass. latent (B, C, h, w); levels (B,): how many levels each picture uses (quantizer dropout).

        In training mode the codebooks move. Always in float32, inside torch.autocast too.
        """
        with torch.autocast(latent.device.type, enabled=False):
            return self._forward(latent.float(), levels)

    def _forward(self, wanted: Tensor, levels: Tensor) -> QuantizeResult:
        residual, passed, reconstructed = wanted, torch.zeros_like(wanted), torch.zeros_like(wanted)
        indices, codebook_losses, commitment_losses = [], [], []
        for number, level in enumerate(self.each()):
            seen, in_use = self.reduced(residual, number), levels > number
            output = level.learn(as_vectors(seen), in_use.repeat_interleave(seen.shape[2] * seen.shape[3]))
            indices.append(output.indices.view(len(seen), *seen.shape[2:]))
            used = in_use[:, None, None, None]
            made = self._made(output.passed, seen, number, wanted)
            residual = residual - made
            passed = passed + made * used
            reconstructed = reconstructed + self._made(output.reconstructed, seen, number, wanted) * used
            codebook_losses.append(output.codebook_loss)
            commitment_losses.append(output.commitment_loss)
        if self.config.lookup == "lifted" and self.config.codebook != "gumbel":
            first = cast("VectorQuantizer", self.each()[0])
            span = wanted[:, 0].numel() * first.span
            codebook_loss = (wanted.detach() - reconstructed).square().sum() / span
            commitment_loss = (wanted - reconstructed.detach()).square().sum() / span
        else:
            codebook_loss = torch.stack(codebook_losses).mean()
            commitment_loss = torch.stack(commitment_losses).mean()
        return QuantizeResult(passed, tuple(indices), codebook_loss, commitment_loss)

    @torch.no_grad()
    def start_levels(self, latent: Tensor, generator: torch.Generator) -> None:
        """Start every level, one after the other, from latents (B, C, h, w): directions, codes, and the way back."""
        for number, level in enumerate(self.each()):
            seen = self.reduced(latent, number)
            vectors = as_vectors(seen)
            level.start_from(vectors, generator)
            latent = latent - self._made(level.reconstruct(level.choose(vectors)), seen, number, latent)

    @torch.no_grad()
    def revive_dead_codes(self, latent: Tensor, generator: torch.Generator) -> int:
        """Revive dead codes of every level from the latents (B, C, h, w) of a batch; returns how many in all."""
        revived = 0
        for number, level in enumerate(self.each()):
            seen = self.reduced(latent, number)
            vectors = as_vectors(seen)
            revived += level.revive(vectors, generator)
            latent = latent - self._made(level.reconstruct(level.choose(vectors)), seen, number, latent)
        return revived


def as_vectors(latent: Tensor) -> Tensor:
    """(B, C, h, w) -> (N, C), position by position."""
    return latent.permute(0, 2, 3, 1).reshape(-1, latent.shape[1])


def _as_grid(vectors: Tensor, like: Tensor) -> Tensor:
    """(N, C) -> (B, C, h, w), of the shape of `like`."""
    return vectors.view(len(like), *like.shape[2:], -1).permute(0, 3, 1, 2)


def _reduced(latent: Tensor, stride: int) -> Tensor:
    """Averaged over stride x stride positions; at the border over those that there are."""
    return latent if stride == 1 else F.avg_pool2d(latent, stride, ceil_mode=True, count_include_pad=False)


def enlarged(grid: Tensor, stride: int, rows: int, cols: int) -> Tensor:
    """(..., h, w): each position repeated stride x stride times, cut to so many rows and columns."""
    if stride == 1:
        return grid
    return grid.repeat_interleave(stride, -2).repeat_interleave(stride, -1)[..., :rows, :cols]
