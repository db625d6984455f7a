"""Rates: how many levels, where, and what a bit weighs, for a quality or a limit in bytes. Imports no torch.

An *operating point* is a number of levels, the share of the picture that has the finest of them, and the weight of a
bit, see `vqcodec.rates.token_choice`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: beyond it there is little left of a picture
LARGEST_WEIGHT: Final = 0.4
#: how often weights and shares are halved in the search for a limit: 2 % of the largest weight, or of a level's bytes
_HALVINGS: Final = 6


class RateError(ValueError):
    """No stream of the picture is as small as was asked for. smallest: bytes of the smallest one."""

    def __init__(self, message: str, smallest: int) -> None:
        super().__init__(message)
        self.smallest = smallest


@dataclass(frozen=True)
class OperatingPoint:
    """levels: 1 or more. weight: of a bit, 0 or more. share: of the picture's blocks that have the finest level, 0 to 1
    without 0; where there is one level alone all have it."""

    levels: int
    weight: float = 0.0
    share: float = 1.0


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

    def point(
        self, pixels: int, levels: int, size: Callable[[OperatingPoint], int], *, parts: bool = True
    ) -> OperatingPoint:
        """For a picture of so many pixels, by a model of so many levels.

        size: as in `within`. parts: whether the finest level may be that of a part of the picture. Raises RateError.
        """
        levels = min(levels, self.levels or levels)
        if self.quality is not None:
            return point_of_quality(self.quality, levels, parts=parts)
        if self.bits_per_pixel is not None:
            try:
                return within(self.bits_per_pixel * pixels / 8, levels, size, parts=parts)
            except RateError as error:
                least = f"{8 * error.smallest / pixels:.4f} ({error.smallest} bytes)"
                raise RateError(
                    f"{self.bits_per_pixel:g} bits per pixel are too few: the smallest stream of this picture has "
                    f"{least}; ask for more",
                    error.smallest,
                ) from None
        if self.max_bytes is not None:
            return within(self.max_bytes, levels, size, parts=parts)
        return OperatingPoint(levels, self.weight)


def point_of_quality(quality: float, levels: int, *, parts: bool = True) -> OperatingPoint:
    """The point of a quality of 0 (smallest) to 100 (all levels).

    Each level has an equal share of the qualities. In that of the first the weight of a bit falls to 0; in those of the
    others ever more of the picture has the level, or, without `parts`, all of it.
    """
    place = round(quality / 100 * levels, 9)  # so that 100 k / L is the end of level k
    number = max(1, math.ceil(place))
    done = place - (number - 1)
    if number == 1:
        return OperatingPoint(1, LARGEST_WEIGHT * (1 - done))
    return OperatingPoint(number, share=done if parts else 1.0)


def within(
    limit_bytes: float, levels: int, size: Callable[[OperatingPoint], int], *, parts: bool = True
) -> OperatingPoint:
    """The best operating point of at most `limit_bytes`: the whole levels that fit, and one more for as much of the
    picture as fits; where not even one does, the first with the least weight that makes it fit.

    levels: of the model. size: bytes of a point, about falling with the weight and rising with the share. Raises
    RateError when the smallest is larger.
    """
    fitting = 0
    while fitting < levels and size(OperatingPoint(fitting + 1)) <= limit_bytes:
        fitting += 1
    if not fitting:
        smallest = size(OperatingPoint(1, LARGEST_WEIGHT))
        if smallest > limit_bytes:
            raise RateError(
                f"{limit_bytes} bytes are too few: the smallest stream of this picture has {smallest}; ask for more, "
                "or make the picture smaller first",
                smallest,
            )
        weight = _last_fitting(LARGEST_WEIGHT, 0.0, lambda weight: size(OperatingPoint(1, weight)) <= limit_bytes)
        return OperatingPoint(1, weight)
    if fitting == levels or not parts:
        return OperatingPoint(fitting)
    more = fitting + 1
    share = _last_fitting(0.0, 1.0, lambda share: size(OperatingPoint(more, share=share)) <= limit_bytes)
    return OperatingPoint(more, share=share) if share else OperatingPoint(fitting)


def _last_fitting(fits: float, does_not: float, fit: Callable[[float], bool]) -> float:
    """A value that fits, close to one that does not, between one of each."""
    for _ in range(_HALVINGS):
        middle = (fits + does_not) / 2
        if fit(middle):
            fits = middle
        else:
            does_not = middle
    return fits
