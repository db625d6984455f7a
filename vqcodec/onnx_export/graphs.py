"""The two halves of a model as modules that torch.onnx can trace: sizes and batch stay free.

Shapes: B batch, H W pixels, h w rows and columns of the token grid, L levels, C latent channels, N vectors, K codes;
h' w' of the coarse ones, where there are two latents, h / 2 and w / 2 rounded up.
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.level import Level
from vqcodec.models.network_input import in_channels, in_colour
from vqcodec.models.quantizer import VectorQuantizer, as_vectors
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.two_resolutions import HierarchicalAutoencoder


class TokenizeGraph(nn.Module):
    """Pixels (B, H, W, 3) uint8 of any size -> tokens (B, L, h, w) int64, h and w H / f and W / f rounded up.

    Padded as `vqcodec.pictures.image.padded` does. The nearest codes are looked up with float64 distances.
    """

    def __init__(self, network: VQAutoencoder) -> None:
        super().__init__()
        self.encoder, self.levels = network.encoder, nn.ModuleList(network.quantizer.each())
        self.config = network.config

    def forward(self, pixels: Tensor) -> Tensor:
        images = in_channels(self.config, _padded(pixels, self.config.downsampling_factor))
        return _tokens(self.levels, self.encoder(images))


class DetokenizeGraph(nn.Module):
    """Tokens (B, L, h, w) int64 and how many of the levels count, (1,) int64 -> pixels (B, f h, f w, 3) uint8."""

    def __init__(self, network: VQAutoencoder) -> None:
        super().__init__()
        self.decoder, self.levels = network.decoder, nn.ModuleList(network.quantizer.each())
        self.level_embedding = network.level_embedding

    def forward(self, tokens: Tensor, levels: Tensor) -> Tensor:
        latent = self.level_embedding.index_select(0, levels - 1)[:, :, None, None]
        return _pixels(self.decoder(_summed(self.levels, tokens, levels) + latent))


class CoarseFineTokenizeGraph(nn.Module):
    """Pixels (B, H, W, 3) uint8 of any size -> coarse tokens (B, L, h', w') and fine ones (B, L, h, w), int64.

    Padded as `TokenizeGraph` says; where h or w is odd the coarse levels see the last row or column of pixels again.
    """

    def __init__(self, network: HierarchicalAutoencoder) -> None:
        super().__init__()
        self.encoder, self.decoder = network.encoder, network.decoder
        self.coarse, self.fine = (nn.ModuleList(part.each()) for part in network.quantizers)
        self.coarse_embedding, self.factor = network.coarse_embedding, network.config.downsampling_factor

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        images = _padded(pixels, self.factor)
        whole, side = images, 2 * self.factor
        for axis in (2, 3):
            padded = (whole.shape[axis] + side - 1) // side * side
            whole = whole.index_select(axis, torch.arange(padded).clamp(max=whole.shape[axis] - 1))
        features, coarse_latent = self.encoder(whole)
        coarse = _tokens(self.coarse, coarse_latent)
        latent = _summed(self.coarse, coarse, torch.tensor([len(self.coarse)]))
        rows, cols = images.shape[2] // self.factor, images.shape[3] // self.factor
        raised = self.decoder.raising(latent + self.coarse_embedding[-1][:, None, None])[:, :, :rows, :cols]
        picture = self.decoder.coarse_linear(latent)[:, :, : images.shape[2], : images.shape[3]]
        fine_latent = self.encoder.fine_latent(features[:, :, :rows, :cols], raised, images - picture)
        return coarse, _tokens(self.fine, fine_latent)


class CoarseFineDetokenizeGraph(nn.Module):
    """Coarse tokens (B, L, h', w'), fine ones (B, L, h, w) and how many of all levels count, (1,), int64 -> pixels
    (B, f h, f w, 3) uint8; without a fine level (B, 2 f h', 2 f w', 3)."""

    def __init__(self, network: HierarchicalAutoencoder) -> None:
        super().__init__()
        self.decoder, self.factor = network.decoder, network.config.downsampling_factor
        self.coarse, self.fine = (nn.ModuleList(part.each()) for part in network.quantizers)
        self.coarse_embedding, self.level_embedding = network.coarse_embedding, network.level_embedding

    def forward(self, coarse: Tensor, fine: Tensor, levels: Tensor) -> Tensor:
        count, factor = len(self.coarse), self.factor
        latent = _summed(self.coarse, coarse, levels)
        told = self.coarse_embedding.index_select(0, levels.clamp(max=count) - 1)[:, :, None, None]
        raised, picture = self.decoder.raising(latent + told), self.decoder.coarse_linear(latent)
        fine_latent = _summed(self.fine, fine, levels - count)
        more = [raised.shape[axis] - fine_latent.shape[axis] for axis in (2, 3)]  # 0 or 1
        has_fine = (levels > count).float()[:, None, None, None]
        from_fine = F.pad(self.decoder.from_fine(fine_latent), (0, more[1], 0, more[0]))
        fine_picture = F.pad(self.decoder.fine_linear(fine_latent), (0, factor * more[1], 0, factor * more[0]))
        rows, cols = (_one(torch.where(levels > count, fine.shape[axis], raised.shape[axis])) for axis in (2, 3))
        raised = (raised + from_fine * has_fine)[:, :, :rows, :cols]
        picture = (picture + fine_picture * has_fine)[:, :, : factor * rows, : factor * cols]
        level = self.level_embedding.index_select(0, levels - 1)[:, :, None, None]
        return _pixels(self.decoder(raised, picture, level))


def _one(value: Tensor) -> Tensor:
    """(1,) -> (): a length that a tracer keeps."""
    return value[0]


def _padded(pixels: Tensor, factor: int) -> Tensor:
    """Pixels (B, H, W, 3) uint8 -> images (B, 3, f h, f w) in [-1, 1]."""
    images = pixels.float() / 127.5 - 1.0
    for axis in (1, 2):
        images = images.index_select(axis, _padded_positions(images.shape[axis], factor))
    return images.permute(0, 3, 1, 2)


def _pixels(images: Tensor) -> Tensor:
    """Images (B, C, H, W) about in [-1, 1], C = 1 or 3 -> pixels (B, H, W, 3) uint8."""
    values: Tensor = ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return in_colour(values).permute(0, 2, 3, 1).contiguous()


def _tokens(levels: nn.ModuleList, left: Tensor) -> Tensor:
    """Latent (B, C, h, w) -> tokens (B, L, h, w)."""
    tokens = []
    for level in levels:
        assert isinstance(level, Level)
        chosen = _chosen(level, as_vectors(left)).view(left.shape[0], left.shape[2], left.shape[3])
        left = left - _latent(level, chosen)
        tokens.append(chosen)
    return torch.stack(tokens, dim=1)


def _summed(levels: nn.ModuleList, tokens: Tensor, count: Tensor) -> Tensor:
    """Tokens (B, L, h, w), of which the first `count` (1,) levels count -> latent (B, C, h, w)."""
    parts = []
    for number, level in enumerate(levels):
        assert isinstance(level, Level)
        parts.append(_latent(level, tokens[:, number]) * (count > number).float()[:, None, None, None])
    return functools.reduce(torch.add, parts)


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
