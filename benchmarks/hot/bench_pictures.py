"""Pixels to tensors and back, and the measures of distortion that need no network; 768 x 512 pixels."""

from __future__ import annotations

import numpy as np
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from vqcodec.benchmarks.rate_distortion.metrics import ms_ssim, psnr_db
from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.pictures.image import from_tensor, to_tensor, to_unit_range

REFERENCE = synthetic_picture(768, 512)
#: a little off, as a decoded picture is
PICTURE = np.bitwise_xor(REFERENCE, np.uint8(3))


def test_to_tensor(benchmark: BenchmarkFixture) -> None:
    assert benchmark(to_tensor, REFERENCE, 16).shape == (1, 3, 512, 768)


def test_from_tensor(benchmark: BenchmarkFixture) -> None:
    pixels = benchmark(from_tensor, to_tensor(REFERENCE, 16), 768, 512)
    assert np.array_equal(pixels, REFERENCE)


def test_psnr(benchmark: BenchmarkFixture) -> None:
    assert benchmark(psnr_db, REFERENCE, PICTURE) > 30


def test_ms_ssim(benchmark: BenchmarkFixture) -> None:
    first, second = (to_unit_range(to_tensor(pixels, 16)) for pixels in (REFERENCE, PICTURE))
    with torch.inference_mode():
        assert 0.5 < float(benchmark(ms_ssim, first, second)) < 1
