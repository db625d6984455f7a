"""The two halves of a model as modules that torch.onnx can trace: sizes and batch stay free.

Shapes: B batch, H W pixels, h w rows and columns of the token grid, L levels, C latent channels, N vectors, K codes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqcodec.models.level import Level
from vqcodec.models.quantizer import VectorQuantizer, as_vectors
from vqcodec.models.single_latent import VQAutoencoder


class TokenizeGraph(nn.Module):
    """Pixels (B, H, W, 3) uint8 of any size -> tokens (B, L, h, w) int64, h and w H / f and W / f rounded up.

    Padded as `vqcodec.pictures.image.padded` does. The nearest codes are looked up with float64 distances.
    """

    def __init__(self, network: VQAutoencoder) -> None:
        super().__init__()
        self.encoder, self.levels = network.encoder, nn.ModuleList(network.quantizer.each())
        self.factor = network.config.downsampling_factor

    def forward(self, pixels: Tensor) -> Tensor:
        images = pixels.float() / 127.5 - 1.0
        for axis in (1, 2):
            images = images.index_select(axis, _padded_positions(images.shape[axis], self.factor))
        left = self.encoder(images.permute(0, 3, 1, 2))
        tokens = []
        for level in self.levels:
            assert isinstance(level, Level)
            chosen = _chosen(level, as_vectors(left)).view(left.shape[0], left.shape[2], left.shape[3])
            left = left - _latent(level, chosen)
            tokens.append(chosen)
        return torch.stack(tokens, dim=1)


class DetokenizeGraph(nn.Module):
    """Tokens (B, L, h, w) int64 and how many of the levels count, (1,) int64 -> pixels (B, f h, f w, 3) uint8."""

    def __init__(self, network: VQAutoencoder) -> None:
        super().__init__()
        self.decoder, self.levels = network.decoder, nn.ModuleList(network.quantizer.each())
        self.level_embedding = network.level_embedding

    def forward(self, tokens: Tensor, levels: Tensor) -> Tensor:
        latent = self.level_embedding.index_select(0, levels - 1)[:, :, None, None]
        total = torch.zeros_like(latent)
        for number, level in enumerate(self.levels):
            assert isinstance(level, Level)
            part = _latent(level, tokens[:, number]) * (levels > number).float()[:, None, None, None]
            total = total + part
        images = self.decoder(total + latent)
        values: Tensor = ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return values.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).contiguous()


def _padded_positions(side: int, factor: int) -> Tensor:
    """Which row or column stands where, up to the next multiple of `factor`: reflected, or the last one repeated."""
    padded = (side + factor - 1) // factor * factor
    positions = torch.arange(padded)
    reflected = 2 * (side - 1) - positions
    beyond = torch.where(reflected < 0, torch.full_like(positions, side - 1), reflected)
    fits = torch.full_like(positions, padded - side) < side
    return torch.where(positions < side, positions, torch.where(fits, beyond, torch.full_like(positions, side - 1)))


def _chosen(level: Level, vectors: Tensor) -> Tensor:
    """(N, C) -> (N,), as `Level.choose`."""
    if not isinstance(level, VectorQuantizer):
        return level.distances(vectors).argmin(dim=1)
    looked_up, codes = level.vectors(vectors).double(), level.codebook.codes().double()
    products = looked_up @ codes.t()
    if level.config.lookup == "product":
        return products.argmax(dim=1)
    return (codes.square().sum(dim=1) - 2 * products).argmin(dim=1)


def _latent(level: Level, tokens: Tensor) -> Tensor:
    """(B, h, w) -> (B, C, h, w)."""
    made: Tensor = level.reconstruct(tokens.flatten())
    return made.view(tokens.shape[0], tokens.shape[1], tokens.shape[2], -1).permute(0, 3, 1, 2)
