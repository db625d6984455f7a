"""The tokens of a picture at any operating point: those of the nearest codes, or cheaper ones. Imports no torch.

With weight 0 every token is that of the nearest code. With more, tokens are those with the least distance + weight x
bits, chosen one group after the other as they are coded, level after level: finer levels are given what those choices
leave (rate-distortion optimised quantisation). In the finer levels there are codes of almost no length, which say
"nothing to add", and are cheap where they are frequent.

Weights are in units of the mean distance of the nearest codes from what the level is given, so that the same weight
does about the same at every level and in every model; where the largest product counts, in those of half the mean
squared distance of the codes that have it.

Rates between those of whole levels are had by a finest level for a share of the picture only: `vqcodec.rates.parts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np

from vqcodec.bitstream import Boxes, BoxType, PartialLevel, StreamModel, TokenGrid, TokenPyramid, stream_overhead
from vqcodec.bitstream.boxes import stored_boxes
from vqcodec.bitstream.coder import Distortions, choose_level, encode_level
from vqcodec.bitstream.wire import encode_varint
from vqcodec.models.engine import Engine, LevelInput, Tokens
from vqcodec.rates.parts import part_of
from vqcodec.rates.rate import OperatingPoint

#: distances that are computed at once and kept while a level is chosen: 64 MB
_KEPT_DISTANCES: Final = 2**24


@dataclass(frozen=True)
class ChosenTokens:
    """Tokens of a stream, and in which blocks its finest level has some, if not everywhere."""

    tokens: TokenPyramid
    blocks: PartialLevel | None = None


@dataclass(frozen=True)
class PictureStream:
    """What of a stream is known before its tokens are. size: width and height of the picture."""

    model: StreamModel
    size: tuple[int, int]
    entropy_id: int
    boxes: Boxes = field(default_factory=Boxes)

    @cached_property
    def _stored(self) -> dict[int, bytes]:
        return stored_boxes(self.boxes)

    def bytes_around(self, blocks: PartialLevel | None) -> int:
        """Bytes before the first level."""
        more: dict[int, bytes] = {} if blocks is None else {BoxType.PARTIAL_LEVEL: blocks.to_bytes()}
        return stream_overhead(self.model, *self.size, self.entropy_id, {**self._stored, **more})


class TokenChooser:
    """The tokens of one picture at any point, and what their stream takes.

    analysis: what the engine's `analyse` gave. nearest_levels: so many of the first take the nearest codes, whatever
    bits weigh, as the finer latent of the analysis was found for these.
    """

    def __init__(self, engine: Engine, analysis: Any, stream: PictureStream, nearest_levels: int = 0) -> None:
        self._engine, self._analysis, self._stream = engine, analysis, stream
        self._entropy_model = stream.model.entropy_models[stream.entropy_id]
        self._nearest_levels = nearest_levels
        self._levels: dict[float, list[_Chosen]] = {}
        self._parts: dict[OperatingPoint, tuple[list[_Chosen], PartialLevel | None]] = {}

    def at(self, point: OperatingPoint) -> ChosenTokens:
        """The tokens of an operating point: a grid for each of its levels."""
        levels, blocks = self._chosen(point)
        return ChosenTokens(TokenPyramid(tuple(level.grid for level in levels)), blocks)

    def stream_bytes(self, point: OperatingPoint) -> int:
        """What the stream of an operating point takes."""
        return self._bytes(*self._chosen(point))

    def _bytes(self, levels: Sequence[_Chosen], blocks: PartialLevel | None) -> int:
        payloads = (level.payload for level in levels)
        return self._stream.bytes_around(blocks) + sum(len(encode_varint(len(each))) + len(each) for each in payloads)

    def _chosen(self, point: OperatingPoint) -> tuple[list[_Chosen], PartialLevel | None]:
        """The levels of a point, and where the finest one has tokens. All of it, if a share took no less."""
        if point.share >= 1 or point.levels == 1:
            return self._whole(point), None
        if point not in self._parts:
            whole, (part, blocks) = self._whole(point), self._part(point)
            is_less = blocks is not None and self._bytes(part, blocks) < self._bytes(whole, None)
            self._parts[point] = (part, blocks) if is_less else (whole, None)
        return self._parts[point]

    def _part(self, point: OperatingPoint) -> tuple[list[_Chosen], PartialLevel | None]:
        *coarser, finest = self._whole(point)
        number, factor = len(coarser), self._stream.model.grids[point.levels - 1].downsampling_factor
        energies = self._engine.energies(number)
        filler = int(energies.argmin())
        blocks = part_of(point.share, energies[finest.grid.indices], factor, self._stream.size, filler)
        if blocks is None:
            return [*coarser, finest], None
        coded = blocks.tokens(factor, finest.grid.shape)
        tokens = TokenGrid(np.where(coded.mask, finest.grid.indices, filler), finest.grid.codebook_size)
        before = tuple(level.grid for level in coarser)
        payload = encode_level(tokens, self._entropy_model, level=number, coarser=before, coded=coded)
        return [*coarser, _Chosen(tokens, payload)], blocks

    def _whole(self, point: OperatingPoint) -> list[_Chosen]:
        """The levels of a point, everywhere. Those of a weight are kept: fewer levels are the first ones of more."""
        levels = self._levels.setdefault(point.weight, [])

        def choose(number: int, given: LevelInput) -> Tokens:
            if len(levels) == number:
                levels.append(self._choose(number, given, tuple(chosen.grid for chosen in levels), point.weight))
            return levels[number].grid.indices

        if len(levels) < point.levels:
            self._engine.choose_tokens(self._analysis, point.levels, choose)
        return levels[: point.levels]

    def _choose(self, number: int, given: LevelInput, coarser: tuple[TokenGrid, ...], weight: float) -> _Chosen:
        size = self._stream.model.grids[number].codebook_size
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
