"""The stage-1 networks: a convolutional Encoder, residual quantisation, a Decoder about twice as heavy.

Fully convolutional with a finite receptive field and per-position normalisation, so that any size works and a tile with
a halo as wide as the receptive field gives what the whole picture gives. After VQGAN (Esser et al., 2021, §3.1), with
its GroupNorm, attention and full-resolution layers left out: they are what makes it slow.

Shapes: B batch, H W pixels, h w rows and columns of the token grid, C latent channels, L levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.config import AutoencoderConfig
from vqcodec.models.quantizer import QuantizeResult, ResidualQuantizer


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(norm(x)))), 3x3 convolutions; the last one starts at zero."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.widen = nn.Conv2d(width, hidden, 3, padding=1)
        self.narrow = nn.Conv2d(hidden, width, 3, padding=1)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.narrow(F.silu(self.widen(self.norm(x))))


def _blocks(width: int, depth: int, hidden: float) -> list[nn.Module]:
    return [ResidualBlock(width, int(width * hidden)) for _ in range(depth)]


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] -> latent (B, C, H / f, W / f). H and W must be multiples of f.

    The sum of a linear map of each f x f patch, which training starts at the principal components, and a deep network.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        factor, widths = config.downsampling_factor, config.encoder_widths
        self.linear = nn.Conv2d(3, config.latent_channels, factor, stride=factor)
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(config.patch),
            nn.Conv2d(3 * config.patch**2, widths[0], 3, padding=1),
        ]
        for stage, width in enumerate(widths):
            if stage:
                layers.append(nn.Conv2d(widths[stage - 1], width, 2, stride=2))
            layers += _blocks(width, config.encoder_depths[stage], config.encoder_hidden[stage])
        layers.append(nn.Conv2d(widths[-1], config.latent_channels, 1))
        self.deep = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images) + self.deep(images)


class Decoder(nn.Module):
    """Latent (B, C, h, w) -> pixels (B, 3, f * h, f * w), about in [-1, 1], not clamped.

    The sum of a linear map to each f x f patch and a deep network.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        factor, widths = config.downsampling_factor, config.decoder_widths
        self.linear = nn.Sequential(nn.Conv2d(config.latent_channels, 3 * factor**2, 1), nn.PixelShuffle(factor))
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)]
        for stage in reversed(range(len(widths))):
            layers += _blocks(widths[stage], config.decoder_depths[stage], config.decoder_hidden[stage])
            if stage:
                layers += [nn.Conv2d(widths[stage], 4 * widths[stage - 1], 1), nn.PixelShuffle(2)]
        layers += [nn.Conv2d(widths[0], 3 * config.patch**2, 3, padding=1), nn.PixelShuffle(config.patch)]
        self.deep = nn.Sequential(*layers)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        layer = self.deep[-2]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, latent: Tensor) -> Tensor:
        return self.linear(latent) + self.deep(latent)


@dataclass(frozen=True)
class AutoencoderOutput:
    """reconstruction: (B, 3, H, W), about in [-1, 1]. latent: (B, C, h, w) before quantisation."""

    reconstruction: Tensor
    latent: Tensor
    quantization: QuantizeResult


class VQAutoencoder(nn.Module):
    """Encoder, residual quantisation and Decoder."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.quantizer = ResidualQuantizer(config.latent_channels, config.codebook_sizes, config.code_dimension)
        #: tells the Decoder how many levels it gets: one vector (C,) for each count of levels
        self.level_embedding = nn.Parameter(torch.zeros(config.levels, config.latent_channels))
        self.decoder = Decoder(config)

    def tokenize(self, images: Tensor, levels: int | None = None) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1], sides multiples of f -> tokens (B, h, w) int64 for each level."""
        return self.quantizer.tokens(self.encoder(images).float(), levels or self.config.levels)

    def latent(self, tokens: list[Tensor]) -> Tensor:
        """Tokens (B, h, w) of the first levels -> what the Decoder takes, (B, C, h, w) float32."""
        return self.quantizer.latent(tokens) + self.level_embedding[len(tokens) - 1][:, None, None]

    def detokenize(self, tokens: list[Tensor]) -> Tensor:
        """Tokens (B, h, w) of the first levels -> images (B, 3, H, W), about in [-1, 1], not clamped."""
        image: Tensor = self.decoder(self.latent(tokens))
        return image

    def forward(self, images: Tensor, levels: Tensor) -> AutoencoderOutput:
        """Training pass: images (B, 3, H, W) in [-1, 1], levels (B,) in 1..L: how many levels each picture uses."""
        latent = self.encoder(images)
        quantization = self.quantizer(latent, levels)
        conditioned = quantization.quantized + self.level_embedding[levels - 1][:, :, None, None]
        return AutoencoderOutput(self.decoder(conditioned), latent, quantization)

    @torch.no_grad()
    def start_from_patches(self, images: Tensor) -> Tensor:
        """Start the linear maps at the principal components of the patches of `images`, the deep networks near zero.

        Returns the latents (N, C) of the patches. From these `quantizer.start_levels` makes a plain residual vector
        quantiser of patches, from which training goes on.
        """
        config = self.config
        factor = config.downsampling_factor
        patches = F.pixel_unshuffle(images, factor).permute(0, 2, 3, 1).flatten(0, 2).double()
        mean = patches.mean(dim=0)
        covariance = (patches - mean).T @ (patches - mean) / len(patches)
        components = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, : config.latent_channels].float()
        mean = mean.float()
        count = components.shape[1]
        analysis, synthesis = _convolutions(self.encoder.linear)[0], _convolutions(self.decoder.linear)[0]
        for layer in (analysis, synthesis):
            layer.weight.zero_()
        analysis.weight[:count] = components.T.unflatten(1, (3, factor, factor))
        analysis.bias.zero_()[:count] = -(mean @ components)
        synthesis.weight[:, :count, 0, 0] = components
        synthesis.bias.copy_(mean)
        for layer in (_convolutions(self.encoder.deep)[-1], _convolutions(self.decoder.deep)[-1]):
            layer.weight.mul_(0.1)
            layer.bias.zero_()
        latents: Tensor = self.encoder.linear(images)
        return latents.permute(0, 2, 3, 1).flatten(0, 2)

    def receptive_radius(self) -> tuple[int, int]:
        """Pixels that the Encoder sees beyond a token's own, and pixels that a token reaches beyond its own."""
        factor = self.config.downsampling_factor
        return _radius(self.encoder.deep, stride=1), _radius(self.decoder.deep, stride=factor)


def _convolutions(network: nn.Module) -> list[Any]:
    """The convolutions of a network in order. (To mypy a module's bias is optional.)"""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def _radius(network: nn.Sequential, *, stride: int) -> int:
    """How far one position of the input of `stride` pixels reaches, in pixels."""
    total = 0
    for layer in network:
        if isinstance(layer, nn.PixelUnshuffle):
            stride *= layer.downscale_factor
        elif isinstance(layer, nn.PixelShuffle):
            stride //= layer.upscale_factor
        elif isinstance(layer, ResidualBlock):
            total += 2 * stride
        elif isinstance(layer, nn.Conv2d):
            total += stride * (layer.padding[0] if isinstance(layer.padding, tuple) else 0)
            stride *= layer.stride[0]
    return total
