"""Means over pictures of all sizes and kinds, by a sampler that draws nothing but the means."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from vqcodec.benchmarks.priors.upscaling import UpscalingRow, as_lines, measure_upscaling, upscaling_table
from vqcodec.benchmarks.rate_distortion.metrics import Metrics
from vqcodec.pictures.arrays import Pixels


class Sampler:
    upscaling = 2

    def upscale(self, low: Pixels, series: Any, *, keep: bool) -> list[SimpleNamespace]:
        return [SimpleNamespace(rgb=low.repeat(2, axis=0).repeat(2, axis=1))]

    def with_colours_of(self, low: Pixels, free: SimpleNamespace) -> SimpleNamespace:
        return free


def measured(*pictures: Pixels) -> dict[str, UpscalingRow]:
    rows = measure_upscaling(Sampler(), iter(pictures), Metrics(None, torch.device("cpu")))  # type: ignore[arg-type]
    assert json.dumps(as_lines(rows), allow_nan=False)
    assert upscaling_table(rows)
    return {row.way: row for row in rows}


def test_means_are_over_all_pictures_or_there_are_none() -> None:
    rng = np.random.default_rng(0)
    large, small = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (192, 32))
    assert measured(large)["free"].metrics["ms_ssim"] is not None
    for pictures in ((large, small), (small, large)):
        row = measured(*pictures)["free"]
        assert row.pictures == 2
        assert row.metrics["ms_ssim"] is None
        assert row.metrics["psnr_db"] is not None


def test_a_flat_picture_has_no_psnr() -> None:
    row = measured(np.full((32, 32, 3), 200, np.uint8))["prior"]
    assert (row.metrics["psnr_db"], row.low_psnr_db) == (None, None)
