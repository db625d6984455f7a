"""The networks of MaskGIT's VQGAN: the paper's without attention, with average pooling and another shortcut.

Chang et al., "MaskGIT: Masked Generative Image Transformer", CVPR 2022 (arXiv 2202.04200), §3.1. Written anew after the
port of its code to PyTorch, https://github.com/huggingface/open-muse, `muse/modeling_maskgit_vqgan.py` (Apache-2.0),
under whose names the published weights lie. They compute with pixels in [0, 1]; taken and given are [-1, 1], as by all
networks here. GroupNorm looks at the whole picture, so there are no tiles.

Shapes: B batch, H W pixels, h w rows and columns of the token grid, C latent channels, c width of a stage.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.maskgit_config import MaskgitConfig
from vqcodec.models.taming_config import NORM_GROUPS


class MaskgitBlock(nn.Module):
    """(B, before, h, w) -> (B, after, h, w): y + x with y = conv(swish(norm(conv(swish(norm(x)))))), without biases.

    Where the widths differ, y goes through a 1x1 convolution in the place of x: y + convolution(y).
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1 = _norm(before)
        self.conv1 = _convolution(before, after, bias=False)
        self.norm2 = _norm(after)
        self.conv2 = _convolution(after, after, bias=False)
        self.nin_shortcut = None if before == after else nn.Conv2d(after, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(F.silu(self.norm2(hidden)))
        return hidden + (x if self.nin_shortcut is None else self.nin_shortcut(hidden))


class MaskgitStage(nn.Module):
    """(B, before, h, w) -> (B, after, h, w): residual blocks of one resolution."""

    def __init__(self, before: int, after: int, blocks: int) -> None:
        super().__init__()
        self.block = nn.ModuleList(MaskgitBlock(before if n == 0 else after, after) for n in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.block:
            x = block(x)
        return x


class EncoderStage(MaskgitStage):
    """(B, before, h, w) -> (B, after, h / 2, w / 2), averaged; the coarsest stage keeps h and w."""

    def __init__(self, config: MaskgitConfig, stage: int) -> None:
        before, after = (config.channels, *config.widths)[stage : stage + 2]
        super().__init__(before, after, config.residual_blocks)
        self.is_last = stage == len(config.widths) - 1

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        return x if self.is_last else F.avg_pool2d(x, 2)


class DecoderStage(MaskgitStage):
    """(B, before, h, w) -> (B, after, 2 * h, 2 * w); the pixels' own stage, 0, keeps h and w."""

    def __init__(self, config: MaskgitConfig, stage: int) -> None:
        before, after = config.widths[min(stage + 1, len(config.widths) - 1)], config.widths[stage]
        super().__init__(before, after, config.residual_blocks)
        self.upsample_conv = _convolution(after, after) if stage else None

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        if self.upsample_conv is None:
            return x
        return self.upsample_conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class MaskgitEncoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] -> latent (B, C, H / f, W / f). Raises ValueError for other sides."""

    def __init__(self, config: MaskgitConfig) -> None:
        super().__init__()
        self.downsampling_factor = config.downsampling_factor
        width = config.widths[-1]
        self.conv_in = _convolution(3, config.channels, bias=False)
        self.down = nn.ModuleList(EncoderStage(config, stage) for stage in range(len(config.widths)))
        self.mid = nn.ModuleList(MaskgitBlock(width, width) for _ in range(config.residual_blocks))
        self.norm_out = _norm(width)
        self.conv_out = nn.Conv2d(width, config.latent_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        if any(side % self.downsampling_factor for side in images.shape[-2:]):
            raise ValueError(f"sides must be multiples of {self.downsampling_factor}, got {tuple(images.shape)}")
        x = self.conv_in((images + 1) / 2)
        for part in (*self.down, *self.mid):
            x = part(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class MaskgitDecoder(nn.Module):
    """Latent (B, C, h, w) -> pixels (B, 3, f * h, f * w), about in [-1, 1], not clamped."""

    def __init__(self, config: MaskgitConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.conv_in = _convolution(config.latent_channels, width)
        self.mid = nn.ModuleList(MaskgitBlock(width, width) for _ in range(config.residual_blocks))
        self.up = nn.ModuleList(DecoderStage(config, stage) for stage in range(len(config.widths)))
        self.norm_out = _norm(config.widths[0])
        self.conv_out = _convolution(config.widths[0], 3)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        return self.conv_out

    def forward(self, latent: Tensor) -> Tensor:
        x = self.conv_in(latent)
        for part in (*self.mid, *reversed(self.up)):
            x = part(x)
        return 2 * self.conv_out(F.silu(self.norm_out(x))) - 1


def _convolution(before: int, after: int, *, bias: bool = True) -> nn.Conv2d:
    """3x3 with stride 1; the picture's surroundings are zeros."""
    return nn.Conv2d(before, after, 3, padding=1, bias=bias)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)
