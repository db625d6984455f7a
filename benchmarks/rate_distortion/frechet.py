"""A distance between sets of pictures, in the manner of the Fréchet inception distance (Heusel et al., 2017).

It is *not* FID, whose network is Inception v3: here it is VGG16 (torchvision's ImageNet weights), relu5_3, which LPIPS
computes anyway. Its outputs, (512, H / 16, W / 16), are averaged over windows of 256 x 256 pixels every 128 pixels,
after the 256-pixel patches of Mentzer et al., 2020 (HiFiC); a smaller picture is one window. Over all windows of all
pictures the originals give one Gaussian and the decoded pictures another; the distance is that of these Gaussians.
Values can be compared with each other for the same pictures, with nothing else.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

#: what results call it
FRECHET_NAME: Final = "frechet_vgg16_relu5_3"
#: pictures; of fewer the Gaussians say little
FRECHET_MINIMUM_IMAGES: Final = 50

# in outputs of relu5_3, which stand for 16 x 16 pixels each
_WINDOW: Final = 256 // 16
_STEP: Final = 128 // 16


def window_means(outputs: Tensor) -> NDArray[np.float32]:
    """(1, C, h, w) to the means over windows (n, C); what is left over at the right and lower border counts nowhere."""
    size = [min(_WINDOW, side) for side in outputs.shape[2:]]
    means = F.avg_pool2d(outputs, size, stride=_STEP)
    return means[0].flatten(1).T.float().cpu().numpy()


def frechet_distance(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features, (n, C) and (m, C); 0 for equal sets.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The last trace is the sum of the singular values of X1 X2^T, where
    S = X^T X (Dowson and Landau, 1982): exact for any n, also where the covariances are singular.
    Raises ValueError for fewer than two rows or unequal C.
    """
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1] or min(len(first), len(second)) < 2:
        raise ValueError(f"features of shapes {first.shape} and {second.shape}")
    means, roots = [], []
    for features in (first.astype(np.float64), second.astype(np.float64)):
        means.append(features.mean(axis=0))
        roots.append((features - means[-1]) / np.sqrt(len(features) - 1))
    shared = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    traces = sum(float(np.square(root).sum()) for root in roots)
    return max(0.0, float(np.square(means[0] - means[1]).sum() + traces - 2 * shared))
