"""What the Encoder of a model takes: pictures, or label maps made of them.

Shapes: B batch, H W pixels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.models.config import AutoencoderConfig
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import scale_pixels
from vqcodec.pictures.label_maps import LABEL_MAPS, ClassMap

#: what the class of a pixel is in a one-hot map, others being 0: as logits, probability 0.96 among 16 classes
ONE_HOT: Final = 6.0


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B, H, W) uint8 -> (B, classes, H, W) float32, `ONE_HOT` at each pixel's class, else 0."""
    return F.one_hot(labels.long(), classes).permute(0, 3, 1, 2) * ONE_HOT


def network_input(config: AutoencoderConfig, pixels: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """What a model's Encoder takes of pictures (B, H, W, 3): these in [-1, 1], or their one-hot label maps."""
    if config.label_map:
        return maps_input(config, LABEL_MAPS[config.label_map].of_each(pixels)).to(device)
    return scale_pixels(torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device))


def maps_input(config: AutoencoderConfig, labels: ClassMap) -> Tensor:
    """What the Encoder of a model of label maps takes of maps (B, H, W)."""
    return one_hot(torch.from_numpy(labels), config.channels)
