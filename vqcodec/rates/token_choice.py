"""The tokens of a picture at any operating point: those of the nearest codes, or cheaper ones. Imports no torch.

With weight 0 every token is that of the nearest code. With more, tokens are those with the least distance + weight x
bits, chosen one group after the other as they are coded, level after level: finer levels are given what those choices
leave (rate-distortion optimised quantisation). In the finer levels there are codes of almost no length, which say
"nothing to add", and are cheap where they are frequent.

Weights are in units of the mean distance of the nearest codes from what the level is given, so that the same weight
does about the same at every level and in every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from vqcodec.bitstream import EntropyModel, TokenGrid, TokenPyramid
from vqcodec.bitstream.coder import Distortions, choose_level, encode_level
from vqcodec.bitstream.wire import encode_varint
from vqcodec.models.engine import Engine, LevelInput, Tokens
from vqcodec.rates.rate import OperatingPoint

#: distances that are computed at once and kept while a level is chosen: 64 MB
_KEPT_DISTANCES: Final = 2**24


class TokenChooser:
    """The tokens of one picture at any point, and what they take.

    analysis: what the engine's `analyse` gave. codebook_sizes: of the levels. nearest_levels: so many of the first take
    the nearest codes whatever bits weigh, as the finer latent of the analysis was found for these.
    """

    def __init__(
        self,
        engine: Engine,
        analysis: Any,
        codebook_sizes: Sequence[int],
        entropy_model: EntropyModel,
        nearest_levels: int = 0,
    ) -> None:
        self._engine, self._analysis, self._entropy_model = engine, analysis, entropy_model
        self._sizes, self._nearest_levels = codebook_sizes, nearest_levels
        self._levels: dict[float, list[_Chosen]] = {}

    def at(self, point: OperatingPoint) -> TokenPyramid:
        """The tokens of an operating point: a grid for each of its levels."""
        return TokenPyramid(tuple(level.grid for level in self._chosen(point)))

    def payload_bytes(self, point: OperatingPoint) -> int:
        """What the payloads of an operating point and their lengths take in a stream, in bytes."""
        return sum(len(level.payload) + len(encode_varint(len(level.payload))) for level in self._chosen(point))

    def _chosen(self, point: OperatingPoint) -> list[_Chosen]:
        """The levels of a point. Those of a weight are kept: fewer levels are the first ones of more."""
        levels = self._levels.setdefault(point.weight, [])

        def choose(number: int, given: LevelInput) -> Tokens:
            if len(levels) == number:
                levels.append(self._choose(number, given, tuple(chosen.grid for chosen in levels), point.weight))
            return levels[number].grid.indices

        if len(levels) < point.levels:
            self._engine.choose_tokens(self._analysis, point.levels, choose)
        return levels[: point.levels]

    def _choose(self, number: int, given: LevelInput, coarser: tuple[TokenGrid, ...], weight: float) -> _Chosen:
        size = self._sizes[number]
        if not weight or number < self._nearest_levels:
            grid = TokenGrid(given.nearest(), size)
            return _Chosen(grid, encode_level(grid, self._entropy_model, level=number, coarser=coarser))
        grid, payload = choose_level(
            _distances(given, size),
            self._entropy_model,
            weight=weight * given.mean_distance(),
            level=number,
            shape=given.shape,
            codebook_size=size,
            coarser=coarser,
        )
        return _Chosen(grid, payload)


@dataclass(frozen=True)
class _Chosen:
    """The tokens of a level, and their payload."""

    grid: TokenGrid
    payload: bytes


def _distances(given: LevelInput, codes: int) -> Distortions:
    """Asked for group by group; computed all at once where they are not too many, as a group has few tokens."""
    positions = given.shape[0] * given.shape[1]
    if positions * codes > _KEPT_DISTANCES:
        return given.distances
    return given.distances(np.arange(positions)).__getitem__
