"""BD-rate: how many percent more bytes one codec needs than another for the same quality (Bjøntegaard, VCEG-M33, 2001).

Between the points of a curve log bits per pixel is interpolated over the metric by piecewise cubic Hermite polynomials
(PCHIP), by the package `bjontegaard` (Herglotz et al., 2022), and averaged over the qualities that both codecs reach.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

#: (mean bits per pixel, mean of a metric), rising in rate
RDCurve: TypeAlias = list[tuple[float, float]]


@dataclass(frozen=True)
class BDRate:
    """percent: below 0 where `codec` needs fewer bytes than `anchor`; None when no quality is reached by both.

    worst, best: the metric's values between which both have points; None with `percent`.
    """

    codec: str
    anchor: str
    metric: str
    percent: float | None
    worst: float | None
    best: float | None


def pareto_front(points: Iterable[tuple[float, float]]) -> RDCurve:
    """The points (rate, quality) that no other beats in both; they rise strictly in rate and in quality."""
    front: RDCurve = []
    for rate, quality in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((rate, quality))
    return front


def envelope(curves: Sequence[RDCurve]) -> RDCurve:
    """The best of several curves at each rate: their points that no other curve passes above.

    Between two points a curve runs straight over the logarithm of the rate. (The front of the points alone would not
    do: where the best curve has a gap it would step down to a point of a worse one.)
    """
    best = [
        (rate, quality)
        for number, curve in enumerate(curves)
        for rate, quality in curve
        if not any(_passes_above(other, rate, quality) for other in (*curves[:number], *curves[number + 1 :]))
    ]
    return pareto_front(best)


def _passes_above(curve: RDCurve, rate: float, quality: float) -> bool:
    if not curve or not curve[0][0] <= rate <= curve[-1][0]:
        return False
    rates, qualities = zip(*curve, strict=True)
    return bool(np.interp(np.log(rate), np.log(rates), qualities) > quality)


def bd_rate(
    codec: str,
    anchor: str,
    metric: str,
    our_curve: Sequence[tuple[float, float]],
    anchor_curve: Sequence[tuple[float, float]],
    *,
    higher_is_better: bool,
) -> BDRate:
    """Compare two curves without points that another of the same curve beats (see `pareto_front`)."""
    import bjontegaard  # takes a second, most of it for matplotlib

    sign = 1 if higher_is_better else -1
    qualities = [[sign * value for _, value in curve] for curve in (our_curve, anchor_curve)]
    worst, best = max(values[0] for values in qualities), min(values[-1] for values in qualities)
    if worst >= best:
        return BDRate(codec, anchor, metric, None, None, None)
    percent = bjontegaard.bd_rate(
        [rate for rate, _ in anchor_curve],
        qualities[1],
        [rate for rate, _ in our_curve],
        qualities[0],
        method="pchip",
        require_matching_points=False,
        min_overlap=0,
    )
    return BDRate(codec, anchor, metric, float(percent), sign * worst, sign * best)
