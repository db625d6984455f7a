"""What a quality or a limit in bytes comes to: levels, and the weight of a bit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.rates.rate import (
    LARGEST_WEIGHT,
    OperatingPoint,
    Rate,
    RateError,
    largest_weights,
    point_of_quality,
    within,
)

FOUR = largest_weights((16, 16, 16, 16))


def size(point: OperatingPoint) -> int:
    """Of an imaginary picture: 1000 bytes a level, a tenth of a level less for each 0.1 of weight."""
    return round(1000 * point.levels * (1 - point.weight))


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 8))
def test_more_quality_is_more_levels_or_less_weight(one: float, other: float, levels: int) -> None:
    low, high = (point_of_quality(quality, largest_weights([16] * levels)) for quality in sorted((one, other)))
    assert (low.levels, -low.weight) <= (high.levels, -high.weight)
    assert 1 <= low.levels <= levels
    assert 0 <= low.weight <= LARGEST_WEIGHT


def test_the_ends_of_quality() -> None:
    assert point_of_quality(100, FOUR) == OperatingPoint(4)
    assert point_of_quality(50, FOUR) == OperatingPoint(2)
    assert point_of_quality(0, FOUR) == OperatingPoint(1, LARGEST_WEIGHT)


@given(st.integers(600, 6000), st.integers(1, 4))
def test_a_limit_is_kept_and_made_use_of(limit: int, levels: int) -> None:
    point = within(limit, FOUR[:levels], size)
    assert size(point) <= limit
    assert point.levels <= levels
    if point.weight:
        assert size(OperatingPoint(point.levels)) > limit
        step = FOUR[point.levels - 1] / 32  # the weight is the least that fits, within such a step
        assert point.weight <= step or size(OperatingPoint(point.levels, point.weight - 1.001 * step)) > limit
    elif point.levels < levels:
        assert size(OperatingPoint(point.levels + 1, 0.15)) > limit  # not even the smallest of a level more


def test_the_codes_of_two_resolutions_are_left_as_they_are() -> None:
    """Nearly: cheaper ones make a picture worse than that of a level less, and larger."""
    assert largest_weights((16, 16)) == (0.4, 0.15)
    assert largest_weights((16, 16, 8)) == (0.4, 0.05, 0.05)
    assert Rate(quality=50.0).point(10_000, (16, 8, 8), size) == OperatingPoint(2, 0.025)
    assert Rate(max_bytes=1940).point(10_000, (16, 8), size).levels == 2
    assert Rate(max_bytes=1899).point(10_000, (16, 8), size) == OperatingPoint(1)


def test_a_limit_that_nothing_keeps() -> None:
    with pytest.raises(RateError, match="599 bytes are too few: the smallest stream of this picture has 600"):
        within(599, FOUR, size)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Rate(), OperatingPoint(4)),
        (Rate(3), OperatingPoint(3)),
        (Rate(3, weight=0.1), OperatingPoint(3, 0.1)),
        (Rate(quality=75), OperatingPoint(3)),
        (Rate(max_bytes=2000), OperatingPoint(2)),
        (Rate(1, max_bytes=2000), OperatingPoint(1)),
        (Rate(bits_per_pixel=1.601), OperatingPoint(2)),
    ],
)
def test_a_rate_is_an_operating_point(rate: Rate, expected: OperatingPoint) -> None:
    assert rate.point(10_000, (16, 16, 16, 16), size) == expected
    assert rate.is_plain == (rate in (Rate(), Rate(3)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"quality": 101.0}, "quality 101: take 0 to 100"),
        ({"quality": -1.0}, "quality -1"),
        ({"quality": float("nan")}, "quality nan"),
        ({"weight": 0.5}, "weight 0.5: take 0 to 0.4"),
        ({"weight": -0.1}, "weight -0.1"),
        ({"max_bytes": 0}, "max_bytes 0: take more than 0"),
        ({"bits_per_pixel": -1.0}, "bits_per_pixel -1"),
        ({"bits_per_pixel": float("inf")}, "bits_per_pixel inf"),
        ({"quality": 50.0, "max_bytes": 9}, "quality and max_bytes do not go together"),
        ({"quality": 50.0, "levels": 2}, "quality and levels do not go together"),
        ({"bits_per_pixel": 0.5, "weight": 0.1}, "bits_per_pixel and weight do not go together"),
    ],
)
def test_what_is_no_rate(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rate(**fields)
