from __future__ import annotations

import numpy as np
import pytest
import torch

from vqcodec.benchmarks.rate_distortion.frechet import frechet_distance, window_means


def gaussian(mean: np.ndarray, root: np.ndarray, count: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((count, len(mean))) @ root + mean).astype(np.float32)


def test_the_distance_is_the_formula() -> None:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), with the square root by eigenvalues of S1 S2."""
    generator = np.random.default_rng(3)
    first = gaussian(np.zeros(5), generator.standard_normal((5, 5)), 40, 1)
    second = gaussian(np.ones(5), generator.standard_normal((5, 5)), 60, 2)
    s1, s2 = np.cov(first.astype(float).T), np.cov(second.astype(float).T)
    root_trace = np.sqrt(np.linalg.eigvals(s1 @ s2).astype(complex)).real.sum()
    means = np.square(first.mean(axis=0, dtype=float) - second.mean(axis=0, dtype=float)).sum()
    expected = means + np.trace(s1) + np.trace(s2) - 2 * root_trace
    assert expected > 1
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(second, first) == pytest.approx(expected, rel=1e-6)


def test_equal_sets_are_at_no_distance_with_fewer_rows_than_columns_too() -> None:
    features = gaussian(np.zeros(8), np.eye(8), 5, 0)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(features, features + 2) == pytest.approx(8 * 4, rel=1e-5)


@pytest.mark.parametrize("shapes", [((1, 4), (5, 4)), ((5, 4), (5, 3)), ((5,), (5,))])
def test_features_that_make_no_gaussian_are_refused(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="features of shapes"):
        frechet_distance(*(np.zeros(shape, dtype=np.float32) for shape in shapes))


def test_windows_of_256_pixels_every_128() -> None:
    outputs = torch.arange(2 * 32 * 41, dtype=torch.float32).view(1, 2, 32, 41)  # of 512 x 656 pixels
    means = window_means(outputs)
    assert means.shape == (3 * 4, 2)
    np.testing.assert_allclose(means[0], outputs[0, :, :16, :16].mean(dim=(1, 2)))
    np.testing.assert_allclose(means[5], outputs[0, :, 8:24, 8:24].mean(dim=(1, 2)))
    small = window_means(outputs[:, :, :3, :5])
    np.testing.assert_allclose(small, outputs[0, :, :3, :5].mean(dim=(1, 2))[None])
