"""What tokens cost, in bits, by level: under the prior, under static frequencies, and at fixed length.

All but the fixed length are estimates, -log2 of the probability of each token: no stream is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from vqcodec.benchmarks.common.text_table import table
from vqcodec.codec import Codec
from vqcodec.generation.conditions import Condition
from vqcodec.models.network_input import picture_input
from vqcodec.pictures.arrays import Pixels
from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.transformer import Prior


@dataclass(frozen=True)
class LevelRate:
    """Bits per token of one level, counted from 1, over all tokens of all pictures.

    fixed: log2 K. own: of statistics of these very tokens, a bound for any order-0 code, too low for few tokens.
    static: under the model's frequencies, None where it has none. prior: under the prior. saved: the prior's share
    under `fixed`, 0..1. bpp: bits per pixel of this level alone, under the prior.
    """

    level: int
    tokens: int
    fixed: float
    own: float
    static: float | None
    prior: float
    saved: float
    bpp: float


def measure_token_rates(
    codec: Codec, prior: Prior, pictures: Iterable[Pixels], condition: Condition | None = None
) -> list[LevelRate]:
    """The rates of whole pictures, each level of the prior. Sides are filled up to multiples of f, as in encoding.

    condition: what the prior is told of each picture.
    """
    levels = prior.config.levels
    bits = [0.0] * levels
    counts = [np.zeros(size, np.int64) for size in prior.config.codebook_sizes]
    pixels = 0
    for picture in map(np.ascontiguousarray, pictures):
        tokens = _tokens(codec, picture, levels)
        conditions = Conditions(grid=condition(picture[None]).to(codec.device)) if condition else NO_CONDITIONS
        pixels += picture.shape[0] * picture.shape[1]
        for level in range(levels):
            bits[level] += float(prior.bits(tokens, level, conditions).double().sum())
            counts[level] += np.bincount(tokens[level].cpu().numpy().ravel(), minlength=len(counts[level]))
    static = codec.card.static_frequencies
    return [
        _rate(level, bits[level], counts[level], static[level] if static else None, pixels) for level in range(levels)
    ]


def rates_table(rates: Sequence[LevelRate], *, markdown: bool = False) -> str:
    """A table with a line for each level, plain or as Markdown."""
    headers = ["level", "tokens", "log2 K", "order-0", "static", "prior", "saved", "bpp"]
    rows = [
        [
            str(rate.level),
            str(rate.tokens),
            f"{rate.fixed:.2f}",
            f"{rate.own:.2f}",
            "-" if rate.static is None else f"{rate.static:.2f}",
            f"{rate.prior:.3f}",
            f"{rate.saved:.1%}",
            f"{rate.bpp:.4f}",
        ]
        for rate in rates
    ]
    return table(headers, rows, markdown=markdown)


def as_lines(rates: Sequence[LevelRate]) -> list[dict[str, object]]:
    """An object for each level, as JSON takes it."""
    return [asdict(rate) for rate in rates]


def _tokens(codec: Codec, picture: Pixels, levels: int) -> list[Tensor]:
    """The tokens (1, h, w) of the first levels of a picture (H, W, 3), on the codec's device."""
    images = picture_input(codec.card.autoencoder, picture)
    return [grid.to(codec.device) for grid in codec.tokenize(images, levels=levels)]


def _rate(
    level: int,
    bits: float,
    counts: np.ndarray[tuple[int], np.dtype[np.int64]],
    static: Sequence[int] | None,
    pixels: int,
) -> LevelRate:
    total = int(counts.sum())
    shares = counts[counts > 0] / total
    fixed = math.log2(len(counts))
    return LevelRate(
        level=level + 1,
        tokens=total,
        fixed=fixed,
        own=float(-(shares * np.log2(shares)).sum()),
        static=None if static is None else float(-(counts * np.log2(np.array(static) / sum(static))).sum() / total),
        prior=bits / total,
        saved=1 - bits / total / fixed,
        bpp=bits / pixels,
    )
