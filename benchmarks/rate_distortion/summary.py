"""What RD points say: means by codec and setting, BD-rates, and on how many pictures one codec beats another."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np

from vqcodec.benchmarks.rate_distortion.bd_rate import BDRate, RDCurve, bd_rate, envelope, pareto_front
from vqcodec.benchmarks.rate_distortion.codecs import RateSetting
from vqcodec.benchmarks.rate_distortion.points import RDPoint


@dataclass(frozen=True)
class MetricKind:
    """How a metric is called and read."""

    label: str
    higher_is_better: bool
    digits: int


#: by the name that RD points and summaries use
METRICS: Final = {
    "psnr_db": MetricKind("PSNR, dB", True, 2),
    "ms_ssim": MetricKind("MS-SSIM", True, 4),
    "lpips": MetricKind("LPIPS (AlexNet)", False, 4),
    "lpips_vgg": MetricKind("LPIPS (VGG16)", False, 4),
    "dists": MetricKind("DISTS", False, 4),
}
#: in the place of a scale: the best scale of a format at each rate
BEST_SCALE: Final = "*"
#: in the place of an anchor: every anchor at every scale
ALL_ANCHORS: Final = "all"
#: in the place of a metric: lower LPIPS and lower DISTS
BOTH: Final = "lpips and dists"


@dataclass(frozen=True)
class Mean:
    """One codec at one setting over all pictures: means, for the seconds medians.

    A metric is None unless every picture has a finite value. frechet_vgg16_relu5_3: see
    `vqcodec.benchmarks.rate_distortion.frechet`.
    """

    codec: str
    setting: RateSetting
    images: int
    bytes: float
    bits_per_pixel: float
    psnr_db: float | None
    ms_ssim: float | None
    lpips: float | None
    lpips_vgg: float | None
    dists: float | None
    encode_seconds: float
    decode_seconds: float
    frechet_vgg16_relu5_3: float | None = None


@dataclass(frozen=True)
class WinRate:
    """`codec` at `setting` against `anchor` at equal bytes, in numbers of pictures.

    images: compared, those where the anchor has a file this small. wins: where ours is better. The anchor's metric at
    our bytes is interpolated, picture by picture, between its files next smaller and next larger, linearly over the
    logarithm of the bytes, or that of its largest file where that is smaller. With anchor "avif/*", or "all": better
    than every scale of AVIF, or than every anchor at every scale, that has a file this small.
    """

    codec: str
    setting: RateSetting
    anchor: str
    metric: str
    images: int
    wins: int


@dataclass(frozen=True)
class Summary:
    """means: by codec and setting, in the order of the points. bd_rates, win_rates: of ours against each anchor."""

    means: tuple[Mean, ...]
    bd_rates: tuple[BDRate, ...]
    win_rates: tuple[WinRate, ...]


def summary(
    points: Iterable[RDPoint],
    ours: Sequence[str],
    frechet: Mapping[tuple[str, RateSetting], float] = MappingProxyType({}),
) -> Summary:
    """Summarise the points of one run.

    `ours`: the names of the codecs that are compared with all others. `frechet`: distances by codec and setting.
    """
    by_setting: dict[tuple[str, RateSetting], list[RDPoint]] = defaultdict(list)
    for point in points:
        by_setting[point.codec, point.setting].append(point)
    means = [_mean(points_of_setting, frechet.get(key)) for key, points_of_setting in by_setting.items()]
    anchors = list(dict.fromkeys(mean.codec for mean in means if mean.codec not in ours))
    groups = anchor_groups(anchors)
    bd_rates = [
        rate
        for codec in ours
        for anchor, names in groups.items()
        for metric in METRICS
        if (rate := _bd_rate(means, codec, anchor, names, metric)) is not None
    ]
    settings = [key for key in by_setting if key[0] in ours]
    curves = _Curves(by_setting)
    win_rates = [
        win
        for key in settings
        for anchor, names in groups.items()
        for win in _win_rates(by_setting[key], anchor, names, curves)
    ]
    return Summary(tuple(means), tuple(bd_rates), tuple(win_rates))


def anchor_groups(anchors: Sequence[str]) -> dict[str, list[str]]:
    """What is compared with: every anchor, every format at its best scale, and all together, by name."""
    groups = {anchor: [anchor] for anchor in anchors}
    for anchor in anchors:
        groups.setdefault(f"{format_of(anchor)}/{BEST_SCALE}", []).append(anchor)
    if anchors:
        groups[ALL_ANCHORS] = list(anchors)
    return groups


def format_of(codec: str) -> str:
    """The name of an anchor without its scale."""
    return codec.split("/")[0]


def best_means(means: Iterable[Mean], codecs: Sequence[str], metric: str) -> list[Mean]:
    """The best of these codecs at each rate, by `metric` (the Fréchet distance too), rising in rate and in quality."""
    sign = -1 if metric not in METRICS or not METRICS[metric].higher_is_better else 1
    by_codec: dict[str, dict[tuple[float, float], Mean]] = {codec: {} for codec in codecs}
    for mean in means:
        value = getattr(mean, metric)
        if mean.codec in by_codec and value is not None:
            by_codec[mean.codec][mean.bits_per_pixel, sign * value] = mean
    of_points = {point: mean for points in by_codec.values() for point, mean in points.items()}
    return [of_points[point] for point in envelope([pareto_front(points) for points in by_codec.values()])]


def curve_of(means: Iterable[Mean], codecs: Sequence[str], metric: str) -> RDCurve:
    """The curve through `best_means`: (bits per pixel, metric)."""
    return [(mean.bits_per_pixel, getattr(mean, metric)) for mean in best_means(means, codecs, metric)]


def _mean(points: Sequence[RDPoint], frechet: float | None) -> Mean:
    def mean(metric: str) -> float | None:
        values = [getattr(point, metric) for point in points]
        return statistics.fmean(values) if all(value is not None and np.isfinite(value) for value in values) else None

    return Mean(
        codec=points[0].codec,
        setting=points[0].setting,
        images=len(points),
        bytes=statistics.fmean(point.bytes for point in points),
        bits_per_pixel=statistics.fmean(point.bits_per_pixel for point in points),
        **{metric: mean(metric) for metric in METRICS},
        encode_seconds=statistics.median(point.encode_seconds for point in points),
        decode_seconds=statistics.median(point.decode_seconds for point in points),
        frechet_vgg16_relu5_3=frechet,
    )


def _bd_rate(means: Sequence[Mean], codec: str, anchor: str, names: Sequence[str], metric: str) -> BDRate | None:
    """None when one of them lacks the metric."""
    our_curve, anchor_curve = curve_of(means, [codec], metric), curve_of(means, names, metric)
    if not our_curve or not anchor_curve:
        return None
    return bd_rate(codec, anchor, metric, our_curve, anchor_curve, higher_is_better=METRICS[metric].higher_is_better)


class _Curves:
    """The points of each codec on each picture, from the smallest file to the largest."""

    def __init__(self, by_setting: Mapping[tuple[str, RateSetting], Sequence[RDPoint]]) -> None:
        self._points: dict[tuple[str, str], list[RDPoint]] = defaultdict(list)
        for (codec, _), points in by_setting.items():
            for point in points:
                self._points[codec, point.image].append(point)
        for curve in self._points.values():
            curve.sort(key=lambda point: point.bytes)

    def at(self, codec: str, image: str, size: int, metric: str) -> float | None:
        """A metric of `codec` at `size` bytes: that of its largest file where that is smaller.

        None where every file of it is larger, or it lacks the metric.
        """
        curve = self._points[codec, image]
        values = [getattr(point, metric) for point in curve]
        if not curve or None in values or size < curve[0].bytes:
            return None
        return float(np.interp(np.log(size), np.log([point.bytes for point in curve]), values))


def _win_rates(points: Sequence[RDPoint], anchor: str, names: Sequence[str], curves: _Curves) -> list[WinRate]:
    """Of the points of one codec at one setting, by metric."""
    counted: dict[str, list[bool]] = {metric: [] for metric in (*METRICS, BOTH)}
    for point in points:
        wins = {metric: _is_better(point, metric, names, curves) for metric in METRICS}
        for metric, win in wins.items():
            if win is not None:
                counted[metric].append(win)
        if wins["lpips"] is not None and wins["dists"] is not None:
            counted[BOTH].append(wins["lpips"] and wins["dists"])
    return [
        WinRate(points[0].codec, points[0].setting, anchor, metric, len(wins), sum(wins))
        for metric, wins in counted.items()
        if metric == BOTH or getattr(points[0], metric) is not None
    ]


def _is_better(point: RDPoint, metric: str, names: Sequence[str], curves: _Curves) -> bool | None:
    """Than each of these anchors that has a file this small; None when none has."""
    value = getattr(point, metric)
    others = [curves.at(name, point.image, point.bytes, metric) for name in names]
    reached = [other for other in others if other is not None]
    if value is None or not reached:
        return None
    return bool(value > max(reached)) if METRICS[metric].higher_is_better else bool(value < min(reached))
