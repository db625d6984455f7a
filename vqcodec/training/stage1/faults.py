"""Figures of faults that one sees and that PSNR, LPIPS and DISTS hardly count: block borders, wrong colours.

Pictures are (B, 3, H, W) in [0, 1].
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.training.stage1.losses import COLOUR_BLOCK, chroma

#: red, green, blue and yellow, as far as 8 bits go
FLAT_COLOURS: Final = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 1.0, 0.0))
#: side in pixels of a flat picture
_FLAT_SIDE: Final = 128


def chroma_error(pictures: Tensor, originals: Tensor) -> Tensor:
    """(B,): mean absolute error of Cb and Cr of 8 x 8 pixels, of 255."""
    return 255 * chroma(F.avg_pool2d(pictures - originals, COLOUR_BLOCK)).abs().mean(dim=(1, 2, 3))


def flat_error(model: Autoencoder, levels: int) -> Tensor:
    """(4,): how far the mean colour in the middle of flat saturated pictures is from theirs, of 255; largest
    channel."""
    like = next(model.parameters())
    colours = torch.tensor(FLAT_COLOURS, device=like.device)
    pictures = (2 * colours - 1)[:, :, None, None].expand(-1, -1, _FLAT_SIDE, _FLAT_SIDE)
    decoded = model.detokenize(model.tokenize(pictures.contiguous(memory_format=torch.channels_last), levels))
    middle = slice(_FLAT_SIDE // 4, 3 * _FLAT_SIDE // 4)
    means = (decoded[:, :, middle, middle].float().clamp(-1, 1).mean(dim=(2, 3)) + 1) / 2
    return 255 * (means - colours).abs().amax(dim=1)
