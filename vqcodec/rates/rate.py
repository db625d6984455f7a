"""Rates: how many levels, and what a bit weighs, for a quality or a limit in bytes. Imports no torch.

An *operating point* is a number of levels and the weight of a bit, see `vqcodec.rates.token_choice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: beyond it there is little left of a picture
LARGEST_WEIGHT: Final = 0.4
#: of two levels and more: beyond it a level less is smaller and better
LARGEST_WEIGHT_OF_MORE_LEVELS: Final = 0.15
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

    def point(self, pixels: int, all_levels: int, size: Callable[[OperatingPoint], int]) -> OperatingPoint:
        """For a picture of so many pixels, by a model of so many levels. size: as in `within`. Raises RateError."""
        levels = self.levels or all_levels
        if self.quality is not None:
            return point_of_quality(self.quality, levels)
        if self.bits_per_pixel is not None:
            try:
                return within(self.bits_per_pixel * pixels / 8, levels, size)
            except RateError as error:
                least = f"{8 * error.smallest / pixels:.4f} ({error.smallest} bytes)"
                raise RateError(
                    f"{self.bits_per_pixel:g} bits per pixel are too few: the smallest stream of this picture has "
                    f"{least}; ask for more",
                    error.smallest,
                ) from None
        if self.max_bytes is not None:
            return within(self.max_bytes, levels, size)
        return OperatingPoint(levels, self.weight)


def point_of_quality(quality: float, levels: int) -> OperatingPoint:
    """The point of a quality of 0 (smallest) to 100 (all `levels`).

    Each level has an equal share of the qualities, in which the weight falls to 0.
    """
    place = quality / 100 * levels
    number = max(1, math.ceil(place))
    return OperatingPoint(number, largest_weight(number) * (number - place))


def largest_weight(levels: int) -> float:
    """The largest weight of a bit with which a point of so many levels is worth having."""
    return LARGEST_WEIGHT if levels == 1 else LARGEST_WEIGHT_OF_MORE_LEVELS


def within(limit_bytes: float, levels: int, size: Callable[[OperatingPoint], int]) -> OperatingPoint:
    """The best operating point of at most `limit_bytes`: a level more than fits by itself with the least weight that
    makes it fit, or else the levels that fit.

    size: bytes of a point, about falling with the weight. Raises RateError when the smallest is larger.
    """
    fitting = 0
    while fitting < levels and size(OperatingPoint(fitting + 1)) <= limit_bytes:
        fitting += 1
    if fitting == levels:
        return OperatingPoint(levels)
    largest = largest_weight(fitting + 1)
    smallest = size(OperatingPoint(fitting + 1, largest))
    if smallest > limit_bytes:
        if fitting:
            return OperatingPoint(fitting)
        raise RateError(
            f"{limit_bytes} bytes are too few: the smallest stream of this picture has {smallest}; ask for more, or "
            "make the picture smaller first",
            smallest,
        )
    too_large, fits = 0.0, largest
    for _ in range(_HALVINGS):
        middle = (too_large + fits) / 2
        if size(OperatingPoint(fitting + 1, middle)) <= limit_bytes:
            fits = middle
        else:
            too_large = middle
    return OperatingPoint(fitting + 1, fits)
