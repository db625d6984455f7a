"""Pictures at low resolution and back: what `vqcodec upscale` and its condition have in common.

Shapes: B batch, c channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

#: of `consistent`; what is left of the difference after so many is under a level of 255 in photographs
_ROUNDS = 8


def shrink(images: Tensor, factor: int) -> Tensor:
    """(B, c, H, W) -> (B, c, H / factor, W / factor): the mean of each block of pixels."""
    return F.avg_pool2d(images, factor)


def enlarge(images: Tensor, factor: int) -> Tensor:
    """(B, c, H, W) -> (B, c, H * factor, W * factor), bicubic."""
    return F.interpolate(images, scale_factor=factor, mode="bicubic", align_corners=False)


def consistent(images: Tensor, low: Tensor, factor: int) -> Tensor:
    """`images` (B, c, H, W), moved so that it is `low` (B, c, H / factor, W / factor) when shrunk. Both in [-1, 1].

    Iterative back-projection (Irani and Peleg, 1991): what is finer than `low` stays as it is.
    """
    for _ in range(_ROUNDS):
        images = (images + enlarge(low - shrink(images, factor), factor)).clamp(-1, 1)
    return images
