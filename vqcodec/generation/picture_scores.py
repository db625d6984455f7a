"""Scores of pictures, for `vqcodec.generation.guidance`: what a score is, how one is asked, and one of being close to a
picture.

A score takes pictures (B, 3, H, W), float32 in [0, 1], sRGB, on the codec's device (the range that
`vqcodec.perceptual.networks` and most classifiers take), and returns (B,): one value for each picture, whatever the
others are; higher is better. One that returns a scalar is asked about one picture at a time. The pictures are clamped,
but not rounded to 8 bits.

Shapes: B batch, H W pixels, h w rows and columns of the latent, C latent channels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.models.network_input import in_colour
from vqcodec.perceptual.networks import LPIPS
from vqcodec.pictures.any_image import ImageLike, as_loaded
from vqcodec.pictures.image import DEFAULT_MAX_PIXELS, to_tensor, to_unit_range

Score: TypeAlias = Callable[[Tensor], Tensor]


class ScoreError(ValueError):
    """A score gives something else than one finite number for each picture, or has no gradient."""


def lpips_to(
    target: ImageLike,
    weights_folder: str | Path,
    *,
    backbones: Sequence[Literal["alex", "vgg"]] = ("alex", "vgg"),
    squared_error: float = 5.0,
) -> Score:
    """The score of being close to a picture: minus LPIPS, the mean over backbones, minus the weighted squared error.

    With the picture itself as start this refines what the Encoder chose, at equal bytes. AlexNet alone is four
    times as fast as both, but blind to patterns with a period of 4 pixels. squared_error: weight of the mean squared
    difference of pixels in [0, 1].

    Raises PerceptualWeightsError, see `vqcodec.perceptual.networks`; ImageError for a picture that cannot be read; and
    the score raises ValueError for pictures of another size. Sides of less than 31 pixels are too small for AlexNet.
    """
    networks = [LPIPS(weights_folder, backbone) for backbone in backbones]
    return closeness(networks, as_loaded(target, DEFAULT_MAX_PIXELS).rgb, squared_error=squared_error)


def closeness(networks: Sequence[LPIPS], rgb: NDArray[np.uint8], *, squared_error: float = 5.0) -> Score:
    """The score of being close to pixels (H, W, 3), as `lpips_to` with these networks."""
    wanted = to_unit_range(to_tensor(rgb, 1))
    with torch.no_grad():
        descriptions = [network.describe(wanted) for network in networks]

    def score(images: Tensor) -> Tensor:
        if images.shape[2:] != wanted.shape[2:]:
            raise ValueError(f"pictures of {tuple(images.shape[2:])} pixels, the target has {tuple(wanted.shape[2:])}")
        distance = squared_error * (images - wanted.to(images)).square().mean(dim=(1, 2, 3))
        for network, description in zip(networks, descriptions, strict=True):
            wanted_features = [tap.to(images) for tap in description]
            features = network.to(images.device).describe(images)
            distance = distance + network.distance(features, wanted_features) / len(networks)
        return -distance

    return score


class _Clamp(torch.autograd.Function):
    """Clamp to [0, 1]; outside of it only a gradient that leads back inside passes, for something that climbs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        passed: Tensor = gradient * (gradient * (x - x.clamp(0, 1)) <= 0)
        return passed


class Judge:
    """The score of what a network makes of quantised latents, in float32, cut to size (width, height) in pixels.

    latents: as of `vqcodec.models.autoencoder.Autoencoder.decode`, of so many levels.
    """

    def __init__(self, codec: Codec, score: Score, size: tuple[int, int]) -> None:
        self._network = codec.network
        if codec.dtype != torch.float32:
            self._network = copy.deepcopy(codec.network, {id(codec.network.encoder): codec.network.encoder})
            self._network.decoder.float()
        self._score, self._one_by_one = score, False
        self._width, self._height = size

    def __call__(self, latents: Sequence[Tensor], levels: int) -> Tensor:
        """(B,) of latents. Raises ScoreError."""
        decoded = in_colour(self._network.decode(latents, levels))
        images = to_unit_range(decoded[:, :, : self._height, : self._width])
        scores = self._ask(_Clamp.apply(images))  # type: ignore[no-untyped-call]
        if not bool(scores.isfinite().all()):
            raise ScoreError(f"the score is not a finite number: {scores.tolist()}")
        return scores

    def gradient(self, latents: Sequence[Tensor], levels: int) -> tuple[Tensor, list[Tensor]]:
        """Scores (B,), and the gradient of each with respect to each of its latents. Raises ScoreError."""
        latents = [latent.detach().requires_grad_() for latent in latents]
        scores = self(latents, levels)
        found = torch.autograd.grad(scores.sum(), latents, allow_unused=True) if scores.requires_grad else ()
        gradients = [gradient for gradient in found if gradient is not None and bool(gradient.isfinite().all())]
        if len(gradients) < len(latents):
            raise ScoreError("the score has no finite gradient: compute it from the pictures by differentiable means")
        return scores.detach(), gradients

    def _ask(self, images: Tensor) -> Tensor:
        if self._one_by_one:
            scores = torch.stack([self._score(image[None]) for image in images])
        else:
            scores = self._score(images)
            if isinstance(scores, Tensor) and scores.ndim == 0:
                self._one_by_one = True
                return scores[None] if len(images) == 1 else self._ask(images)
        if not isinstance(scores, Tensor) or scores.shape != (len(images),):
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ScoreError(f"the score of {len(images)} pictures must be a tensor ({len(images)},), got {shape}")
        return scores.float()
