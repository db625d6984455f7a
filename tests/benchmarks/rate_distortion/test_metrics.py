from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from perceptual_reference import dists, lpips

from vqcodec.benchmarks.rate_distortion.metrics import (
    LPIPS_MINIMUM_SIDE,
    MS_SSIM_MINIMUM_SIDE,
    VGG16_MINIMUM_SIDE,
    Metrics,
    ms_ssim,
    psnr_db,
)
from vqcodec.perceptual.networks import DISTS, LPIPS


def pictures(height: int = 48, width: int = 67) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    first = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    noise = generator.integers(-40, 41, first.shape)
    return first, np.clip(first + noise, 0, 255).astype(np.uint8)


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(pixels, 2, 0).copy())[None].float() / 255


@pytest.mark.parametrize(
    ("difference", "changed", "expected"),
    [
        (1, 12, 20 * math.log10(255)),  # every sample off by one
        (255, 12, 0.0),
        (2, 3, 10 * math.log10(255**2 / (4 * 3 / 12))),
        (0, 12, math.inf),
    ],
)
def test_psnr_is_what_one_computes_by_hand(difference: int, changed: int, expected: float) -> None:
    reference = np.zeros((2, 2, 3), dtype=np.uint8)
    picture = reference.copy()
    picture.reshape(-1)[:changed] = difference
    assert psnr_db(reference, picture) == pytest.approx(expected)
    assert psnr_db(picture, reference) == pytest.approx(expected)


def test_psnr_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        psnr_db(np.zeros((2, 2, 3), dtype=np.uint8), np.zeros((2, 1, 3), dtype=np.uint8))


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_lpips_is_the_formula(perceptual_weights: Path, backbone: str) -> None:
    x, y = pictures()
    expected = lpips(perceptual_weights, x / 255, y / 255, backbone)
    measured = LPIPS(perceptual_weights, backbone)(as_tensor(x), as_tensor(y))  # type: ignore[arg-type]
    assert expected > 0.01
    assert float(measured) == pytest.approx(expected, rel=1e-4)


def test_dists_is_the_formula(perceptual_weights: Path) -> None:
    x, y = pictures()
    expected = dists(perceptual_weights, x / 255, y / 255)
    assert expected > 0.01
    assert float(DISTS(perceptual_weights)(as_tensor(x), as_tensor(y))) == pytest.approx(expected, rel=1e-4)


def test_metrics_give_the_networks_values_whatever_was_compared_before(perceptual_weights: Path) -> None:
    x, y = pictures()
    metrics = Metrics(perceptual_weights)
    assert metrics.absent == {}
    for reference, picture in ((x, y), (x, x), (y, x), (x, y)):
        values = metrics.measure(reference, picture).values
        assert list(values) == ["psnr_db", "lpips", "lpips_vgg", "dists"]  # too small for MS-SSIM
        assert values["lpips"] == pytest.approx(
            lpips(perceptual_weights, reference / 255, picture / 255, "alex"), rel=1e-4
        )
        assert values["lpips_vgg"] == pytest.approx(
            lpips(perceptual_weights, reference / 255, picture / 255, "vgg"), rel=1e-4
        )
        assert values["dists"] == pytest.approx(
            dists(perceptual_weights, reference / 255, picture / 255), rel=1e-4, abs=1e-6
        )


def test_a_reference_changed_in_place_is_a_new_reference(perceptual_weights: Path) -> None:
    x, y = pictures()
    metrics = Metrics(perceptual_weights)
    metrics.measure(x, y)
    x[:] = y
    assert metrics.measure(x, y).values["dists"] == pytest.approx(0, abs=1e-6)


def test_equal_pictures_are_at_no_distance(perceptual_weights: Path) -> None:
    x, _ = pictures(MS_SSIM_MINIMUM_SIDE, MS_SSIM_MINIMUM_SIDE + 3)
    values = Metrics(perceptual_weights).measure(x, x).values
    expected = {"psnr_db": math.inf, "ms_ssim": 1, "lpips": 0, "lpips_vgg": 0, "dists": 0}
    assert values == pytest.approx(expected, abs=1e-6)


def test_features_are_those_of_the_decoded_picture(perceptual_weights: Path) -> None:
    x, y = pictures()
    metrics = Metrics(perceptual_weights)
    features = metrics.measure(x, y).features
    assert features is not None
    assert features.shape[0] == 1  # one window
    np.testing.assert_array_equal(features, metrics.features(y))
    assert not np.allclose(features, metrics.features(x))


def test_metrics_that_a_small_picture_is_too_small_for_are_left_out(perceptual_weights: Path) -> None:
    metrics = Metrics(perceptual_weights)
    assert metrics.names_for(2000, MS_SSIM_MINIMUM_SIDE) == ("psnr_db", "ms_ssim", "lpips", "lpips_vgg", "dists")
    assert metrics.names_for(MS_SSIM_MINIMUM_SIDE - 1, 2000) == ("psnr_db", "lpips", "lpips_vgg", "dists")
    for side, names in (
        (LPIPS_MINIMUM_SIDE, ["psnr_db", "lpips", "lpips_vgg", "dists"]),
        (LPIPS_MINIMUM_SIDE - 1, ["psnr_db", "lpips_vgg", "dists"]),
        (VGG16_MINIMUM_SIDE, ["psnr_db", "lpips_vgg", "dists"]),
        (VGG16_MINIMUM_SIDE - 1, ["psnr_db", "dists"]),
        (1, ["psnr_db", "dists"]),
    ):
        assert list(metrics.measure(*pictures(side, side)).values) == names


def test_absent_weights_are_told_and_the_other_metrics_run(perceptual_weights: Path, tmp_path: Path) -> None:
    assert set(Metrics(None).absent) == {"lpips", "lpips_vgg", "dists"}
    without = Metrics(None).measure(*pictures())
    assert (list(without.values), without.features) == (["psnr_db"], None)
    for name in ("alexnet_conv_fp16", "lpips_lin_alex_v0.1"):
        (tmp_path / f"{name}.safetensors").write_bytes((perceptual_weights / f"{name}.safetensors").read_bytes())
    metrics = Metrics(tmp_path)
    assert "vgg16_conv_fp16.safetensors: no such file" in metrics.absent["dists"]
    assert list(metrics.measure(*pictures()).values) == ["psnr_db", "lpips"]


def test_ms_ssim_of_flat_pictures_is_the_luminance_term_by_hand() -> None:
    side = MS_SSIM_MINIMUM_SIDE
    x, y = torch.full((1, 3, side, side), 0.5), torch.full((1, 3, side, side), 0.25)
    luminance = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert float(ms_ssim(x.double(), y.double())) == pytest.approx(luminance**0.1333)


def test_ms_ssim_falls_with_noise_and_needs_a_least_size() -> None:
    x, _ = pictures(MS_SSIM_MINIMUM_SIDE, MS_SSIM_MINIMUM_SIDE)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).permute(2, 0, 1)[None]
    clean = as_tensor(x)
    values = [float(ms_ssim(clean, (clean + sigma * noise).clamp(0, 1))) for sigma in (0.0, 0.05, 0.2, 0.8)]
    assert values[0] == pytest.approx(1, abs=1e-6)
    assert values == sorted(values, reverse=True)
    assert values[-1] < 0.9
    with pytest.raises(ValueError, match="MS-SSIM needs"):
        ms_ssim(clean[:, :, 1:], clean[:, :, 1:])


def test_ms_ssim_is_what_another_implementation_gives() -> None:
    """The value is that of the package pytorch-msssim 1.0.0 for the same pictures."""
    x, _ = pictures(192, 208)
    x = np.repeat(np.repeat(x[::8, ::8], 8, axis=0), 8, axis=1)
    noise = np.random.default_rng(2).integers(-40, 41, x.shape)
    y = np.clip(x + noise, 0, 255).astype(np.uint8)
    assert float(ms_ssim(as_tensor(x).double(), as_tensor(y).double())) == pytest.approx(0.9772306, abs=1e-6)
