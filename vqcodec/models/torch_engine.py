"""An `Engine` on torch: any network, on any device, in any type."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.models.autoencoder import Analysis, Autoencoder
from vqcodec.models.engine import Choose, Floats, TimedStep, Tokens
from vqcodec.models.level import Level
from vqcodec.models.network_input import picture_input
from vqcodec.models.quantizer import as_vectors, nearest
from vqcodec.models.tiled import TiledAutoencoder
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.row_sources import RowSource
from vqcodec.pictures.tiling import Area


class TorchEngine:
    """`network` on `device`, its convolutions in `dtype`; not for training. tile: as in `TiledAutoencoder`."""

    def __init__(self, network: Autoencoder, device: torch.device, dtype: torch.dtype, *, tile: bool = False) -> None:
        self.tiled = TiledAutoencoder(network, device, dtype, tile=tile)
        radii = network.receptive_radius()
        self.decoder_radius = radii[1] if radii else None

    def tokenize(self, images: Floats, levels: int) -> list[Tokens]:
        return [grid.numpy() for grid in self.tiled.tokenize(_as_tensor(images), levels)]

    def tokenize_pixels(self, pixels: Pixels, levels: int) -> list[Tokens]:
        images = picture_input(self.tiled.network.config, pixels)
        return [grid[0].numpy() for grid in self.tiled.tokenize(images, levels)]

    def tokenize_rows(self, source: RowSource, levels: int) -> list[Tokens]:
        return self.tokenize_pixels(source.read(source.height), levels)

    def detokenize(self, tokens: Sequence[Tokens]) -> Floats:
        made: Floats = self.tiled.detokenize([_as_tensor(grid) for grid in tokens]).numpy()
        return made

    def bands(self, tokens: Sequence[Tokens], area: Area) -> Iterator[Pixels]:
        return self.tiled.bands([_as_tensor(grid[None]) for grid in tokens], area)

    def analyse(self, pixels: Pixels) -> Analysis:
        return self.tiled.analyse(picture_input(self.tiled.network.config, pixels))

    @torch.inference_mode()
    def energies(self, number: int) -> NDArray[np.float64]:
        level = self.tiled.network.each_level()[number]
        codes = torch.arange(len(level.codebook.codes()), device=self.tiled.device)
        made: NDArray[np.float64] = level.reconstruct(codes).double().square().sum(dim=1).cpu().numpy()
        return made

    def timed_steps(self) -> list[TimedStep]:
        network, here = self.tiled.network, sys.modules[__name__]
        return [
            (here, "picture_input", "tensor conversion", None),
            (network, "analyse", "Encoder", None),
            (network, "choose_tokens", "quantisation", None),
            (network, "detokenize", "Decoder", None),
            *((quantizer, "latent", "look-up", "Decoder") for quantizer in network.quantizers),
            (sys.modules[TiledAutoencoder.__module__], "from_tensor", "pixel conversion", None),
        ]

    def analysis_of(self, found: Analysis) -> Analysis:
        return found

    @torch.inference_mode()
    def choose_tokens(self, analysis: Analysis, levels: int, choose: Choose) -> None:
        def chosen(level: Level, seen: Tensor, coarser: list[Tensor]) -> Tensor:
            grid = choose(len(coarser), _TorchInput(level, seen))
            return torch.from_numpy(grid.astype(np.int64))[None].to(seen.device)

        self.tiled.network.choose_tokens(analysis, levels, chosen)


@dataclass(frozen=True)
class _TorchInput:
    """A `LevelInput`: what is left of one picture (1, C, h, w)."""

    level: Level
    seen: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        return self.seen.shape[2], self.seen.shape[3]

    def nearest(self) -> Tokens:
        return nearest(self.level, self.seen, [])[0].cpu().numpy()

    def distances(self, positions: NDArray[np.integer[Any]]) -> Floats:
        vectors = as_vectors(self.seen)[torch.tensor(positions)]
        made: Floats = self.level.distances(vectors).cpu().numpy()
        return made

    def mean_distance(self) -> float:
        parts = as_vectors(self.seen).split(1024)
        return float(torch.cat([self.level.unit_distances(part) for part in parts]).mean())


def _as_tensor(array: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array.astype(np.int64) if array.dtype.kind in "iu" else array))
