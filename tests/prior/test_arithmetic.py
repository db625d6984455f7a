"""Whole numbers in float32: every operation against int64 or fractions, and the bounds that keep it exact."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.prior.arithmetic import (
    ATTENTION_ONE,
    ATTENTION_RANGE,
    COLUMNS,
    EXACT_FLOAT32,
    FEW_ROWS,
    LARGEST_STATE,
    LIMIT,
    LOGIT_BITS,
    MOST_SEEN,
    TOKEN_RANGE,
    Float32,
    InexactError,
    IntegerLinear,
    attended,
    clipped,
    normalised,
    token_frequencies,
)

ONES = np.ones(1, np.float32)
NOUGHTS = np.zeros(1, np.float32)


def whole(rng: np.random.Generator, *shape: int, limit: int = LIMIT) -> Float32:
    return rng.integers(-limit, limit + 1, shape).astype(np.float32)


def half_even(value: Fraction) -> int:
    return round(value)  # Python rounds fractions to the nearest even


# ---- products ----


def test_products_are_those_of_int64() -> None:
    rng = np.random.default_rng(1)
    shapes = (
        (1, 1, 1),
        (3, 5, 2),
        (17, 192, 64),
        (40, 768, 33),
        (FEW_ROWS, 30, 3 * COLUMNS),
        (FEW_ROWS + 1, 5, COLUMNS),
    )
    for rows, inner, outer in shapes:
        x, weight = whole(rng, rows, inner), whole(rng, inner, outer)
        made = IntegerLinear(weight, np.ones(outer, np.float32), np.zeros(outer, np.float32))(x)
        assert np.array_equal(made, x.astype(np.int64) @ weight.astype(np.int64))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_are_exact(sign: int) -> None:
    inner = (EXACT_FLOAT32 - 1) // LIMIT**2
    weight = np.full((inner, 1), sign * LIMIT, np.float32)
    weight[-1] = sign  # so that the sum is odd
    made = IntegerLinear(weight, ONES, NOUGHTS)(np.full((1, inner), LIMIT, np.float32))
    assert made[0, 0] == sign * (LIMIT**2 * (inner - 1) + LIMIT)


def test_weights_that_could_be_rounded_are_refused() -> None:
    inner = EXACT_FLOAT32 // LIMIT**2 + 1
    with pytest.raises(InexactError, match="float32 is exact below 2"):
        IntegerLinear(np.full((inner, 1), LIMIT, np.float32), ONES, NOUGHTS)


@given(st.integers(-LIMIT, LIMIT), st.floats(2**-20, 2**12, width=32), st.integers(-1000, 1000))
def test_scaling_is_two_operations_in_float32(total: int, scale: float, offset: int) -> None:
    weight = np.array([[total]], np.float32)
    made = IntegerLinear(weight, np.array([scale], np.float32), np.array([offset], np.float32))(ONES[None])
    product = np.float32(total) * np.float32(scale)
    assert made[0, 0] == half_even(Fraction(float(product + np.float32(offset))))


# ---- normalisation ----


@settings(max_examples=50)
@given(st.integers(1, 300), st.integers(0, 2**21), st.integers(0, 2**32))
def test_normalised(width: int, size: int, seed: int) -> None:
    x = whole(np.random.default_rng(seed), 2, width, limit=size)
    gain = np.array(21.3, np.float32)
    made = normalised(x, gain)
    for row, got in zip(x, made, strict=True):
        squares = sum(min(abs(int(value)), LARGEST_STATE) ** 2 for value in row)
        rms = math.sqrt(max(squares / width, 1.0))
        factor = np.float32(float(gain) / rms)
        expected = [max(-LIMIT, min(LIMIT, half_even(Fraction(float(value * factor))))) for value in row]
        assert got.tolist() == expected


def test_normalised_zeros_stay_zeros() -> None:
    assert not normalised(np.zeros((2, 3), np.float32), np.array(20, np.float32)).any()


def test_clipped() -> None:
    assert clipped(np.array([-200, -127, 0, 5, 127, 128], np.float32)).tolist() == [-127, -127, 0, 5, 127, 127]
    assert clipped(np.array([-200.0, 9.0], np.float32), 8).tolist() == [-8, 8]


# ---- attention ----


def exponentials(one: int, reach: int) -> Float32:
    values = np.rint(one * 0.5 ** (np.arange(reach + 1) / 2**LOGIT_BITS)).astype(np.float32)
    values[-1] = 0
    return values


def test_attention_is_a_mean_by_softmax() -> None:
    rng = np.random.default_rng(2)
    logits, values = rng.normal(0, 600, (2, 5, 40)).astype(np.float32), whole(rng, 2, 40, 8)
    table = exponentials(ATTENTION_ONE, ATTENTION_RANGE)
    made = attended(logits.copy(), values, table, np.array(1, np.float32))
    weights = np.exp2(logits.astype(np.float64) / 2**LOGIT_BITS)
    expected = (weights / weights.sum(axis=-1, keepdims=True)) @ values
    assert np.abs(made - expected).max() < 2


def test_the_largest_sums_of_attention_are_exact() -> None:
    values = np.full((1, MOST_SEEN, 1), LIMIT, np.float32)
    table = exponentials(ATTENTION_ONE, ATTENTION_RANGE)
    assert ATTENTION_ONE * MOST_SEEN * LIMIT < EXACT_FLOAT32
    assert attended(np.zeros((1, 1, MOST_SEEN), np.float32), values, table, np.array(1, np.float32)) == LIMIT


def test_what_is_far_below_has_no_weight() -> None:
    logits = np.array([[[0, -(2.0**24), -ATTENTION_RANGE]]], np.float32)
    values = np.array([[[3], [100], [100]]], np.float32)
    table = exponentials(ATTENTION_ONE, ATTENTION_RANGE)
    assert attended(logits, values, table, np.array(1, np.float32)) == 3


# ---- frequencies ----


@settings(max_examples=50)
@given(st.integers(1, 2000), st.integers(0, 2**32), st.sampled_from([1, 300, 30_000]))
def test_frequencies_are_one_or_more_and_sum_to_the_total(size: int, seed: int, spread: int) -> None:
    logits = np.rint(np.random.default_rng(seed).normal(0, spread, (3, size))).astype(np.float32)
    table = exponentials(2**24, TOKEN_RANGE).astype(np.float64)
    frequencies = token_frequencies(logits, table, 2**24)
    assert frequencies.dtype == np.int64
    assert (frequencies >= 1).all()
    assert (frequencies.sum(axis=1) == 2**24).all()
    expected = np.exp2((logits - logits.max(axis=1, keepdims=True)) / 2**LOGIT_BITS, dtype=np.float64)
    expected /= expected.sum(axis=1, keepdims=True)
    assert np.abs(frequencies / 2**24 - expected).max() < 2e-3 * size**0.5


def test_equal_logits_have_equal_frequencies_but_for_the_first() -> None:
    table = exponentials(2**24, TOKEN_RANGE).astype(np.float64)
    [frequencies] = token_frequencies(np.zeros((1, 3), np.float32), table, 2**24)
    assert frequencies.tolist() == [5592406, 5592405, 5592405]
