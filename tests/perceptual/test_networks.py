"""LPIPS and DISTS with their real weights, which are not part of the project.

VQCODEC_PERCEPTUAL_WEIGHTS names their folder. The stored values are those of the packages lpips 0.1.4 and DISTS_pytorch
0.1, with the same backbones, for these pictures.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vqcodec.benchmarks.rate_distortion.metrics import Metrics
from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.pictures.arrays import Pixels

VARIABLE = "VQCODEC_PERCEPTUAL_WEIGHTS"


def noisy(rgb: Pixels) -> Pixels:
    noise = np.random.default_rng(7).integers(-30, 31, rgb.shape)
    return np.clip(rgb.astype(int) + noise, 0, 255).astype(np.uint8)


def blurred(rgb: Pixels) -> Pixels:
    means = (rgb[:, :-1].astype(int) + rgb[:, 1:]) // 2
    return np.concatenate([means, rgb[:, -1:]], axis=1).astype(np.uint8)


@pytest.mark.parametrize(
    ("distorted", "lpips", "lpips_vgg", "dists"),
    [(noisy, 0.2027235, 0.2586803, 0.2169887), (blurred, 0.0017266, 0.0268636, 0.0476043)],
)
def test_the_packages_values_are_met(
    distorted: Callable[[Pixels], Pixels], lpips: float, lpips_vgg: float, dists: float
) -> None:
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with the perceptual networks' weights")
    metrics = Metrics(Path(folder))
    assert metrics.absent == {}
    rgb = synthetic_picture(96, 80, seed=4)
    values = metrics.measure(rgb, distorted(rgb)).values
    expected = {"lpips": lpips, "lpips_vgg": lpips_vgg, "dists": dists}
    assert {name: values[name] for name in expected} == pytest.approx(expected, abs=2e-6)
