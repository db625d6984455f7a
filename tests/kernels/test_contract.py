"""The contract: brute force in Python's own floats, ties, and what is not finite."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqcodec.kernels import contract
from vqcodec.kernels.contract import METRICS, Metric, exact_nearest


def brute_force(z: list[list[float]], codes: list[list[float]], metric: str) -> list[int]:
    """One operation after the other, as the contract is written."""
    found = []
    for vector in z:
        costs = []
        for code in codes:
            total = length = 0.0
            for ours, theirs in zip(vector, code, strict=True):
                total = total + (ours * theirs if metric == "cosine" else (ours - theirs) * (ours - theirs))
                length = length + theirs * theirs
            if metric == "cosine":
                total = -total * abs(total) / length if length > 0 else 0.0
            costs.append(total)
        found.append(costs.index(min(costs)))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 20), st.integers(1, 30), st.integers(1, 9), st.sampled_from(METRICS), st.integers(1, 200),
    st.sampled_from([1, 1000]), st.integers(0, 2**31),
)  # fmt: skip
def test_it_is_brute_force(
    count: int, codes: int, dimension: int, metric: Metric, elements: int, steps: int, seed: int
) -> None:
    """On coarse grids, where ties are common, and on fine ones."""
    generator = torch.Generator().manual_seed(seed)
    z, codebook = (
        torch.randint(-3 * steps, 3 * steps + 1, (rows, dimension), generator=generator).float() / steps
        for rows in (count, codes)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "_ELEMENTS", elements)
        assert exact_nearest(z, codebook, metric).tolist() == brute_force(z.tolist(), codebook.tolist(), metric)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lowest_index(metric: Metric) -> None:
    codebook = torch.tensor([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0], [2.0, 1.0]])
    z = torch.tensor([[1.0, 1.0], [1.0, 3.0], [3.0, 1.0]])
    assert exact_nearest(z, codebook, metric).tolist() == [0, 1, 0]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_near_nothing(metric: Metric, broken: float) -> None:
    codebook = torch.tensor([[-1.0, 0.0], [broken, 1.0], [1.0, broken], [1.0, 1.0]])
    z = torch.tensor([[broken, 1.0], [1.0, 1.0], [1.0, broken], [-1.0, 0.1]])
    assert exact_nearest(z, codebook, metric).tolist() == [0, 3, 0, 0]


def test_a_code_of_length_0_is_at_right_angles_to_all() -> None:
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    codebook = torch.tensor([[0.0, 1e-30], [1.0, 0.0], [0.0, 0.0]])
    assert exact_nearest(z, codebook, "cosine").tolist() == [1, 0, 0]
    assert exact_nearest(z, codebook.flip(0), "cosine").tolist() == [1, 0, 0]


def test_float64_tells_apart_what_float32_cannot() -> None:
    codebook = torch.tensor([[1.0 + 2.0**-22, 0.0], [1.0, 0.0], [1.0 + 2.0**-23, 0.0]])
    z: Tensor = torch.tensor([[1.0 + 2.0**-23, 0.25], [1.0, 0.25], [2.0, 0.25]])
    assert exact_nearest(z, codebook, "l2").tolist() == [2, 1, 0]
