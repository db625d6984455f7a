"""Sampling tokens one by one: with keys and values kept, against the whole prefix again at every token.

The latter is what the code of Esser et al., 2021, does. Both draw from the same weights, and must draw the same tokens.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vqcodec.models.config import AutoencoderConfig, QuantizerConfig
from vqcodec.prior.config import prior_config
from vqcodec.prior.transformer import Prior


@dataclass(frozen=True)
class SamplingSpeed:
    """Tokens per second of a whole batch. same_tokens: whether both drew the same."""

    size: str
    parameters: int
    tokens: int
    batch: int
    cached_tokens_per_second: float
    recomputed_tokens_per_second: float
    same_tokens: bool

    @property
    def speedup(self) -> float:
        """How many times as fast as without keeping anything."""
        return self.cached_tokens_per_second / self.recomputed_tokens_per_second


@torch.inference_mode()
def measure_sampling_speed(size: str, side: int, batch: int, *, codes: int = 1024, seed: int = 0) -> SamplingSpeed:
    """Of an untrained prior of a preset `size`, raster order, one level of side x side tokens.

    Greedy with random last layers: what is drawn does not matter for speed. Raises ValueError for unknown sizes.
    """
    torch.manual_seed(seed)
    config = prior_config(AutoencoderConfig(quantizer=QuantizerConfig((codes,))), size, order="raster")
    prior = Prior(config).eval()
    torch.nn.init.normal_(prior.get_parameter("heads.0.weight"))
    cached, cached_seconds = _timed(_draw_cached, prior, side, batch)
    again, again_seconds = _timed(_draw_again, prior, side, batch)
    drawn = batch * side * side
    return SamplingSpeed(
        size=size,
        parameters=sum(parameter.numel() for parameter in prior.parameters()),
        tokens=side * side,
        batch=batch,
        cached_tokens_per_second=drawn / cached_seconds,
        recomputed_tokens_per_second=drawn / again_seconds,
        same_tokens=bool(torch.equal(cached, again)),
    )


def _timed(draw: Callable[[Prior, int, int], Tensor], prior: Prior, side: int, batch: int) -> tuple[Tensor, float]:
    draw(prior, min(side, 4), batch)  # warm
    started = time.perf_counter()
    tokens = draw(prior, side, batch)
    return tokens, time.perf_counter() - started


def _draw_cached(prior: Prior, side: int, batch: int) -> Tensor:
    known = torch.zeros((batch, side * side), dtype=torch.int64)
    level = prior.begin([], (side, side), batch=batch)
    for positions in level.groups:
        known[:, positions] = level.logits(known).argmax(dim=2)
    return known


def _draw_again(prior: Prior, side: int, batch: int) -> Tensor:
    """The rows up to the present one, from the start, for every token."""
    known = torch.zeros((batch, side, side), dtype=torch.int64)
    for place in range(side * side):
        row, col = divmod(place, side)
        known[:, row, col] = prior([known[:, : row + 1]], 0)[:, row, col].argmax(dim=1)
    return known.flatten(1)
