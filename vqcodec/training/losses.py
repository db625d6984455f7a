"""The stage-1 reconstruction loss: L1 and LPIPS (VGGLoss aside, Esser et al., 2021, equation 4 and §3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vqcodec.image import to_unit_range
from vqcodec.perceptual import LPIPS

#: (picture of the batch, rows, columns)
Window: TypeAlias = tuple[int, slice, slice]


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms. L1 is taken on pixels in [-1, 1], the perceptual distances are LPIPS v0.1.

    LPIPS on VGG16 costs as much as the codec itself: it is taken on `vgg_crops` windows of `vgg_crop_size` pixels.
    """

    l1: float = 3.0
    lpips_alex: float = 1.0
    lpips_vgg: float = 1.0
    commitment: float = 0.25
    codebook: float = 0.25
    vgg_crops: int = 2
    vgg_crop_size: int = 64


class ReconstructionLoss(nn.Module):
    """forward(images, reconstructions, generator), both (B, 3, H, W) in [-1, 1], gives the terms, unweighted.

    The pictures are shifted by 0..3 random pixels before LPIPS: AlexNet's first layer has stride 4 and is blind to
    patterns of that period, which then show as a faint grid on flat areas.
    """

    def __init__(self, weights_folder: Path, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        self.alex = LPIPS(weights_folder, "alex") if weights.lpips_alex else None
        self.vgg = LPIPS(weights_folder, "vgg") if weights.lpips_vgg and weights.vgg_crops else None

    def forward(self, images: Tensor, reconstructions: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        terms = {"l1": (images - reconstructions).abs().mean()}
        real, made = to_unit_range(images), to_unit_range(reconstructions)
        top, left = torch.randint(4, (2,), generator=generator).tolist()
        if self.alex is not None:
            terms["lpips_alex"] = self.alex(made[:, :, top:, left:], real[:, :, top:, left:]).mean()
        if self.vgg is not None:
            windows = self._windows(len(real), real.shape[2], real.shape[3], generator)
            terms["lpips_vgg"] = self.vgg(_cut(made, windows), _cut(real, windows)).mean()
        return terms

    def _windows(self, batch: int, height: int, width: int, generator: torch.Generator) -> list[Window]:
        side = min(self.weights.vgg_crop_size, height, width)
        pictures = torch.randperm(batch, generator=generator)[: self.weights.vgg_crops].tolist()
        windows = []
        for picture in pictures:
            top = int(torch.randint(height - side + 1, (), generator=generator))
            left = int(torch.randint(width - side + 1, (), generator=generator))
            windows.append((picture, slice(top, top + side), slice(left, left + side)))
        return windows


def _cut(images: Tensor, windows: list[Window]) -> Tensor:
    cut = torch.stack([images[picture, :, rows, cols] for picture, rows, cols in windows])
    return cut.contiguous(memory_format=torch.channels_last)
