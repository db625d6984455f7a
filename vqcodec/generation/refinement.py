"""Refining: latents that a picture's own gradients lead to, for the same Decoder and the same format.

The Encoder guesses good tokens in one pass. Here its latents are the start of a search for this one picture: Adam, with
quantisation at every step, towards a smaller LPIPS (AlexNet and VGG16) and squared error of what will be decoded, as
`vqcodec.generation.guidance` has it (latent refinement: Campos et al., 2019, "Content Adaptive Optimization for Neural
Image Compression"). Any decoder reads the result. It takes minutes for a picture where the Encoder takes a fraction of
a second.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.generation.guidance import optimize_latents
from vqcodec.generation.picture_scores import closeness
from vqcodec.models.autoencoder import Analysis
from vqcodec.perceptual.networks import LPIPS
from vqcodec.pictures.tiling import reduced, scaled, tiles

if TYPE_CHECKING:
    from vqcodec.codec import Codec

#: 10 give three quarters of what these do (four levels of Kodak)
DEFAULT_STEPS: Final = 20
#: pictures are refined in tiles of about so many pixels a side, and half as many more at most, to bound the memory
_TILE_PIXELS: Final = 576
#: pixels around a tile whose tokens are refined with it, and then left to its neighbours
_HALO_PIXELS: Final = 64
#: pixels a side that AlexNet needs
_LEAST_SIDE: Final = 31


class RefinementError(ValueError):
    """This picture, or this model, cannot be refined."""


class Refiner:
    """What `Codec.encode` takes as `refine`: pictures and a number of levels to latents.

    weights_folder: of LPIPS's networks, see `vqcodec.perceptual.networks`. steps: each decodes the picture and looks at
    it, forward and backward. report: called after each step of a tile with the steps done and those there are for this
    picture. Raises ValueError for steps below 1, PerceptualWeightsError for a folder that lacks the weights.
    """

    def __init__(
        self,
        weights_folder: str | Path,
        *,
        steps: int = DEFAULT_STEPS,
        report: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if steps < 1:
            raise ValueError(f"steps {steps}: there must be 1 or more")
        self.steps = steps
        self._networks = [LPIPS(weights_folder, "alex"), LPIPS(weights_folder, "vgg")]
        self._report = report

    def __call__(self, codec: Codec, rgb: NDArray[np.uint8], levels: int) -> Analysis:
        """The latents in use, for `levels` levels, of pixels (H, W, 3), on the codec's device.

        Raises RefinementError for a picture of less than 31 pixels a side, and for a model that chooses codes by
        logits or has grids of one size.
        """
        self._check(codec, rgb)
        card = codec.card.autoencoder
        factor, align, strides = card.downsampling_factor, card.quantizer.strides[0], codec.network.latent_strides
        height, width = rgb.shape[:2]
        rows, cols = -(-height // factor), -(-width // factor)
        parts = list(tiles(rows, cols, _HALO_PIXELS // factor, _TILE_PIXELS // factor, align=align))
        latents: list[Tensor] = []
        for number, (row, col) in enumerate(parts):
            pixels = rgb[scaled(row.outer, factor), scaled(col.outer, factor)]

            def report(step: int, scores: Tensor, done: int = number * self.steps) -> None:
                self._report(done + step, len(parts) * self.steps)

            score = closeness(self._networks, pixels)
            refined = optimize_latents(codec, score, start=pixels, steps=self.steps, levels=levels, report=report)
            if not latents:
                sizes = [(-(-rows // stride), -(-cols // stride)) for stride in strides]
                latents = [
                    torch.empty((1, found.shape[1], *size), device=codec.device)
                    for found, size in zip(refined.latents, sizes, strict=False)
                ]
            for whole, found, stride in zip(latents, refined.latents, strides, strict=False):
                kept = found[:, :, reduced(row.kept, stride), reduced(col.kept, stride)]
                whole[:, :, reduced(row.inner, stride), reduced(col.inner, stride)] = kept.to(codec.device)
        return Analysis(tuple(latents), tuple(map(Fraction, strides[: len(latents)])))

    def _check(self, codec: Codec, rgb: NDArray[np.uint8]) -> None:
        if codec.card.autoencoder.quantizer.codebook == "gumbel":
            raise RefinementError(f"model {codec.card.name} chooses codes by logits, which cannot be refined")
        if codec.card.autoencoder.picture_side:
            raise RefinementError(f"model {codec.card.name} has levels with grids of one size, which are not refined")
        height, width = rgb.shape[:2]
        if min(height, width) < _LEAST_SIDE:
            raise RefinementError(
                f"{width} x {height} pixels are too few to refine: {_LEAST_SIDE} a side are the least; leave it out"
            )
