"""Residual levels whose grids grow to that of the latent, for square pictures of one size.

Tian et al., "Visual Autoregressive Modeling", 2024 (arXiv 2404.02905), algorithms 1 and 2. Written anew after
`models/quant.py` of https://github.com/FoundationVision/VAR (MIT).

Shapes: B batch, C latent channels, h w rows and columns of the latent.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.config import QuantizerConfig
from vqcodec.models.quantizer import ResidualQuantizer


class MultiScaleQuantizer(ResidualQuantizer):
    """Each level sees what is left, averaged over areas of equal size, and gives its codes enlarged by bicubic
    interpolation and then smoothed by a 3x3 convolution of its own.

    grids: (rows, columns) of each level, the last those of the latent. Raises ValueError for latents of other sides.
    """

    def __init__(self, latent_channels: int, config: QuantizerConfig) -> None:
        super().__init__(latent_channels, config)
        self.grids = [(side, side) for side in config.level_grids]
        self.smoothings = nn.ModuleList(nn.Conv2d(latent_channels, latent_channels, 3, padding=1) for _ in self.grids)

    def reduced(self, latent: Tensor, number: int) -> Tensor:
        sides = tuple(latent.shape[2:])
        if sides != self.grids[-1]:
            raise ValueError(f"latents of {sides[0]} x {sides[1]} positions: these levels take {self.grids[-1]} only")
        return latent if self.grids[number] == self.grids[-1] else F.adaptive_avg_pool2d(latent, self.grids[number])

    def enlarged(self, made: Tensor, number: int, rows: int, cols: int) -> Tensor:
        if self.grids[number] != (rows, cols):
            made = F.interpolate(made, size=(rows, cols), mode="bicubic")
        smoothed: Tensor = self.smoothings[number](made)
        return smoothed

    def sides(self, tokens: Sequence[Tensor]) -> tuple[int, int]:
        return self.grids[-1]
