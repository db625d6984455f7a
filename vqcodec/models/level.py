"""What one level of quantisation is to the rest: tokens of latents, latents of tokens, and a way to learn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vqcodec.models.codebooks import Codebook


@dataclass(frozen=True)
class LevelOutput:
    """What a training pass of one level gives, for latents (N, C).

    indices: (N,) int64. passed: (N, C), the quantised latents with the gradient that the Encoder gets. reconstructed:
    (N, C), the same values with the gradient that the codes get. The losses are scalars, means over the vectors in use.
    """

    indices: Tensor
    passed: Tensor
    reconstructed: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


class Level(nn.Module, ABC):
    """One level of K codes. Shapes: N vectors, C latent channels."""

    codebook: Codebook

    @abstractmethod
    def choose(self, latent: Tensor) -> Tensor:
        """Tokens (N,) of latents (N, C)."""

    @abstractmethod
    def distances(self, latent: Tensor) -> Tensor:
        """(N, K): how far each code is from latents (N, C), 0 or more; `choose` takes the nearest."""

    def unit_distances(self, latent: Tensor) -> Tensor:
        """(N,): what distances from latents (N, C) are measured in where they are weighed against bits, that of the
        nearest code."""
        return self.distances(latent).amin(dim=1)

    @abstractmethod
    def reconstruct(self, indices: Tensor) -> Tensor:
        """Latents (N, C) of tokens (N,)."""

    @abstractmethod
    def learn(self, latent: Tensor, in_use: Tensor) -> LevelOutput:
        """Training pass of latents (N, C), of which `in_use` (N,) bool count. In training mode the codebook moves."""

    @abstractmethod
    def start_from(self, latents: Tensor, generator: torch.Generator) -> None:
        """Start the codes where `latents` (N, C) are, N >= K."""

    @abstractmethod
    def revive(self, latent: Tensor, generator: torch.Generator) -> int:
        """Put dead codes onto latents (N, C) of a batch; returns how many."""
