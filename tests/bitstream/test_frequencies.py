"""Counts to frequencies, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.bitstream import quantise_frequencies
from vqcodec.bitstream.frequencies import uniform_frequencies


@given(st.lists(st.integers(0, 2**30), min_size=1, max_size=200), st.integers(8, 24))
def test_quantised_frequencies_sum_exactly(counts: list[int], total_bits: int) -> None:
    frequencies = quantise_frequencies(counts, total_bits)
    assert frequencies.sum() == 2**total_bits
    assert frequencies.min() >= 1
    total, free = sum(counts), 2**total_bits - len(counts)
    if total:
        assert all(abs(int(f) - 1 - c * free / total) < 1 for f, c in zip(frequencies, counts, strict=True))


def test_quantised_frequencies_by_hand() -> None:
    assert quantise_frequencies([0, 0, 0], 4).tolist() == [6, 5, 5]
    assert quantise_frequencies([[3, 1, 0], [0, 0, 7]], 4).tolist() == [[11, 4, 1], [1, 1, 14]]
    assert quantise_frequencies([5]).tolist() == [2**24]


@pytest.mark.parametrize(
    ("counts", "total_bits"), [([-1, 2], 24), ([1.5], 24), ([], 24), ([1, 1, 1], 1), ([2**39], 24), ([2**38] * 2, 24)]
)
def test_quantise_frequencies_refuses(counts: list[int], total_bits: int) -> None:
    with pytest.raises(ValueError, match=r"counts|fit"):
        quantise_frequencies(counts, total_bits)


def test_uniform_frequencies_refuses() -> None:
    with pytest.raises(ValueError, match="codebook"):
        uniform_frequencies(0)
