"""The stage-1 reconstruction losses (Esser et al., 2021, equation 4 and §3.1).

Of pictures: L1, squared error, colours and LPIPS. Of label maps: cross-entropy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.perceptual.networks import LPIPS
from vqcodec.pictures.image import to_unit_range
from vqcodec.training.stage1.windows import cut_windows, random_windows

#: side in pixels of the blocks whose mean colours are compared
COLOUR_BLOCK: Final = 8


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms. L1 and L2 are taken on pixels in [-1, 1], the perceptual distances are LPIPS v0.1.

    `colour` weighs L1 on the means of 8 x 8 pixels: LPIPS hardly minds a wrong colour.
    VGG16 costs as much as the codec itself: its terms are taken on `vgg_crops` windows of `vgg_crop_size` pixels, or
    on everything where `vgg_crops` is 0. `cross_entropy` is of label maps, which take no other reconstruction term.
    `commitment` is beta of VQ-VAE's equation 3: it weighs what the Encoder gets.
    """

    l1: float = 0.5
    l2: float = 0.0
    colour: float = 3.0
    lpips_alex: float = 2.0
    lpips_vgg: float = 1.5
    commitment: float = 0.1
    codebook: float = 0.1
    cross_entropy: float = 0.0
    vgg_crops: int = 2
    vgg_crop_size: int = 64

    def without_networks(self) -> LossWeights:
        """The same, with no perceptual term."""
        return replace(self, lpips_alex=0.0, lpips_vgg=0.0)

    @property
    def of_pictures(self) -> bool:
        """Whether there is a term that looks at pixels."""
        return any((self.l1, self.l2, self.colour, self.lpips_alex, self.lpips_vgg))


class ReconstructionLoss(nn.Module):
    """forward(images, reconstructions, generator), both (B, 3, H, W) in [-1, 1], gives the terms, unweighted.

    The pictures are shifted by 0..3 random pixels before LPIPS: AlexNet's first layer has stride 4 and is blind to
    patterns of that period, which then show as a faint grid on flat areas.
    """

    def __init__(self, weights_folder: Path | None, weights: LossWeights) -> None:
        """`weights_folder` holds the networks of LPIPS. Raises ValueError when it is None and a term needs it."""
        super().__init__()
        self.weights = weights
        self.alex: LPIPS | None = None
        self.vgg: LPIPS | None = None
        if not (weights.lpips_alex or weights.lpips_vgg):
            return
        if weights_folder is None:
            raise ValueError("perceptual losses need --perceptual-weights; give --no-perceptual to train without them")
        if weights.lpips_alex:
            self.alex = LPIPS(weights_folder, "alex")
        if weights.lpips_vgg:
            self.vgg = LPIPS(weights_folder, "vgg")

    def forward(self, images: Tensor, reconstructions: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        terms = {"l1": (images - reconstructions).abs().mean()}
        if self.weights.l2:
            terms["l2"] = (images - reconstructions).square().mean()
        if self.weights.colour:
            terms["colour"] = F.avg_pool2d(images - reconstructions, COLOUR_BLOCK).abs().mean()
        real, made = to_unit_range(images), to_unit_range(reconstructions)
        top, left = torch.randint(4, (2,), generator=generator).tolist()
        if self.alex is not None:
            terms["lpips_alex"] = self.alex(made[:, :, top:, left:], real[:, :, top:, left:]).mean()
        if self.vgg is not None:
            if self.weights.vgg_crops:
                windows = random_windows(real.shape, self.weights.vgg_crops, self.weights.vgg_crop_size, generator)
                made, real = cut_windows(made, windows), cut_windows(real, windows)
            terms["lpips_vgg"] = self.vgg(made, real).mean()
        return terms


class MapLoss(nn.Module):
    """forward(maps, logits, generator), both (B, classes, H, W), gives the cross-entropy of the classes, in nats.

    maps: one-hot, of any scale. Esser et al. (2021) take a binary cross-entropy for each class in their code; here a
    pixel has one class only.
    """

    def forward(self, maps: Tensor, logits: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return {"cross_entropy": F.cross_entropy(logits, maps.argmax(dim=1))}
