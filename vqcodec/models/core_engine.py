"""An `Engine` on the core in C: pictures of any size in tiles, batches picture by picture. Imports no torch.

Where pictures are cut changes no bit, see `vqcodec.pictures.tiling`: cuts lie at even positions of every stride.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.models.config import AutoencoderConfig
from vqcodec.models.core_models import CoreModel, Tokens, core_model, nearest
from vqcodec.models.core_networks import receptive_radius
from vqcodec.models.engine import Choose, TimedStep, check_images, latent_shape
from vqcodec.native.levels import CoreLevel
from vqcodec.native.library import Library
from vqcodec.native.networks import Floats, as_grid, stride_of
from vqcodec.pictures import tiling
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.row_sources import RowSource, RowWindow
from vqcodec.pictures.tiling import Area, Span, Tiling, reduced, scaled, tiles

#: rows and columns of pixels of the latent that tiles of TILE_TOKENS are meant for
_USUAL_FACTOR: Final = 16
#: (top, left, rows, cols) in pixels -> (rows, cols, 3) in [-1, 1]
_Cut: TypeAlias = Callable[[int, int, int, int], Floats]


class CoreEngine:
    """weights: float32 by name, as torch's state dict has them; config: one that `core_networks.core_computes`."""

    def __init__(self, library: Library, weights: Mapping[str, Floats], config: AutoencoderConfig) -> None:
        self._library = library
        self._model: CoreModel = core_model(library, weights, config)
        self._factor, self._strides = config.downsampling_factor, config.quantizer.strides
        self._align = 2 * max(self._strides)
        encoder, self.decoder_radius = receptive_radius(config.networks)
        self._encoder_halo, self._decoder_halo = -(-encoder // self._factor), -(-self.decoder_radius // self._factor)

    def tokenize(self, images: Floats, levels: int) -> list[Tokens]:
        check_images(images.shape, 3, self._factor)
        size = images.shape[2] // self._factor, images.shape[3] // self._factor
        each = [self._tokenize(_cut_floats(image), *size, levels) for image in images]
        return [np.stack(grids) for grids in zip(*each, strict=True)]

    def tokenize_pixels(self, pixels: Pixels, levels: int) -> list[Tokens]:
        return self._tokenize(self._cut_pixels(pixels), *self._latent_size(*pixels.shape[:2]), levels)

    def tokenize_rows(self, source: RowSource, levels: int) -> list[Tokens]:
        """As `tokenize_pixels`, of a picture that is never whole in memory."""
        window = RowWindow(source)

        def cut(top: int, left: int, rows: int, cols: int) -> Floats:
            return self._from_pixels(window.rows(top, top + rows), 0, left, rows, cols)

        return self._tokenize(cut, *self._latent_size(source.height, source.width), levels)

    def detokenize(self, tokens: Sequence[NDArray[np.integer[Any]]]) -> Floats:
        strides = self._strides[: len(tokens)]
        batch, rows, cols = latent_shape([grid.shape for grid in tokens], strides)
        images = np.empty((batch, rows * self._factor, cols * self._factor, 3), np.float32)
        for number, image in enumerate(images):
            for row, col, decoded in self._decoded([grid[number] for grid in tokens], rows, cols):
                kept = decoded[scaled(row.kept, self._factor), scaled(col.kept, self._factor)]
                image[scaled(row.inner, self._factor), scaled(col.inner, self._factor)] = kept
        return images.transpose(0, 3, 1, 2)

    def bands(self, tokens: Sequence[NDArray[np.integer[Any]]], area: Area) -> Iterator[Pixels]:
        _, rows, cols = latent_shape([(1, *grid.shape) for grid in tokens], self._strides[: len(tokens)])
        tiling = Tiling(rows, cols, self._factor, self._decoder_halo, self._tile, self._align)

        def paint(row: Span, col: Span, kept: tuple[int, int], target: Pixels) -> None:
            self._to_pixels(self._decode_tile(tokens, row, col), kept, target)

        yield from tiling.bands(area, paint)
        self._release(rows, cols)

    def analyse(self, pixels: Pixels) -> list[Floats]:
        rows, cols = self._latent_size(*pixels.shape[:2])
        parts = self._analysed(self._cut_pixels(pixels), rows, cols)
        whole: list[Floats] = []
        for row, col, analysis in parts:
            if not whole:
                shapes = [
                    (math.ceil(rows / stride), math.ceil(cols / stride)) for stride in self._model.analysis_strides
                ]
                whole = [np.empty((*s, part.shape[2]), np.float32) for s, part in zip(shapes, analysis, strict=True)]
            for target, part, stride in zip(whole, analysis, self._model.analysis_strides, strict=True):
                inside = part[_places(row.kept, stride), _places(col.kept, stride)]
                target[_places(row.inner, stride), _places(col.inner, stride)] = inside
        return whole

    def energies(self, number: int) -> NDArray[np.float64]:
        levels = [level for quantizer in self._model.quantizers for level in quantizer.levels]
        return levels[number].energies

    def timed_steps(self) -> list[TimedStep]:
        return [
            (self, "_from_pixels", "tensor conversion", None),
            (self._model, "analyse", "Encoder", None),
            (self._model, "choose_tokens", "quantisation", None),
            (self._model, "decode", "Decoder", None),
            *((quantizer, "latent", "look-up", "Decoder") for quantizer in self._model.quantizers),
            (self, "_to_pixels", "pixel conversion", None),
        ]

    def analysis_of(self, found: Any) -> list[Floats]:
        latents = []
        for tensor in found.tensors:
            latent: Floats = tensor[0].float().cpu().numpy()
            made = np.zeros((*latent.shape[1:], stride_of(len(latent))), np.float32)
            made[:, :, : len(latent)] = latent.transpose(1, 2, 0)
            latents.append(made)
        return latents

    def choose_tokens(self, analysis: Sequence[Floats], levels: int, choose: Choose) -> None:
        def chosen(number: int, level: CoreLevel, latent: Floats) -> Tokens:
            return choose(number, _CoreInput(level, latent)).astype(np.int32)

        self._model.choose_tokens(analysis, levels, chosen)

    def _latent_size(self, height: int, width: int) -> tuple[int, int]:
        return -(-height // self._factor), -(-width // self._factor)

    def _tokenize(self, cut: _Cut, rows: int, cols: int, levels: int) -> list[Tokens]:
        strides = self._strides[:levels]
        tokens = [np.empty((-(-rows // s), -(-cols // s)), np.int32) for s in strides]
        for row, col, analysis in self._analysed(cut, rows, cols):
            chosen = self._model.choose_tokens(analysis, levels, nearest)
            for grid, s, part in zip(tokens, strides, chosen, strict=True):
                inside = part[reduced(row.kept, s), reduced(col.kept, s)]
                grid[reduced(row.inner, s), reduced(col.inner, s)] = inside
        return tokens

    def _analysed(self, cut: _Cut, rows: int, cols: int) -> Iterator[tuple[Span, Span, list[Floats]]]:
        for row, col in self._tiles(rows, cols, self._encoder_halo):
            corner = row.outer.start * self._factor, col.outer.start * self._factor
            size = [(span.outer.stop - span.outer.start) * self._factor for span in (row, col)]
            yield row, col, self._model.analyse(cut(*corner, *size))

    def _decoded(
        self, tokens: Sequence[NDArray[np.integer[Any]]], rows: int, cols: int
    ) -> Iterator[tuple[Span, Span, Floats]]:
        for row, col in self._tiles(rows, cols, self._decoder_halo):
            yield row, col, self._decode_tile(tokens, row, col)

    def _decode_tile(self, tokens: Sequence[NDArray[np.integer[Any]]], row: Span, col: Span) -> Floats:
        parts = [
            np.ascontiguousarray(grid[reduced(row.outer, s), reduced(col.outer, s)], np.int32)
            for grid, s in zip(tokens, self._strides, strict=False)
        ]
        return self._model.decode(parts, *(span.outer.stop - span.outer.start for span in (row, col)))

    def _tiles(self, rows: int, cols: int, halo: int) -> Iterator[tuple[Span, Span]]:
        yield from tiles(rows, cols, halo, self._tile, align=self._align)
        self._release(rows, cols)

    @property
    def _tile(self) -> int:
        return max(1, tiling.TILE_TOKENS * _USUAL_FACTOR // self._factor)

    def _release(self, rows: int, cols: int) -> None:
        """After a picture that was cut: the networks' memory."""
        if max(rows, cols) > self._tile:
            for network in self._model.networks:
                network.release()

    def _cut_pixels(self, pixels: Pixels) -> _Cut:
        return partial(self._from_pixels, np.ascontiguousarray(pixels))

    def _from_pixels(self, pixels: Pixels, top: int, left: int, rows: int, cols: int) -> Floats:
        made = np.empty((rows, cols, 3), np.float32)
        height, width = pixels.shape[:2]
        self._library.vq_from_pixels(pixels.ctypes.data, height, width, self._factor, top, left, as_grid(made))
        return made

    def _to_pixels(self, decoded: Floats, kept: tuple[int, int], part: Pixels) -> None:
        """Put what is decoded, from `kept` on, into a part of a picture."""
        rows, cols = part.shape[:2]
        width = part.strides[0] // 3
        self._library.vq_to_pixels(as_grid(decoded), *kept, rows, cols, part.ctypes.data, width)


@dataclass(frozen=True)
class _CoreInput:
    """A `LevelInput`."""

    level: CoreLevel
    latent: Floats

    @property
    def shape(self) -> tuple[int, int]:
        return self.latent.shape[0], self.latent.shape[1]

    def nearest(self) -> Tokens:
        return self.level.tokens(self.latent)

    def distances(self, positions: NDArray[np.integer[Any]]) -> Floats:
        flat = self.latent.reshape(-1, 1, self.latent.shape[2])
        return self.level.distances(np.ascontiguousarray(flat[positions]))[:, 0]

    def mean_distance(self) -> float:
        tokens = self.nearest()
        flat, total = self.latent.reshape(-1, 1, self.latent.shape[2]), 0.0
        for start in range(0, len(flat), 1024):
            part = slice(start, start + 1024)
            each = self.level.distances(flat[part])[:, 0]
            total += float(each[np.arange(len(each)), tokens.reshape(-1)[part]].astype(np.float64).sum())
        return total / len(flat)


def _cut_floats(image: Floats) -> _Cut:
    """Of (3, H, W)."""

    def cut(top: int, left: int, rows: int, cols: int) -> Floats:
        part = image[:, top : top + rows, left : left + cols].transpose(1, 2, 0)
        return np.ascontiguousarray(part, np.float32)

    return cut


def _places(span: slice, stride: Fraction) -> slice:
    """Rows or columns of a grid of this stride, 1 / f for pixels, of a span of rows or columns of the latent."""
    return slice(math.floor(span.start / stride), math.ceil(span.stop / stride))
