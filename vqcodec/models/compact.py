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
from vqcodec.models.layers import added, blocks, convolution, radius


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
            convolution(channels * config.patch**2, widths[0], config.padding),
        ]
        for stage, width in enumerate(widths):
            if stage:
                layers.append(nn.Conv2d(widths[stage - 1], width, 2, stride=2))
            layers += blocks(width, config.encoder_depths[stage], config.encoder_hidden[stage], config.padding)
        layers.append(nn.Conv2d(widths[-1], config.latent_channels, 1))
        self.deep = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        return added(self.linear(images), self.deep(images))


class Decoder(nn.Module):
    """Latent (B, C, h, w) -> pixels (B, 3, f * h, f * w), about in [-1, 1], not clamped.

    The sum of a linear map to each f x f patch and a deep network. channels: another number than 3, for label maps.
    """

    def __init__(self, config: CompactConfig, channels: int = 3) -> None:
        super().__init__()
        factor, widths = config.downsampling_factor, config.decoder_widths
        to_patches = nn.Conv2d(config.latent_channels, channels * factor**2, 1)
        self.linear = nn.Sequential(to_patches, nn.PixelShuffle(factor))
        layers: list[nn.Module] = [convolution(config.latent_channels, widths[-1], config.padding)]
        for stage in reversed(range(len(widths))):
            layers += blocks(widths[stage], config.decoder_depths[stage], config.decoder_hidden[stage], config.padding)
            if stage:
                layers += [nn.Conv2d(widths[stage], 4 * widths[stage - 1], 1), nn.PixelShuffle(2)]
        layers += [convolution(widths[0], channels * config.patch**2, config.padding), nn.PixelShuffle(config.patch)]
        self.deep = nn.Sequential(*layers)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        layer = self.deep[-2]
        assert isinstance(layer, nn.Conv2d)
        return layer

    def forward(self, latent: Tensor) -> Tensor:
        return added(self.linear(latent), self.deep(latent))


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
    return radius(network.deep, stride=1 if isinstance(network, Encoder) else factor)


def _convolutions(network: nn.Module) -> list[Any]:
    """The convolutions of a network in order. (To mypy a module's bias is optional.)"""
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
