"""The default networks: wide shallow convolutions at strides of `patch` to f, after a space-to-depth stem.

Fully convolutional with a finite receptive field and per-position normalisation, so that any size works and a tile with
a halo as wide as the receptive field gives what the whole picture gives. After VQGAN (Esser et al., 2021, §3.1), with
its GroupNorm, attention and full-resolution layers left out: they are what makes it slow.

Shapes: B batch, H W pixels, h w rows and columns of the latent, C latent channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.config import CompactConfig


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(norm(x)))), 3x3 convolutions; the last one starts at zero."""

    def __init__(self, width: int, hidden: int, padding: str = "zeros") -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.widen = _convolution(width, hidden, padding)
        self.narrow = _convolution(hidden, width, padding)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.silu(self.widen(self.norm(x)), inplace=not torch.is_grad_enabled())
        return _sum(self.narrow(hidden), x)


class _Replicating(nn.Conv2d):
    """3x3 with stride 1, which sees the last row or column again beyond the border."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            return super().forward(x)
        # what torch.compile takes the gradient of padding for has other strides than it has (torch 2.13, channels_last)
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
        x = torch.cat([x[:, :, :, :1], x, x[:, :, :, -1:]], dim=3)
        return F.conv2d(x, self.weight, self.bias)


def _convolution(before: int, after: int, padding: str) -> nn.Conv2d:
    """3x3 with stride 1; `padding`: "zeros" or "replicate"."""
    if padding == "replicate":
        return _Replicating(before, after, 3, padding=1, padding_mode="replicate")
    return nn.Conv2d(before, after, 3, padding=1)


def _sum(made: Tensor, other: Tensor) -> Tensor:
    """Their sum, in the memory of `made` where no gradient is needed: fresh memory costs more than the addition."""
    return made + other if torch.is_grad_enabled() else made.add_(other)


def _blocks(width: int, depth: int, hidden: float, padding: str) -> list[nn.Module]:
    return [ResidualBlock(width, int(width * hidden), padding) for _ in range(depth)]


class Encoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] -> latent (B, C, H / f, W / f). H and W must be multiples of f.

    channels: another number than 3, for label maps.

    The sum of a linear map of each f x f patch, which training starts at the principal components, and a deep network.
    """

    def __init__(self, config: CompactConfig, channels: int = 3) -> None:
        super().__init__()
        factor, widths = config.downsampling_factor, config.encoder_widths
        self.linear = nn.Conv2d(channels, config.latent_channels, factor, stride=factor)
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(config.patch),
            _convolution(channels * config.patch**2, widths[0], config.padding),
        ]
        for stage, width in enumerate(widths):
            if stage:
                layers.append(nn.Conv2d(widths[stage - 1], width, 2, stride=2))
            layers += _blocks(width, config.encoder_depths[stage], config.encoder_hidden[stage], config.padding)
        layers.append(nn.Conv2d(widths[-1], config.latent_channels, 1))
        self.deep = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return _sum(self.linear(images), self.deep(images))


class Decoder(nn.Module):
    """Latent (B, C, h, w) -> pixels (B, 3, f * h, f * w), about in [-1, 1], not clamped.

    The sum of a linear map to each f x f patch and a deep network. channels: another number than 3, for label maps.
    """

    def __init__(self, config: CompactConfig, channels: int = 3) -> None:
        super().__init__()
        factor, widths = config.downsampling_factor, config.decoder_widths
        to_patches = nn.Conv2d(config.latent_channels, channels * factor**2, 1)
        self.linear = nn.Sequential(to_patches, nn.PixelShuffle(factor))
        layers: list[nn.Module] = [_convolution(config.latent_channels, widths[-1], config.padding)]
        for stage in reversed(range(len(widths))):
            layers += _blocks(widths[stage], config.decoder_depths[stage], config.decoder_hidden[stage], config.padding)
            if stage:
                layers += [nn.Conv2d(widths[stage], 4 * widths[stage - 1], 1), nn.PixelShuffle(2)]
        layers += [_convolution(widths[0], channels * config.patch**2, config.padding), nn.PixelShuffle(config.patch)]
        self.deep = nn.Sequential(*layers)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        layer = self.deep[-2]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, latent: Tensor) -> Tensor:
        return _sum(self.linear(latent), self.deep(latent))


@torch.no_grad()
def start_from_patches(encoder: Encoder, decoder: Decoder, images: Tensor) -> None:
    """Start the linear maps at the principal components of the patches of `images`, the deep networks near zero.

    Images: (B, 3, H, W) in [-1, 1], sides multiples of f. With levels that start from the latents of these this is a
    plain residual vector quantiser of patches, from which training goes on.
    """
    analysis, synthesis = _convolutions(encoder.linear)[0], _convolutions(decoder.linear)[0]
    factor, channels = analysis.stride[0], analysis.out_channels
    patches = F.pixel_unshuffle(images, factor).permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = patches.mean(dim=0)
    covariance = (patches - mean).T @ (patches - mean) / len(patches)
    components = torch.linalg.eigh(covariance).eigenvectors.flip(1)[:, :channels].float()
    mean = mean.float()
    count = components.shape[1]
    for layer in (analysis, synthesis):
        layer.weight.zero_()
    analysis.weight[:count] = components.T.unflatten(1, (-1, factor, factor))
    analysis.bias.zero_()[:count] = -(mean @ components)
    synthesis.weight[:, :count, 0, 0] = components
    synthesis.bias.copy_(mean)
    for layer in (_convolutions(encoder.deep)[-1], _convolutions(decoder.deep)[-1]):
        layer.weight.mul_(0.1)
        layer.bias.zero_()


def receptive_radius(network: Encoder | Decoder, factor: int) -> int:
    """Pixels that the Encoder sees beyond a position's own, or that a position reaches beyond its own when decoded."""
    return _radius(network.deep, stride=1 if isinstance(network, Encoder) else factor)


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
