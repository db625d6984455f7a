"""The gradient by the pixels: frozen networks that are kept in autocast's type change nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from vqcodec.perceptual.networks import FrozenConvolutions
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.pixel_gradient import Part, PixelGradient
from vqcodec.training.stage1.presets import PRESETS


def gradient(perceptual_weights: Path, kept: torch.dtype) -> tuple[dict[str, Tensor], Tensor]:
    """Under autocast to bfloat16, with the frozen networks in `kept`."""
    tiny = PRESETS["tiny"]
    recipe = replace(tiny, training=replace(tiny.training, weights=LossWeights(dists=1, vgg_crop_size=32)))
    losses = PixelGradient(recipe, perceptual_weights, torch.device("cpu"), kept)
    frozen = [each for each in losses.loss.modules() if isinstance(each, FrozenConvolutions)]
    assert len(frozen) == 3  # of LPIPS twice, and of DISTS
    assert all(buffer.dtype == kept for network in frozen for buffer in network.buffers())
    images, made = torch.rand(2, 2, 3, 48, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    last_layer = torch.ones(3, 3, 1, 1, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        reconstruction = torch.nn.functional.conv2d(made, last_layer)
        part = Part(images, torch.ones(2, dtype=torch.int64), reconstruction, 1.0)
        return losses(part, last_layer, 0, torch.Generator().manual_seed(2))


def test_frozen_networks_in_the_type_of_autocast_give_the_same_gradient(perceptual_weights: Path) -> None:
    (terms, by_pixels), (kept_terms, kept_by_pixels) = (
        gradient(perceptual_weights, kept) for kept in (torch.float32, torch.bfloat16)
    )
    assert set(terms) >= {"lpips_alex", "lpips_vgg", "dists"}
    assert all(torch.equal(terms[name], kept_terms[name]) for name in terms)
    assert torch.equal(by_pixels, kept_by_pixels)
    assert float(by_pixels.abs().max()) > 0
