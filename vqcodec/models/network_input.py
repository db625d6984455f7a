"""What the Encoder of a model takes, pictures, their luma, or label maps made of them; and its Decoder's pictures.

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
from vqcodec.pictures.image import checked_pixels, padded, scale_pixels
from vqcodec.pictures.label_maps import LABEL_MAPS, ClassMap

#: what the class of a pixel is in a one-hot map, others being 0: as logits, probability 0.96 among 16 classes
ONE_HOT: Final = 6.0
#: of red, green and blue (ITU-R BT.601): the gray that a model of one channel takes of a picture
_LUMA: Final = (0.299, 0.587, 0.114)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B, H, W) uint8 -> (B, classes, H, W) float32, `ONE_HOT` at each pixel's class, else 0."""
    return F.one_hot(labels.long(), classes).permute(0, 3, 1, 2) * ONE_HOT


def network_input(config: AutoencoderConfig, pixels: Pixels, device: torch.device | str = "cpu") -> Tensor:
    """What a model's Encoder takes of pictures (B, H, W, 3): these in [-1, 1], their luma, or their one-hot label maps,
    (B, C, H, W)."""
    if config.label_map:
        return maps_input(config, LABEL_MAPS[config.label_map].of_each(pixels)).to(device)
    return in_channels(config, scale_pixels(torch.from_numpy(np.require(pixels, requirements=["C", "W"])).to(device)))


def picture_input(config: AutoencoderConfig, rgb: Pixels) -> Tensor:
    """The same of one picture (H, W, 3) of any size, `padded` to multiples of f. Raises ImageError for other arrays."""
    return network_input(config, padded(checked_pixels(rgb), config.downsampling_factor)[None])


def in_channels(config: AutoencoderConfig, images: Tensor) -> Tensor:
    """Images (B, 3, H, W), or their luma (B, 1, H, W) where the Encoder takes one channel."""
    if config.channels != 1:
        return images
    return (images * images.new_tensor(_LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def in_colour(images: Tensor) -> Tensor:
    """What a Decoder gives, (B, C, H, W), with the one channel of gray pictures as red, green and blue."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def maps_input(config: AutoencoderConfig, labels: ClassMap) -> Tensor:
    """What the Encoder of a model of label maps takes of maps (B, H, W)."""
    return one_hot(torch.from_numpy(labels), config.channels)
