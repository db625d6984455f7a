"""Models on the core: one tile's pixels to tokens and back. Imports no torch.

A tile is (rows, cols) of the latent; `pixels` are float32 (f rows, f cols, 3) in [-1, 1]. Tokens are (rows, cols)
int32, of the finest level -1 where there is none.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.models import core_networks
from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig
from vqcodec.native.levels import CoreLevel
from vqcodec.native.library import Library
from vqcodec.native.networks import Floats, Network, WeightsError, stride_of

Tokens: TypeAlias = NDArray[np.int32]
#: number of a level, the level, and what it is given, (rows, cols, stride) -> tokens (rows, cols)
ChooseCodes: TypeAlias = Callable[[int, CoreLevel, Floats], Tokens]

Weights: TypeAlias = Mapping[str, Floats]


class CoreModel(ABC):
    """Encoder, levels and Decoder of one model.

    analysis_strides: of what `analyse` gives, in positions of the latent, 1 / f for pixels.
    """

    analysis_strides: tuple[Fraction, ...]
    quantizers: list[CoreQuantizer]
    networks: list[Network]

    @abstractmethod
    def analyse(self, pixels: Floats) -> list[Floats]:
        """What tokens are chosen from, (rows, cols, stride) each."""

    @abstractmethod
    def choose_tokens(self, analysis: Sequence[Floats], levels: int, choose: ChooseCodes) -> list[Tokens]:
        """Of the first levels, as `choose` takes them."""

    @abstractmethod
    def decode(self, tokens: Sequence[Tokens], rows: int, cols: int) -> Floats:
        """Tokens of the first levels of a latent of rows x cols to pixels."""


def nearest(number: int, level: CoreLevel, latent: Floats) -> Tokens:
    """A `ChooseCodes`: the nearest code everywhere."""
    return level.tokens(latent)


class CoreQuantizer:
    """Those levels of a model that are of one latent of C channels; prefix: of the weights' names."""

    def __init__(
        self, library: Library, weights: Weights, prefix: str, config: AutoencoderConfig, levels: slice, channels: int
    ) -> None:
        quantizer = config.quantizer
        self.levels: list[CoreLevel] = []
        for number in range(levels.start, levels.stop):
            own = f"{prefix}.levels.{number - levels.start}."
            inside = {
                name.removeprefix(own): array.astype(np.float32)
                for name, array in weights.items()
                if name.startswith(own)
            }
            shape = quantizer.codebook_sizes[number], quantizer.code_dimension
            codes = core_networks.code_vectors(inside, shape, quantizer)
            self.levels.append(CoreLevel(library, inside, codes, quantizer.lookup, channels))
        #: in positions of this latent
        self.strides = (1,) * len(self.levels) if config.coarse_levels else quantizer.strides

    def choose_tokens(self, latent: Floats, levels: int, choose: ChooseCodes, first: int = 0) -> list[Tokens]:
        """Of the first levels of this latent, numbered from `first` on."""
        left, tokens = latent, []
        for number, (level, stride) in enumerate(zip(self.levels[:levels], self.strides, strict=False)):
            seen = reduced(left, stride)
            tokens.append(choose(first + number, level, seen))
            if number + 1 < levels:
                made = np.empty_like(left)
                level.add_to(made, tokens[-1], stride, first=True)
                left = left - made
        return tokens

    def latent(self, tokens: Sequence[Tokens], rows: int, cols: int) -> Floats:
        """(rows, cols, stride) of the tokens of the first levels."""
        made = np.empty((rows, cols, stride_of(self.levels[0].channels)), np.float32)
        for number, (level, stride, grid) in enumerate(zip(self.levels, self.strides, tokens, strict=False)):
            level.add_to(made, grid, stride, first=not number)
        return made


def reduced(latent: Floats, stride: int) -> Floats:
    """(rows, cols, C) averaged over stride x stride positions, at the border over those that there are: their sum in
    raster order, divided by their number."""
    if stride == 1:
        return latent
    rows, cols = (-(-side // stride) for side in latent.shape[:2])
    sums = np.zeros((rows, cols, latent.shape[2]), np.float32)
    counts = np.zeros((rows, cols, 1), np.float32)
    for row in range(stride):
        for col in range(stride):
            part = latent[row::stride, col::stride]
            sums[: part.shape[0], : part.shape[1]] += part
            counts[: part.shape[0], : part.shape[1]] += 1
    sums /= counts
    return sums


class CompactModel(CoreModel):
    """`vqcodec.models.single_latent.VQAutoencoder` of compact networks."""

    analysis_strides = (Fraction(1),)

    def __init__(self, library: Library, weights: Weights, config: AutoencoderConfig) -> None:
        networks = config.networks
        assert isinstance(networks, CompactConfig)
        self._quantizer = CoreQuantizer(
            library, weights, "quantizer", config, slice(0, config.levels), networks.latent_channels
        )
        self.quantizers = [self._quantizer]
        self._channels = networks.latent_channels
        self._embedding = embedding_of(weights, "level_embedding", config.levels, self._channels)
        self._encoder = core_networks.compact_encoder(library, weights, networks)
        self._decoder = core_networks.compact_decoder(library, weights, networks)
        self.networks = [self._encoder, self._decoder]

    def analyse(self, pixels: Floats) -> list[Floats]:
        return self._encoder.run({0: (pixels, 3)}, [1])

    def choose_tokens(self, analysis: Sequence[Floats], levels: int, choose: ChooseCodes) -> list[Tokens]:
        return self._quantizer.choose_tokens(analysis[0], levels, choose)

    def decode(self, tokens: Sequence[Tokens], rows: int, cols: int) -> Floats:
        latent = self._quantizer.latent(tokens, rows, cols)
        present = enlarged(tokens[-1] >= 0, self._quantizer.strides[len(tokens) - 1], rows, cols)
        latent += told(self._embedding, len(tokens), present)
        return self._decoder.run({0: (latent, self._channels)}, [1])[0]


class HierarchicalModel(CoreModel):
    """`vqcodec.models.two_resolutions.HierarchicalAutoencoder`."""

    def __init__(self, library: Library, weights: Weights, config: AutoencoderConfig) -> None:
        networks = config.networks
        assert isinstance(networks, HierarchicalConfig)
        coarse = self._coarse_levels = config.coarse_levels
        self._factor = networks.downsampling_factor
        self._channels, self._width = networks.latent_channels, networks.widths[1]
        levels = slice(0, coarse), slice(coarse, config.levels)
        self._coarse = CoreQuantizer(library, weights, "coarse", config, levels[0], self._channels[0])
        self._fine = CoreQuantizer(library, weights, "fine", config, levels[1], self._channels[1])
        self.quantizers = [self._coarse, self._fine]
        self.analysis_strides = (Fraction(1, self._factor), Fraction(1), Fraction(2))
        self._analysis = core_networks.hierarchical_analysis(library, weights, networks)
        self._fine_analysis = core_networks.hierarchical_fine_analysis(library, weights, networks)
        self._raising = core_networks.hierarchical_raising(library, weights, networks)
        self._painting = [
            core_networks.hierarchical_painting(library, weights, networks, has_fine=has_fine)
            for has_fine in (False, True)
        ]
        self.networks = [self._analysis, self._fine_analysis, self._raising, *self._painting]
        self._coarse_embedding = embedding_of(weights, "coarse_embedding", coarse, self._channels[0])
        self._embedding = embedding_of(weights, "level_embedding", config.levels, self._width)
        #: what `from_fine` gives of nothing
        self._bias = np.zeros(stride_of(self._width), np.float32)
        self._bias[: self._width] = weights["decoder.from_fine.bias"]

    def analyse(self, pixels: Floats) -> list[Floats]:
        rows, cols = pixels.shape[0] // self._factor, pixels.shape[1] // self._factor
        more = [(0, -side % (2 * self._factor)) for side in pixels.shape[:2]]
        whole = np.pad(pixels, (*more, (0, 0)), mode="edge") if any(after for _, after in more) else pixels
        features, latent = self._analysis.run({0: (whole, 3)}, [1, 2])
        return [pixels, np.ascontiguousarray(features[:rows, :cols]), latent]

    def choose_tokens(self, analysis: Sequence[Floats], levels: int, choose: ChooseCodes) -> list[Tokens]:
        is_seen = len(analysis) == len(self.analysis_strides)  # or else the latents themselves
        latent, coarse = analysis[-1 if is_seen else 0], min(levels, self._coarse_levels)
        tokens = self._coarse.choose_tokens(latent, coarse, choose)
        if levels == coarse:
            return tokens
        fine = self._fine_latent(analysis, tokens) if is_seen else analysis[1]
        return tokens + self._fine.choose_tokens(fine, levels - coarse, choose, coarse)

    def _fine_latent(self, analysis: Sequence[Floats], coarser: Sequence[Tokens]) -> Floats:
        """What the fine levels quantise, after the coarse ones."""
        pixels, features, latent = analysis
        raised, picture = self._raise(coarser, *latent.shape[:2])
        inputs = {0: (features, self._width), 1: (raised, self._width), 2: (picture, 3), 3: (pixels, 3)}
        return self._fine_analysis.run(inputs, [4])[0]

    def _raise(self, tokens: Sequence[Tokens], rows: int, cols: int) -> list[Floats]:
        """Features and picture of coarse tokens (rows, cols)."""
        latent = self._coarse.latent(tokens, rows, cols)
        level = told(self._coarse_embedding, len(tokens), tokens[-1] >= 0)
        return self._raising.run({0: (latent, self._channels[0]), 1: (level, self._channels[0])}, [2, 3])

    def decode(self, tokens: Sequence[Tokens], rows: int, cols: int) -> Floats:
        coarse = tokens[: self._coarse_levels]
        raised, picture = self._raise(coarse, *coarse[0].shape)
        has_fine = len(tokens) > len(coarse)
        present = tokens[-1] >= 0 if has_fine else enlarged(tokens[-1] >= 0, 2, *raised.shape[:2])
        level = told(self._embedding, len(tokens), present)
        if len(tokens) == len(coarse) + 1:
            level[~present] -= self._bias
        inputs = {0: (raised, self._width), 1: (picture, 3), 2: (level, self._width)}
        if has_fine:
            inputs[3] = (self._fine.latent(tokens[len(coarse) :], rows, cols), self._channels[1])
        return self._painting[has_fine].run(inputs, [4])[0]


def told(embedding: Floats, levels: int, present: NDArray[np.bool_]) -> Floats:
    """(rows, cols, stride): that there are so many levels, or one less where the finest one is not present."""
    level: Floats = np.where(present[:, :, None], embedding[levels - 1], embedding[max(0, levels - 2)])
    return level


def enlarged(grid: NDArray[np.bool_], factor: int, rows: int, cols: int) -> NDArray[np.bool_]:
    """Each position factor x factor times, as far as (rows, cols) goes."""
    return grid.repeat(factor, axis=0).repeat(factor, axis=1)[:rows, :cols]


def embedding_of(weights: Weights, name: str, levels: int, channels: int) -> Floats:
    """The rows that tell how many levels there are, (levels, stride)."""
    array = weights.get(name)
    if array is None or array.shape != (levels, channels):
        raise WeightsError(f"{name}: expected ({levels}, {channels})")
    return np.pad(array.astype(np.float32), ((0, 0), (0, stride_of(channels) - channels)))


def core_model(library: Library, weights: Weights, config: AutoencoderConfig) -> CoreModel:
    """The model of a configuration that `core_networks.core_computes`. Raises WeightsError for weights of another."""
    kind = HierarchicalModel if isinstance(config.networks, HierarchicalConfig) else CompactModel
    return kind(library, weights, config)
