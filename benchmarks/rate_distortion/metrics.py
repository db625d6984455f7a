"""How far a decoded picture is from the original.

All metrics compare 8-bit sRGB pictures of one size, at full size, without resizing or cropping:

    psnr_db   10 log10(255^2 / mean squared error) over all samples of R, G and B; dB, infinite for equal pictures
    ms_ssim   Wang et al., 2003: 5 scales, 11 x 11 Gaussian window of sigma 1.5 without padding, 2 x 2 means between the
              scales (an odd last row or column is dropped), K = (0.01, 0.03), range 1; of R, G and B, then their mean
    lpips     version 0.1 on AlexNet; lpips_vgg: on VGG16
    dists     version of the paper, without the reduction to 256 pixels that its own script does
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.benchmarks.rate_distortion.frechet import window_means
from vqcodec.perceptual.networks import DISTS, LPIPS, PerceptualWeightsError
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import scale_pixels, to_unit_range

_MS_SSIM_WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: pixels; below it the fifth scale is smaller than the window
MS_SSIM_MINIMUM_SIDE: Final = 11 * 2**4
#: pixels; below it AlexNet has nothing left to pool
LPIPS_MINIMUM_SIDE: Final = 31
#: pixels; below it VGG16 has nothing left to pool
VGG16_MINIMUM_SIDE: Final = 16
_MINIMUM_SIDES: Final = {
    "ms_ssim": MS_SSIM_MINIMUM_SIDE,
    "lpips": LPIPS_MINIMUM_SIDE,
    "lpips_vgg": VGG16_MINIMUM_SIDE,
}
_NETWORKS: Final[dict[str, Callable[[str | Path], LPIPS | DISTS]]] = {
    "lpips": LPIPS,
    "lpips_vgg": lambda weights: LPIPS(weights, "vgg"),
    "dists": DISTS,
}


def psnr_db(reference: Pixels, picture: Pixels) -> float:
    """Peak signal-to-noise ratio of two (H, W, 3) uint8 pictures, dB; infinite for equal ones."""
    if reference.shape != picture.shape:
        raise ValueError(f"pictures of different shapes: {reference.shape} and {picture.shape}")
    difference = reference.astype(np.int32) - picture
    mean_squared_error = float(np.square(difference).mean())
    return float("inf") if mean_squared_error == 0 else float(10 * np.log10(255**2 / mean_squared_error))


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Multi-scale structural similarity of (B, 3, H, W) in [0, 1]: (B,), 1 for equal pictures; higher is closer.

    Raises ValueError for a side below `MS_SSIM_MINIMUM_SIDE`.
    """
    if min(x.shape[2:]) < MS_SSIM_MINIMUM_SIDE:
        raise ValueError(f"MS-SSIM needs sides of {MS_SSIM_MINIMUM_SIDE} pixels, got {tuple(x.shape[2:])}")
    taps = torch.exp(-((torch.arange(11, dtype=x.dtype, device=x.device) - 5) ** 2) / (2 * 1.5**2))
    taps = taps / taps.sum()
    batch, channels, height, width = x.shape
    x, y = x.reshape(-1, 1, height, width), y.reshape(-1, 1, height, width)
    product = x.new_ones(batch * channels)
    for scale, weight in enumerate(_MS_SSIM_WEIGHTS):
        if scale:
            x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
        luminance, contrast = _ssim_terms(x, y, taps)
        last = scale == len(_MS_SSIM_WEIGHTS) - 1
        term = (luminance * contrast if last else contrast).mean(dim=(1, 2, 3))
        product = product * term.clamp_min(0) ** weight
    return product.view(batch, channels).mean(dim=1)


def _ssim_terms(x: Tensor, y: Tensor, taps: Tensor) -> tuple[Tensor, Tensor]:
    """Of planes (N, 1, H, W): the luminance term and the contrast and structure term, each (N, 1, H - 10, W - 10)."""

    def blurred(planes: Tensor) -> Tensor:
        return F.conv2d(F.conv2d(planes, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))

    mean_x, mean_y = blurred(x), blurred(y)
    variances = blurred(x * x) - mean_x.square() + blurred(y * y) - mean_y.square()
    covariance = blurred(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x.square() + mean_y.square() + 0.01**2)
    return luminance, (2 * covariance + 0.03**2) / (variances + 0.03**2)


@dataclass(frozen=True)
class Measured:
    """values: metrics by name. features: (n, 512), see `vqcodec.benchmarks.rate_distortion.frechet`; None without LPIPS
    on VGG16."""

    values: dict[str, float]
    features: NDArray[np.float32] | None


class Metrics:
    """All metrics that can be had. `absent` says for each of the others why not."""

    def __init__(self, weights: str | Path | None, device: torch.device | str = "cpu") -> None:
        """`weights`: the folder with the perceptual networks' weights (see `vqcodec.perceptual.networks`), or None."""
        self._device = torch.device(device)
        self._networks: dict[str, LPIPS | DISTS] = {}
        self._reference: _Reference | None = None
        self.absent: dict[str, str] = {}
        for name, make in _NETWORKS.items():
            if weights is None:
                self.absent[name] = "no folder with the perceptual networks' weights was given"
                continue
            try:
                self._networks[name] = make(weights).to(self._device).eval()
            except PerceptualWeightsError as error:
                self.absent[name] = str(error)

    def names_for(self, width: int, height: int) -> tuple[str, ...]:
        """What `measure` gives for a picture of this size in pixels: some metrics need a least size."""
        names = ("psnr_db", "ms_ssim", *self._networks)
        return tuple(name for name in names if min(width, height) >= _MINIMUM_SIDES.get(name, 1))

    @torch.inference_mode()
    def measure(self, reference: Pixels, picture: Pixels) -> Measured:
        """Compare two (H, W, 3) uint8 pictures by the metrics of `names_for`.

        Takes half the time for the pictures after the first that are compared with the same reference.
        """
        features = None
        values = {"psnr_db": psnr_db(reference, picture)}
        names = self.names_for(reference.shape[1], reference.shape[0])
        known = self._known_reference(reference)
        y = self._tensor(picture)
        if "ms_ssim" in names:
            values["ms_ssim"] = float(ms_ssim(known.tensor, y))
        for name, network in self._networks.items():
            if name in names:
                if name not in known.descriptions:
                    known.descriptions[name] = network.describe(known.tensor)
                description = network.describe(y)
                values[name] = float(network.distance(known.descriptions[name], description))
                if name == "lpips_vgg":
                    features = window_means(description[-1])
        return Measured(values, features)

    @torch.inference_mode()
    def features(self, picture: Pixels) -> NDArray[np.float32]:
        """Those of `Measured`, of one (H, W, 3) uint8 picture. Raises KeyError when LPIPS on VGG16 is absent."""
        return window_means(self._networks["lpips_vgg"].describe(self._tensor(picture))[-1])

    def _known_reference(self, reference: Pixels) -> _Reference:
        if self._reference is None or not np.array_equal(self._reference.pixels, reference):
            self._reference = _Reference(reference.copy(), self._tensor(reference), {})
        return self._reference

    def _tensor(self, pixels: Pixels) -> Tensor:
        return to_unit_range(scale_pixels(torch.from_numpy(np.array(pixels, order="C"))[None].to(self._device)))


@dataclass
class _Reference:
    """A picture, and what the networks saw in it, by metric."""

    pixels: Pixels
    tensor: Tensor
    descriptions: dict[str, list[Tensor]]
