"""Quantisation by logits: a categorical choice of the code, relaxed while it is learned.

Sources: Gumbel-softmax (Jang et al., 2017; Maddison et al., 2017), as in the discrete VAE of DALL-E (Ramesh et al.,
2021, §2.1): the codebook loss is the divergence of the choices from the uniform distribution.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.codebooks import GradientCodebook
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.level import Level, LevelOutput


class GumbelQuantizer(Level):
    """Logits (N, K) by a linear map of latents (N, C); the token is the largest. Codes (K, D) are projected back to C.

    While learning, Gumbel noise is added and the choice is a softmax at `temperature` (the trainer lowers it), forward
    the hard choice. The noise comes from torch's default generator.
    """

    def __init__(self, latent_channels: int, codes: int, config: QuantizerConfig) -> None:
        super().__init__()
        self.logits = nn.Linear(latent_channels, codes)
        self.codebook = GradientCodebook(codes, config.code_dimension, unit=False)
        self.project_out = nn.Linear(config.code_dimension, latent_channels)
        self.temperature = 1.0

    def choose(self, latent: Tensor) -> Tensor:
        return self.logits(latent).argmax(dim=1)

    def distances(self, latent: Tensor) -> Tensor:
        """Nats that each code has less probability than one."""
        return -self.logits(latent).log_softmax(dim=1)

    def reconstruct(self, indices: Tensor) -> Tensor:
        latent: Tensor = self.project_out(self.codebook.look_up(indices))
        return latent

    def learn(self, latent: Tensor, in_use: Tensor) -> LevelOutput:
        logits = self.logits(latent)
        chosen = F.gumbel_softmax(logits, tau=self.temperature, hard=True) if self.training else self._hard(logits)
        indices = chosen.argmax(dim=1)
        if self.training:
            counts = torch.bincount(indices[in_use], minlength=logits.shape[1]).to(latent.dtype)
            self.codebook.update(counts, latent.new_zeros(len(counts), 1))
        made = self.project_out(chosen @ self.codebook.codes())
        log_pmf = logits.log_softmax(dim=1)
        divergence = (log_pmf.exp() * (log_pmf + math.log(logits.shape[1]))).sum(dim=1)
        mean = (divergence * in_use).sum() / in_use.sum().clamp_min(1)
        return LevelOutput(indices, made, made, mean, torch.zeros_like(mean))

    def _hard(self, logits: Tensor) -> Tensor:
        return F.one_hot(logits.argmax(dim=1), logits.shape[1]).to(logits.dtype)

    @torch.no_grad()
    def start_from(self, latents: Tensor, generator: torch.Generator) -> None:
        """Nothing: the choices start at random, the uniform distribution that the loss asks for."""

    def revive(self, latent: Tensor, generator: torch.Generator) -> int:
        """None: no code can be out of reach, every logit is learned by every vector."""
        return 0
