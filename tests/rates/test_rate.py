"""What a quality or a limit in bytes comes to: levels, where, and the weight of a bit."""

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
    point_of_quality,
    within,
)


def size(point: OperatingPoint) -> int:
    """Of an imaginary picture: 1000 bytes a level, a tenth of a level less for each 0.1 of weight; 20 for a map."""
    map_bytes = 20 if point.share < 1 else 0
    return round(1000 * (point.levels - 1 + point.share) * (1 - point.weight)) + map_bytes


@given(st.floats(0, 100), st.floats(0, 100), st.integers(1, 8), st.booleans())
def test_more_quality_is_more_levels_in_more_places(one: float, other: float, levels: int, parts: bool) -> None:
    low, high = (point_of_quality(quality, levels, parts=parts) for quality in sorted((one, other)))
    assert (low.levels, -low.weight, low.share) <= (high.levels, -high.weight, high.share)
    assert 1 <= low.levels <= levels
    assert 0 <= low.weight <= LARGEST_WEIGHT
    assert low.share == 1 if not parts or low.levels == 1 else 0 < low.share <= 1


def test_the_ends_of_quality() -> None:
    assert point_of_quality(100, 4) == OperatingPoint(4)
    assert point_of_quality(50, 4) == OperatingPoint(2)
    assert point_of_quality(62.5, 4) == OperatingPoint(3, share=0.5)
    assert point_of_quality(62.5, 4, parts=False) == OperatingPoint(3)
    assert point_of_quality(0, 4) == OperatingPoint(1, LARGEST_WEIGHT)


@given(st.integers(600, 6000), st.integers(1, 4), st.booleans())
def test_a_limit_is_kept_and_made_use_of(limit: int, levels: int, parts: bool) -> None:
    point = within(limit, levels, size, parts=parts)
    assert size(point) <= limit
    assert point.levels <= levels
    if point.weight:
        assert point.levels == 1
        step = LARGEST_WEIGHT / 64  # the weight is the least that fits, within such a step
        assert point.weight <= step or size(OperatingPoint(1, point.weight - 1.001 * step)) > limit
    elif point.share < 1:
        assert parts
        assert size(OperatingPoint(point.levels, share=point.share + 1 / 64)) > limit
    elif point.levels < levels:
        assert size(OperatingPoint(point.levels + 1, share=1 / 64 if parts else 1)) > limit


def test_a_limit_that_nothing_keeps() -> None:
    with pytest.raises(RateError, match="599 bytes are too few: the smallest stream of this picture has 600"):
        within(599, 4, size)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (Rate(), OperatingPoint(4)),
        (Rate(3), OperatingPoint(3)),
        (Rate(3, weight=0.1), OperatingPoint(3, 0.1)),
        (Rate(quality=75), OperatingPoint(3)),
        (Rate(quality=80), OperatingPoint(4, share=pytest.approx(0.2))),
        (Rate(max_bytes=2000), OperatingPoint(2)),
        (Rate(max_bytes=2270), OperatingPoint(3, share=0.25)),
        (Rate(1, max_bytes=2000), OperatingPoint(1)),
        (Rate(bits_per_pixel=1.601), OperatingPoint(2)),
        (Rate(5), OperatingPoint(4)),
    ],
)
def test_a_rate_is_an_operating_point(rate: Rate, expected: OperatingPoint) -> None:
    assert rate.point(10_000, 4, size) == expected
    assert rate.is_plain == (rate in (Rate(), Rate(3), Rate(5)))


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


@given(st.integers(1, 16), st.integers(1, 16))
def test_a_whole_share_of_the_qualities_is_a_whole_level(levels: int, number: int) -> None:
    number = min(number, levels)
    assert point_of_quality(100 * number / levels, levels) == OperatingPoint(number)
    assert point_of_quality(100 / levels * number, levels, parts=False) == OperatingPoint(number)
