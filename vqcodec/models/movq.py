"""The Decoder of MoVQ: that of the paper, whose norms are scaled and shifted by the codes at each position.

Zheng et al., "MoVQ: Modulating Quantized Vectors for High-Fidelity Image Generation", 2022 (arXiv 2209.09002), §3.2.
Written anew after the class `SpatialNorm` of https://github.com/huggingface/diffusers (Apache-2.0), under whose names,
and those of taming-transformers, the published weights lie.

Shapes: B batch, h w rows and columns, c width of a stage, D code dimension, h' w' rows and columns of the token grid.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.taming import Upsample, attend
from vqcodec.models.taming_config import NORM_GROUPS, TamingConfig


class SpatialNorm(nn.Module):
    """x (B, c, h, w), normalised, scaled and shifted by 1x1 convolutions of the codes (B, D, h', w') that are there."""

    def __init__(self, width: int, dimension: int) -> None:
        super().__init__()
        self.norm_layer = nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)
        self.conv_y = nn.Conv2d(dimension, width, 1)
        self.conv_b = nn.Conv2d(dimension, width, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        near = F.interpolate(codes, size=x.shape[2:], mode="nearest")
        return self.norm_layer(x) * self.conv_y(near) + self.conv_b(near)


class MovqBlock(nn.Module):
    """(B, before, h, w) -> (B, after, h, w): a residual block whose norms are told the codes."""

    def __init__(self, before: int, after: int, config: TamingConfig) -> None:
        super().__init__()
        self.norm1, self.norm2 = (SpatialNorm(width, config.code_channels) for width in (before, after))
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.dropout = nn.Dropout(config.dropout)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.nin_shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x, codes)))
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden, codes))))
        return self.nin_shortcut(x) + hidden


class MovqAttention(nn.Module):
    """(B, c, h, w) -> the same: attention whose norm is told the codes."""

    def __init__(self, width: int, config: TamingConfig) -> None:
        super().__init__()
        self.norm = SpatialNorm(width, config.code_channels)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(width, width, 1) for _ in range(4))

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        normed = self.norm(x, codes)
        return x + self.proj_out(attend(self.q(normed), self.k(normed), self.v(normed)))


class MovqMiddle(nn.Module):
    """(B, c, h, w) -> the same: two residual blocks, with attention between them or not."""

    def __init__(self, config: TamingConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.block_1 = MovqBlock(width, width, config)
        self.attn_1 = MovqAttention(width, config) if config.middle_attention else None
        self.block_2 = MovqBlock(width, width, config)

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        x = self.block_1(x, codes)
        x = x if self.attn_1 is None else self.attn_1(x, codes)
        return self.block_2(x, codes)


class MovqStage(nn.Module):
    """(B, before, h, w) -> (B, after, 2 * h, 2 * w); the pixels' own stage, 0, keeps h and w."""

    def __init__(self, config: TamingConfig, stage: int) -> None:
        super().__init__()
        before, after = config.widths[min(stage + 1, len(config.widths) - 1)], config.widths[stage]
        count = config.residual_blocks + 1
        self.block = nn.ModuleList(MovqBlock(after if n else before, after, config) for n in range(count))
        attentions = count if config.attention_stages[stage] else 0
        self.attn = nn.ModuleList(MovqAttention(after, config) for _ in range(attentions))
        self.upsample = Upsample(after) if stage else nn.Identity()

    def forward(self, x: Tensor, codes: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x, codes)
            if self.attn:
                x = self.attn[number](x, codes)
        return self.upsample(x)


class MovqDecoder(nn.Module):
    """Codes (B, D, h', w') -> pixels (B, 3, f * h', f * w'), about in [-1, 1], not clamped."""

    def __init__(self, config: TamingConfig) -> None:
        super().__init__()
        kernel, latent = config.code_kernel, config.latent_channels
        self.post_quant_conv = nn.Conv2d(config.code_channels, latent, kernel, padding=kernel // 2)
        self.conv_in = nn.Conv2d(latent, config.widths[-1], 3, padding=1)
        self.mid = MovqMiddle(config)
        self.up = nn.ModuleList(MovqStage(config, stage) for stage in range(len(config.widths)))
        self.norm_out = SpatialNorm(config.widths[0], config.code_channels)
        self.conv_out = nn.Conv2d(config.widths[0], config.picture_channels, 3, padding=1)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        return self.conv_out

    def forward(self, codes: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant_conv(codes)), codes)
        for stage in reversed(self.up):
            x = stage(x, codes)
        pixels: Tensor = self.conv_out(F.silu(self.norm_out(x, codes)))
        return pixels
