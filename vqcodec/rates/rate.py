"""Rates: how many levels, and what a bit weighs, for a quality or a limit in bytes. Imports no torch.

An *operating point* is a number of levels and the weight of a bit, see `vqcodec.rates.token_choice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

#: beyond it there is little left of a picture
LARGEST_WEIGHT: Final = 0.4
#: of two levels and more: beyond it a level less is smaller and better
LARGEST_WEIGHT_OF_MORE_LEVELS: Final = 0.15
#: the same of models whose levels have several resolutions: their fine codes are all of about the same length
LARGEST_WEIGHT_OF_RESOLUTIONS: Final = 0.05
#: how often weights are halved in the search for a limit: 3 % of the largest, a percent of the bytes or so
_HALVINGS: Final = 5


class RateError(ValueError):
    """No stream of the picture is as small as was asked for. smallest: bytes of the smallest one."""

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


@dataclass(frozen=True)
class OperatingPoint:
    """levels: 1 or more. weight: of a bit, 0 or more."""

    levels: int
    weight: float = 0.0


@dataclass(frozen=True)
class Rate:
    """What was asked for. levels: how many at most, None for all. The others as in `vqcodec.codec.Codec.encode`.

    Raises ValueError for values that are out of range or do not go together.
    """

    levels: int | None = None
    quality: float | None = None
    max_bytes: int | None = None
    bits_per_pixel: float | None = None
    weight: float = 0.0

    def __post_init__(self) -> None:
        limits = {"max_bytes": self.max_bytes, "bits_per_pixel": self.bits_per_pixel}
        targets = {"quality": self.quality} | limits
        names = [name for name, value in targets.items() if value is not None]
        names += ["weight"] if self.weight else []
        names += ["levels"] if self.levels is not None and self.quality is not None else []
        if len(names) > 1:
            raise ValueError(f"{' and '.join(names)} do not go together: take one of them")
        if self.quality is not None and not 0 <= self.quality <= 100:
            raise ValueError(f"quality {self.quality:g}: take 0 to 100")
        if not 0 <= self.weight <= LARGEST_WEIGHT:
            raise ValueError(f"weight {self.weight:g}: take 0 to {LARGEST_WEIGHT:g}")
        for name, limit in limits.items():
            if limit is not None and not 0 < limit < math.inf:
                raise ValueError(f"{name} {limit:g}: take more than 0, and no more than there is")

    @property
    def is_plain(self) -> bool:
        """Whether it is that of the nearest codes."""
        return self == Rate(self.levels)

    def point(self, pixels: int, level_factors: Sequence[int], size: Callable[[OperatingPoint], int]) -> OperatingPoint:
        """For a picture of so many pixels, by a model whose levels have tokens of so many pixels a side.

        size: as in `within`. Raises RateError.
        """
        levels, most = self.levels or len(level_factors), largest_weights(level_factors)
        if self.quality is not None:
            return point_of_quality(self.quality, most[:levels])
        if self.bits_per_pixel is not None:
            try:
                return within(self.bits_per_pixel * pixels / 8, most[:levels], size)
            except RateError as error:
                least = f"{8 * error.smallest / pixels:.4f} ({error.smallest} bytes)"
                raise RateError(
                    f"{self.bits_per_pixel:g} bits per pixel are too few: the smallest stream of this picture has "
                    f"{least}; ask for more",
                    error.smallest,
                ) from None
        if self.max_bytes is not None:
            return within(self.max_bytes, most[:levels], size)
        return OperatingPoint(levels, self.weight)


def largest_weights(level_factors: Sequence[int]) -> tuple[float, ...]:
    """The largest weight of a bit with which a point of 1, 2, ... levels is worth having.

    level_factors: pixels a side of the tokens of each level.
    """
    more = LARGEST_WEIGHT_OF_MORE_LEVELS if len(set(level_factors)) == 1 else LARGEST_WEIGHT_OF_RESOLUTIONS
    return (LARGEST_WEIGHT, *[more] * (len(level_factors) - 1))


def point_of_quality(quality: float, largest: Sequence[float]) -> OperatingPoint:
    """The point of a quality of 0 (smallest) to 100 (all levels). largest: weights of 1, 2, ... levels.

    Each level has an equal share of the qualities, in which the weight falls to 0.
    """
    place = quality / 100 * len(largest)
    number = max(1, math.ceil(place))
    return OperatingPoint(number, largest[number - 1] * (number - place))


def within(limit_bytes: float, largest: Sequence[float], size: Callable[[OperatingPoint], int]) -> OperatingPoint:
    """The best operating point of at most `limit_bytes`: a level more than fits by itself with the least weight that
    makes it fit, or else the levels that fit.

    largest: weights of 1, 2, ... levels. size: bytes of a point, about falling with the weight. Raises RateError when
    the smallest is larger.
    """
    fitting = 0
    while fitting < len(largest) and size(OperatingPoint(fitting + 1)) <= limit_bytes:
        fitting += 1
    if fitting == len(largest):
        return OperatingPoint(fitting)
    most = largest[fitting]
    smallest = size(OperatingPoint(fitting + 1, most))
    if smallest > limit_bytes:
        if fitting:
            return OperatingPoint(fitting)
        raise RateError(
            f"{limit_bytes} bytes are too few: the smallest stream of this picture has {smallest}; ask for more, or "
            "make the picture smaller first",
            smallest,
        )
    too_large, fits = 0.0, most
    for _ in range(_HALVINGS):
        middle = (too_large + fits) / 2
        if size(OperatingPoint(fitting + 1, middle)) <= limit_bytes:
            fits = middle
        else:
            too_large = middle
    return OperatingPoint(fitting + 1, fits)
