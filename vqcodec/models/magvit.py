"""The networks of Open-MAGVIT2 and SimVQ: the paper's without attention, with pixel shuffling, and another Decoder.

Luo et al., "Open-MAGVIT2", 2024 (arXiv 2409.04410), §3.1, after MAGVIT-v2 (Yu et al., 2023, appendix A). Written anew
after `improved_model.py` of https://github.com/TencentARC/SEED-Voken (Apache-2.0) and of
https://github.com/youngsheen/SimVQ (MIT), under whose names the published weights lie. Norms look at the whole picture,
so there are no tiles.

Shapes: B batch, H W pixels, h w rows and columns of the token grid, C latent channels, c width of a stage.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.magvit_config import MagvitConfig
from vqcodec.models.taming_config import NORM_GROUPS

_EPSILON = 1e-6


class MagvitBlock(nn.Module):
    """(B, before, h, w) -> (B, after, h, w): x + conv(swish(norm(conv(swish(norm(x)))))), without biases."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = _norm(before), _norm(after)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.nin_shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        return self.nin_shortcut(x) + self.conv2(F.silu(self.norm2(hidden)))


class AdaptiveNorm(nn.Module):
    """x (B, c, h, w), normalised, scaled and shifted by what the latents (B, C, h', w') vary and are on average."""

    def __init__(self, latent_channels: int, width: int) -> None:
        super().__init__()
        self.gamma, self.beta = nn.Linear(latent_channels, width), nn.Linear(latent_channels, width)

    def forward(self, x: Tensor, latent: Tensor) -> Tensor:
        values = latent.flatten(2)
        spread = values.var(dim=2, correction=int(values.shape[2] > 1))
        scale = self.gamma((spread + _EPSILON).sqrt())[:, :, None, None]
        return scale * F.group_norm(x, NORM_GROUPS, eps=_EPSILON) + self.beta(values.mean(dim=2))[:, :, None, None]


class Enlarging(nn.Module):
    """(B, c, h, w) -> (B, c, 2 * h, 2 * w): a convolution to 4 c channels, which become 2 x 2 positions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        batch, width, rows, cols = x.shape
        made = self.conv1(x).reshape(batch, 2, 2, width, rows, cols)
        return made.permute(0, 3, 4, 1, 5, 2).reshape(batch, width, 2 * rows, 2 * cols)


class MagvitStage(nn.Module):
    """Residual blocks of one resolution, and what leads to the next: `downsample` or `upsample`."""

    def __init__(self, before: int, after: int, blocks: int, **resize: nn.Module) -> None:
        super().__init__()
        self.block = nn.ModuleList(MagvitBlock(before if n == 0 else after, after) for n in range(blocks))
        for name, module in resize.items():
            self.add_module(name, module)
        self.resizing = list(resize)

    def forward(self, x: Tensor) -> Tensor:
        for part in (*self.block, *(getattr(self, name) for name in self.resizing)):
            x = part(x)
        return x


class MagvitEncoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] -> latent (B, C, H / f, W / f). Raises ValueError for other sides."""

    def __init__(self, config: MagvitConfig) -> None:
        super().__init__()
        self.downsampling_factor = config.downsampling_factor
        widths, blocks = config.widths, config.residual_blocks
        self.conv_in = nn.Conv2d(3, config.channels, 3, padding=1, bias=False)
        self.down = nn.ModuleList()
        for stage, (before, after) in enumerate(zip((config.channels, *widths), widths, strict=False)):
            is_last = stage == len(widths) - 1
            smaller = {} if is_last else {"downsample": nn.Conv2d(after, after, 3, stride=2, padding=1)}
            self.down.append(MagvitStage(before, after, blocks, **smaller))
        self.mid_block = nn.ModuleList(MagvitBlock(widths[-1], widths[-1]) for _ in range(blocks))
        self.norm_out = _norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], config.latent_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        if any(side % self.downsampling_factor for side in images.shape[-2:]):
            raise ValueError(f"sides must be multiples of {self.downsampling_factor}, got {tuple(images.shape)}")
        x = self.conv_in(images)
        for part in (*self.down, *self.mid_block):
            x = part(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class MagvitDecoder(nn.Module):
    """Latent (B, C, h, w) -> pixels (B, 3, f * h, f * w), about in [-1, 1], not clamped."""

    def __init__(self, config: MagvitConfig) -> None:
        super().__init__()
        widths, blocks, channels = config.widths, config.residual_blocks, config.latent_channels
        self.conv_in = nn.Conv2d(channels, widths[-1], 3, padding=1)
        self.mid_block = nn.ModuleList(MagvitBlock(widths[-1], widths[-1]) for _ in range(blocks))
        before = (*widths[1:], widths[-1])
        self.up = nn.ModuleList(
            MagvitStage(before[stage], width, blocks, **({"upsample": Enlarging(width)} if stage else {}))
            for stage, width in enumerate(widths)
        )
        self.adaptive = nn.ModuleList(AdaptiveNorm(channels, width) for width in (before if config.adaptive else ()))
        self.norm_out = _norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        return self.conv_out

    def forward(self, latent: Tensor) -> Tensor:
        x = self.conv_in(latent)
        for block in self.mid_block:
            x = block(x)
        for number in reversed(range(len(self.up))):
            if self.adaptive:
                x = self.adaptive[number](x, latent)
            x = self.up[number](x)
        return self.conv_out(F.silu(self.norm_out(x)))


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, width, eps=_EPSILON)
