"""How far pictures that were made small are from themselves when they are made large again, by `vqcodec upscale`."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from PIL import Image

from vqcodec.benchmarks.common.text_table import table
from vqcodec.benchmarks.rate_distortion.metrics import Metrics
from vqcodec.generation.conditions import enlarged, to_pixels
from vqcodec.generation.config import SamplingConfig, Series
from vqcodec.generation.sampler import Sampler
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import scale_pixels
from vqcodec.pictures.resampling import shrink

#: how a picture is made large again -> as the table says it
WAYS = {
    "bicubic": "bicubic",
    "lanczos": "Lanczos",
    "free": "prior, --free",
    "prior": "prior",
}


@dataclass(frozen=True)
class UpscalingRow:
    """Means over the pictures by one way, by metric (see `vqcodec.benchmarks.rate_distortion.metrics`).

    metrics: None where a picture is too small for it, or came out the same. low_psnr_db: of the result, shrunk again,
    against what was made large; dB. None where a picture came out the same.
    """

    way: str
    pictures: int
    metrics: dict[str, float | None]
    low_psnr_db: float | None


def measure_upscaling(
    sampler: Sampler,
    pictures: Iterable[Pixels],
    metrics: Metrics,
    *,
    config: SamplingConfig | None = None,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> list[UpscalingRow]:
    """Each picture, cut to a multiple of the factor, shrunk by means of blocks and enlarged in every way.

    progress: called after each picture with 1. Raises ValueError for a prior that does not upscale.
    """
    factor = sampler.upscaling
    values_by_way: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for picture in pictures:
        original = _cut(picture, factor)
        low = to_pixels(shrink(scale_pixels(torch.from_numpy(original[None])), factor))[0]
        for way, large in _enlarged(sampler, low, factor, config, seed).items():
            values = metrics.measure(original, large).values
            again = to_pixels(shrink(scale_pixels(torch.from_numpy(large[None])), factor))[0]
            values_by_way[way].append(values | {"low_psnr_db": metrics.measure(low, again).values["psnr_db"]})
        if progress is not None:
            progress(1)
    return [_row(way, each) for way, each in values_by_way.items()]


def upscaling_table(rows: Sequence[UpscalingRow], *, markdown: bool = False) -> str:
    """A table with a line for each way, plain or as Markdown."""
    names = list(rows[0].metrics)
    headers = ["enlarged by", *names, "low_psnr_db"]
    cells = [
        [
            WAYS[row.way],
            *(_text(row.metrics[name], 3) for name in names),
            _text(row.low_psnr_db, 1),
        ]
        for row in rows
    ]
    return table(headers, cells, markdown=markdown)


def as_lines(rows: Sequence[UpscalingRow]) -> list[dict[str, object]]:
    """An object for each way, as JSON takes it."""
    return [asdict(row) for row in rows]


def _cut(picture: Pixels, factor: int) -> Pixels:
    height, width = (side // factor * factor for side in picture.shape[:2])
    return np.ascontiguousarray(picture[:height, :width])


def _enlarged(
    sampler: Sampler, low: Pixels, factor: int, config: SamplingConfig | None, seed: int
) -> dict[str, Pixels]:
    """The picture `low` (h, w, 3), `factor` times larger, by the way in which it was enlarged."""
    size = low.shape[1] * factor, low.shape[0] * factor
    [free] = sampler.upscale(low, Series(seed=seed, config=config), keep=False)
    return {
        "bicubic": enlarged(low[None], factor)[0],
        "lanczos": np.array(Image.fromarray(low).resize(size, Image.Resampling.LANCZOS)),
        "free": free.rgb,
        "prior": sampler.with_colours_of(low, free).rgb,
    }


def _text(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _row(way: str, values: Sequence[dict[str, float]]) -> UpscalingRow:
    names = {name: None for each in values for name in each}
    means = {name: _mean([each.get(name) for each in values]) for name in names}
    low = means.pop("low_psnr_db")
    return UpscalingRow(way, len(values), means, low)


def _mean(values: Sequence[float | None]) -> float | None:
    """None unless every picture has a finite one."""
    there = [value for value in values if value is not None and math.isfinite(value)]
    return statistics.fmean(there) if len(there) == len(values) else None
