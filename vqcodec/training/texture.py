"""A loss on texture: local statistics of a network's features, in the place of features at each position.

LPIPS asks for the same features in the same places, which a Decoder that does not know where each leaf is answers best
with a blur. Here the means and the standard deviations of features over windows count: a texture of the same kind is
as good. After Wasserstein distortion (Qiu et al., 2024, equation 5; as a codec's loss: Balle et al., 2025), with the
normalised features and the channel weights of LPIPS.
"""

from __future__ import annotations

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from vqcodec.perceptual import LPIPS, unit_channels

#: side of the windows, pixels
WINDOW: Final = 32
#: added to variances: the root's gradient is infinite at 0
_SMALLEST_VARIANCE: Final = 1e-5


def texture_distance(network: LPIPS, first: list[Tensor], second: list[Tensor], picture_side: int) -> Tensor:
    """Mean over the batch of the distance of two descriptions by `network.describe`; 0 for equal ones.

    picture_side: height of the pictures, which gives the features' strides. Windows of 32 pixels, half overlapping, are
    cut down to what there is.
    """
    total = first[0].new_zeros((), dtype=torch.float32)
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        window = max(2, round(WINDOW * a.shape[2] / picture_side))
        mean_a, deviation_a = _statistics(a, window)
        mean_b, deviation_b = _statistics(b, window)
        difference = (mean_a - mean_b).square() + (deviation_a - deviation_b).square()
        total = total + network.weigh(number, difference).mean()
    return total


def _statistics(features: Tensor, window: int) -> tuple[Tensor, Tensor]:
    """Local means and standard deviations (B, C, h', w') of features (B, C, h, w)."""
    features = unit_channels(features.float())
    sides = [min(window, side) for side in features.shape[2:]]
    stride = [max(1, side // 2) for side in sides]
    mean = F.avg_pool2d(features, sides, stride)
    variance = F.avg_pool2d(features.square(), sides, stride) - mean.square()
    return mean, (variance.clamp_min(0) + _SMALLEST_VARIANCE).sqrt()
