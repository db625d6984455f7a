"""The tokens of a picture at any operating point: those of the nearest codes, or cheaper ones.

With weight 0 every token is that of the nearest code. With more, tokens are those with the least distance + weight x
bits, chosen one group after the other as they are coded, level after level: finer levels are given what those choices
leave (rate-distortion optimised quantisation). In the finer levels there are codes of almost no length, which say
"nothing to add", and are cheap where they are frequent.

Weights are in units of the mean distance of the nearest codes from what the level is given, so that the same weight
does about the same at every level and in every model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.bitstream import EntropyModel, TokenGrid, TokenPyramid
from vqcodec.bitstream.coder import choose_level, encode_level
from vqcodec.bitstream.frequencies import IntegerArray
from vqcodec.bitstream.wire import encode_varint
from vqcodec.models.autoencoder import Analysis, Autoencoder
from vqcodec.models.level import Level
from vqcodec.models.quantizer import as_vectors, nearest
from vqcodec.rates.rate import OperatingPoint


class TokenChooser:
    """The tokens of one picture at any point, and what they take.

    analysis: of the Encoder, on the network's device.
    """

    def __init__(self, network: Autoencoder, analysis: Analysis, entropy_model: EntropyModel) -> None:
        self._network, self._analysis, self._entropy_model = network, analysis, entropy_model
        self._sizes = network.config.quantizer.codebook_sizes
        self._levels: dict[float, list[_Chosen]] = {}

    def at(self, point: OperatingPoint) -> TokenPyramid:
        """The tokens of an operating point: a grid for each of its levels."""
        return TokenPyramid(tuple(level.grid for level in self._chosen(point)))

    def payload_bytes(self, point: OperatingPoint) -> int:
        """What the payloads of an operating point and their lengths take in a stream, in bytes."""
        return sum(level.bytes + len(encode_varint(level.bytes)) for level in self._chosen(point))

    @torch.inference_mode()
    def _chosen(self, point: OperatingPoint) -> list[_Chosen]:
        """The levels of a point. Those of a weight are kept: fewer levels are the first ones of more."""
        levels = self._levels.setdefault(point.weight, [])

        def choose(level: Level, seen: Tensor, coarser: list[Tensor]) -> Tensor:
            if len(levels) == len(coarser):
                levels.append(self._choose(level, seen, tuple(chosen.grid for chosen in levels), point.weight))
            grid = levels[len(coarser)].grid
            return torch.from_numpy(grid.indices.astype(np.int64))[None].to(seen.device)

        self._network.choose_tokens(self._analysis, point.levels, choose)
        return levels[: point.levels]

    def _choose(self, level: Level, seen: Tensor, coarser: tuple[TokenGrid, ...], weight: float) -> _Chosen:
        shape, size = (seen.shape[2], seen.shape[3]), self._sizes[len(coarser)]
        if not weight:
            grid = TokenGrid(nearest(level, seen, [])[0].cpu().numpy(), size)
            return _Chosen(grid, len(encode_level(grid, self._entropy_model, level=len(coarser), coarser=coarser)))
        vectors = as_vectors(seen)

        def distances(positions: IntegerArray) -> NDArray[np.float32]:
            values: NDArray[np.float32] = level.distances(vectors[torch.tensor(positions)]).cpu().numpy()
            return values

        grid, payload = choose_level(
            distances,
            self._entropy_model,
            weight=weight * _mean_distance(level, vectors),
            level=len(coarser),
            shape=shape,
            codebook_size=size,
            coarser=coarser,
        )
        return _Chosen(grid, len(payload))


@dataclass(frozen=True)
class _Chosen:
    """The tokens of a level, and the bytes of their payload."""

    grid: TokenGrid
    bytes: int


def _mean_distance(level: Level, vectors: Tensor) -> float:
    """The mean distance of the nearest codes from vectors (N, C), 0 or more, computed a piece at a time."""
    nearest_distances = [level.distances(part).amin(dim=1) for part in vectors.split(1024)]
    return float(torch.cat(nearest_distances).mean())
