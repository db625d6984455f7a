"""What the default networks are built of: residual blocks of 3x3 convolutions, normalised at each position.

Shapes: B batch, C channels, h w rows and columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of (B, C, h, w)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """x + conv(SiLU(conv(norm(x)))), 3x3 convolutions; the last one starts at zero."""

    def __init__(self, width: int, hidden: int, padding: str = "zeros") -> None:
        super().__init__()
        self.norm = ChannelNorm(width)
        self.widen = convolution(width, hidden, padding)
        self.narrow = convolution(hidden, width, padding)
        nn.init.zeros_(self.narrow.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.silu(self.widen(self.norm(x)), inplace=not torch.is_grad_enabled())
        return added(self.narrow(hidden), x)


class _Replicating(nn.Conv2d):
    """3x3 with stride 1, which sees the last row or column again beyond the border."""

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.compiler.is_compiling() or x.is_cuda):
            return super().forward(x)
        # what torch.compile takes the gradient of padding for has other strides than it has (torch 2.13, channels_last)
        # and on CUDA padding loses that order of memory in which convolutions are fastest
        x = torch.cat([x[:, :, :1], x, x[:, :, -1:]], dim=2)
        x = torch.cat([x[:, :, :, :1], x, x[:, :, :, -1:]], dim=3)
        return F.conv2d(x, self.weight, self.bias)


def convolution(before: int, after: int, padding: str) -> nn.Conv2d:
    """3x3 with stride 1; `padding`: "zeros" or "replicate"."""
    if padding == "replicate":
        return _Replicating(before, after, 3, padding=1, padding_mode="replicate")
    return nn.Conv2d(before, after, 3, padding=1)


def added(fresh: Tensor, other: Tensor) -> Tensor:
    """Their sum, in the memory of `fresh` where no gradient is needed: fresh memory costs more than the addition."""
    return fresh + other if torch.is_grad_enabled() else fresh.add_(other)


def blocks(width: int, depth: int, hidden: float, padding: str) -> list[nn.Module]:
    """`depth` residual blocks of `width` channels, with `hidden` times as many between their two convolutions."""
    return [ResidualBlock(width, int(width * hidden), padding) for _ in range(depth)]


def radius(network: nn.Sequential, *, stride: int) -> int:
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
