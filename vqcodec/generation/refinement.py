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
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.perceptual.networks import LPIPS
from vqcodec.pictures.tiling import scaled, tiles

if TYPE_CHECKING:
    from vqcodec.codec import Codec

#: 10 give three quarters of what these do (four levels of Kodak)
DEFAULT_STEPS: Final = 20
#: pictures are refined in tiles of about so many tokens a side, and half as many more at most, to bound the memory
_TILE_TOKENS: Final = 36
#: tokens around a tile that are refined with it, and then left to its neighbours
_HALO_TOKENS: Final = 4
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
        """The latent, for `levels` levels, of pixels (H, W, 3), on the codec's device.

        Raises RefinementError for a picture of less than 31 pixels a side, and for a model that chooses codes by
        logits or has two latents.
        """
        self._check(codec, rgb)
        card = codec.card.autoencoder
        factor = card.downsampling_factor
        height, width = rgb.shape[:2]
        rows, cols = -(-height // factor), -(-width // factor)
        parts = list(tiles(rows, cols, _HALO_TOKENS, _TILE_TOKENS, align=card.quantizer.strides[0]))
        latent: Tensor | None = None
        for number, (row, col) in enumerate(parts):
            pixels = rgb[scaled(row.outer, factor), scaled(col.outer, factor)]

            def report(step: int, scores: Tensor, done: int = number * self.steps) -> None:
                self._report(done + step, len(parts) * self.steps)

            score = closeness(self._networks, pixels)
            refined = optimize_latents(codec, score, start=pixels, steps=self.steps, levels=levels, report=report)
            if latent is None:
                latent = torch.empty((1, refined.latents.shape[1], rows, cols), device=codec.device)
            latent[:, :, row.inner, col.inner] = refined.latents[:, :, row.kept, col.kept].to(codec.device)
        assert latent is not None
        return Analysis((latent,), (Fraction(1),))

    def _check(self, codec: Codec, rgb: NDArray[np.uint8]) -> None:
        if codec.card.autoencoder.quantizer.codebook == "gumbel":
            raise RefinementError(f"model {codec.card.name} chooses codes by logits, which cannot be refined")
        if codec.card.autoencoder.picture_side or not isinstance(codec.network, VQAutoencoder):
            raise RefinementError(
                f"model {codec.card.name} has levels of several resolutions, which are not refined yet"
            )
        height, width = rgb.shape[:2]
        if min(height, width) < _LEAST_SIDE:
            raise RefinementError(
                f"{width} x {height} pixels are too few to refine: {_LEAST_SIDE} a side are the least; leave it out"
            )
