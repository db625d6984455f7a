"""What RD points say: means, and on how many pictures a codec is better than an anchor at the nearest bytes."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from vqcodec.benchmarks.codecs import Setting
from vqcodec.benchmarks.points import RDPoint

#: stands for all anchors together in a `Comparison`: better than every one of them
ALL_ANCHORS: Final = "all"


@dataclass(frozen=True)
class Mean:
    """One codec at one setting over all pictures: means, for the seconds medians.

    An anchor has no setting of its own: `nearest_codec` and `nearest_setting` name the points whose bytes it was
    searched for. A metric is None unless every picture has it.
    """

    codec: str
    setting: Setting | None
    nearest_codec: str | None
    nearest_setting: Setting | None
    images: int
    bytes: float
    bits_per_pixel: float
    psnr_db: float | None
    ms_ssim: float | None
    lpips: float | None
    dists: float | None
    encode_seconds: float
    decode_seconds: float


@dataclass(frozen=True)
class Comparison:
    """`codec` at `setting` against `anchor` at the nearest bytes: numbers of pictures.

    images: compared. anchor_not_smaller: where the anchor's file has at least as many bytes. bytes_ratio: mean of the
    anchor's bytes over ours. lower_lpips, lower_dists, lower_both: where ours is lower, which is better; None without
    the metric. With anchor "all": where ours is lower than that of every anchor.
    """

    codec: str
    setting: Setting
    anchor: str
    images: int
    anchor_not_smaller: int
    bytes_ratio: float
    lower_lpips: int | None
    lower_dists: int | None
    lower_both: int | None


@dataclass(frozen=True)
class Summary:
    """means: codecs by setting, each followed by its anchors. comparisons: in the same order."""

    means: tuple[Mean, ...]
    comparisons: tuple[Comparison, ...]


#: a point of ours and the anchors' points that were searched for its bytes
_Match = tuple[RDPoint, dict[str, RDPoint]]


def summary(points: Iterable[RDPoint]) -> Summary:
    """Summarise the points of one run: settings that were asked for, and anchors at the nearest bytes to them."""
    asked: dict[tuple[str, Setting], list[RDPoint]] = defaultdict(list)
    searched: dict[tuple[str, int, int], dict[str, RDPoint]] = defaultdict(dict)
    for point in points:
        if point.target_bytes is None:
            asked[point.codec, point.setting].append(point)
        else:
            searched[point.image, point.pixels_crc32, point.target_bytes][point.codec] = point
    means: list[Mean] = []
    comparisons: list[Comparison] = []
    for (codec, setting), own in asked.items():
        matches: list[_Match] = [(point, searched[point.image, point.pixels_crc32, point.bytes]) for point in own]
        anchors = list(dict.fromkeys(name for _, others in matches for name in others))
        means.append(_mean(codec, setting, None, own))
        for anchor in anchors:
            means.append(_mean(anchor, None, own[0], [others[anchor] for _, others in matches if anchor in others]))
            comparisons.append(_compare(own[0], anchor, [anchor], matches))
        if len(anchors) > 1:
            comparisons.append(_compare(own[0], ALL_ANCHORS, anchors, matches))
    return Summary(tuple(means), tuple(comparisons))


def _mean(codec: str, setting: Setting | None, nearest: RDPoint | None, points: Sequence[RDPoint]) -> Mean:
    def mean(value: Callable[[RDPoint], float | None]) -> float | None:
        values = [value(point) for point in points]
        present = [number for number in values if number is not None]
        return statistics.fmean(present) if len(present) == len(values) else None

    return Mean(
        codec=codec,
        setting=setting,
        nearest_codec=nearest.codec if nearest else None,
        nearest_setting=nearest.setting if nearest else None,
        images=len(points),
        bytes=statistics.fmean(point.bytes for point in points),
        bits_per_pixel=statistics.fmean(point.bits_per_pixel for point in points),
        psnr_db=mean(lambda point: point.psnr_db),
        ms_ssim=mean(lambda point: point.ms_ssim),
        lpips=mean(lambda point: point.lpips),
        dists=mean(lambda point: point.dists),
        encode_seconds=statistics.median(point.encode_seconds for point in points),
        decode_seconds=statistics.median(point.decode_seconds for point in points),
    )


def _compare(reference: RDPoint, name: str, anchors: Sequence[str], matches: Sequence[_Match]) -> Comparison:
    pairs = [
        (own, [others[anchor] for anchor in anchors])
        for own, others in matches
        if all(anchor in others for anchor in anchors)
    ]

    def count(*metrics: str) -> int | None:
        total = 0
        for own, others in pairs:
            for metric in metrics:
                if any(getattr(point, metric) is None for point in (own, *others)):
                    return None
            total += all(getattr(own, metric) < getattr(other, metric) for metric in metrics for other in others)
        return total

    return Comparison(
        codec=reference.codec,
        setting=reference.setting,
        anchor=name,
        images=len(pairs),
        anchor_not_smaller=sum(all(other.bytes >= own.bytes for other in others) for own, others in pairs),
        bytes_ratio=statistics.fmean(other.bytes / own.bytes for own, others in pairs for other in others),
        lower_lpips=count("lpips"),
        lower_dists=count("dists"),
        lower_both=count("lpips", "dists"),
    )
