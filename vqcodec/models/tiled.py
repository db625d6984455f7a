"""An autoencoder on a device, in a type, for pictures of any size: large ones go through it in tiles.

Each tile has a halo as wide as the receptive field, see `vqcodec.pictures.tiling`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Final

import torch
from torch import Tensor

from vqcodec.compute.devices import to_channels_last
from vqcodec.models.autoencoder import Analysis, Autoencoder
from vqcodec.models.network_input import in_colour
from vqcodec.pictures import tiling
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import from_tensor
from vqcodec.pictures.tiling import Area, Span, Tiling, reduced, scaled, tiles

#: downsampling factor that the size of tiles is meant for
_USUAL_FACTOR = 16

#: pixels that networks take at a time which look at the whole picture: with 128 channels 512 bytes each in a layer
LARGEST_WHOLE: Final = 1 << 22
#: of tiles of such a picture, in pixels
_OVERLAP: Final = 64


class WholePictureError(ValueError):
    """A picture is too large for networks that look at the whole of it."""


class TiledAutoencoder:
    """`network` on `device`, its convolutions in `dtype`; not for training.

    tile: cut large pictures for networks that look at the whole of them, too: what a tile gives then differs a little
    from what the whole picture gives. Without it these refuse pictures of more than `LARGEST_WHOLE` pixels.
    """

    def __init__(self, network: Autoencoder, device: torch.device, dtype: torch.dtype, *, tile: bool = False) -> None:
        self.network = to_channels_last(network.eval().requires_grad_(False), device)
        self.device, self.dtype = device, dtype
        network.encoder.to(dtype)
        network.decoder.to(dtype)
        config = network.config
        self._factor, self._strides, self._channels = (
            config.downsampling_factor,
            config.quantizer.exact_strides,
            config.channels,
        )
        self._only_side = config.picture_side
        tile = tile and not self._only_side
        radii = network.receptive_radius()
        without = -(-_OVERLAP // self._factor) if tile else None
        self.encoder_halo = -(-radii[0] // self._factor) if radii else without
        self.decoder_halo = -(-radii[1] // self._factor) if radii else without

    @torch.inference_mode()
    def tokenize(self, images: Tensor, levels: int) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1] to tokens (B, ceil(h / s), ceil(w / s)) int64 on the CPU, for each level.

        s: the stride of a level. Raises ValueError for other shapes.
        """
        batch, rows, cols = self._latent_shape(images)
        strides = self._strides[:levels]
        tokens = [torch.empty((batch, -(-rows // s), -(-cols // s)), dtype=torch.int64) for s in strides]
        for row, col, analysis in self._analysed(images):
            for grid, s, part in zip(tokens, strides, self.network.choose_tokens(analysis, levels), strict=True):
                inside = part[:, reduced(row.kept, s), reduced(col.kept, s)]
                grid[:, reduced(row.inner, s), reduced(col.inner, s)] = inside.cpu()
        return tokens

    @torch.inference_mode()
    def analyse(self, images: Tensor) -> Analysis:
        """Images as `tokenize` takes them to what tokens are chosen from, on the device. Raises ValueError."""
        batch, rows, cols = self._latent_shape(images)
        whole: tuple[Tensor, ...] = ()
        strides: tuple[Fraction, ...] = ()
        for row, col, analysis in self._analysed(images):
            if not whole:
                strides = analysis.strides
                whole = tuple(
                    part.new_empty((batch, part.shape[1], math.ceil(rows / stride), math.ceil(cols / stride)))
                    for part, stride in zip(analysis.tensors, strides, strict=True)
                )
            for target, part, stride in zip(whole, analysis.tensors, strides, strict=True):
                inside = part[:, :, _places(row.kept, stride), _places(col.kept, stride)]
                target[:, :, _places(row.inner, stride), _places(col.inner, stride)] = inside
        return Analysis(whole, strides)

    @torch.inference_mode()
    def detokenize(self, tokens: list[Tensor]) -> Tensor:
        """Tokens of the first levels to images (B, 3, f h, f w) float32 on the CPU, about in [-1, 1].

        h and w are those of the finest level given, times its stride; a level of stride s has ceil(h / s) rows and
        ceil(w / s) columns. Raises ValueError for shapes that do not go together.
        """
        strides = self._strides[: len(tokens)]
        batch, rows, cols = _check_grids(tokens, strides)
        if self._only_side and (rows, cols) != (self._only_side // self._factor,) * 2:
            raise ValueError(f"expected tokens of pictures of {self._only_side} x {self._only_side} pixels")
        factor = self._factor
        images = torch.empty((batch, self._channels, rows * factor, cols * factor), memory_format=torch.channels_last)
        for row, col in self._tiles(rows, cols, self.decoder_halo):
            decoded = self._decode_tile(tokens, row, col)
            kept = decoded[:, :, scaled(row.kept, factor), scaled(col.kept, factor)]
            images[:, :, scaled(row.inner, factor), scaled(col.inner, factor)] = kept.cpu()
        return images

    @torch.inference_mode()
    def bands(self, tokens: list[Tensor], area: Area) -> Iterator[Pixels]:
        """Tokens of one picture, as `detokenize` takes them, to the pixels of an area of it, a few rows (n, area.width,
        3) at a time, from the top. Raises as `detokenize` does."""
        _, rows, cols = _check_grids(tokens, self._strides[: len(tokens)])
        self._check_whole(rows, cols, self.decoder_halo)
        tiling = Tiling(rows, cols, self._factor, self.decoder_halo, self._tile, int(self._strides[0]))

        def paint(row: Span, col: Span, kept: tuple[int, int], target: Pixels) -> None:
            height, width = target.shape[:2]
            decoded = self._decode_tile(tokens, row, col)[:, :, kept[0] :, kept[1] :]
            target[:] = from_tensor(in_colour(decoded), width, height)

        yield from tiling.bands(area, paint)

    def _decode_tile(self, tokens: list[Tensor], row: Span, col: Span) -> Tensor:
        """What the Decoder makes of the outer part of a tile, on the device."""
        return self.network.detokenize(
            [
                grid[:, reduced(row.outer, s), reduced(col.outer, s)].to(self.device)
                for grid, s in zip(tokens, self._strides, strict=False)
            ]
        )

    def _analysed(self, images: Tensor) -> Iterator[tuple[Span, Span, Analysis]]:
        """Tile by tile, with the rows and columns of the latent that it is of."""
        _, rows, cols = self._latent_shape(images)
        for row, col in self._tiles(rows, cols, self.encoder_halo):
            tile = images[:, :, scaled(row.outer, self._factor), scaled(col.outer, self._factor)]
            ready = tile.to(self.device, self.dtype).contiguous(memory_format=torch.channels_last)
            yield row, col, self.network.analyse(ready)

    def _tiles(self, rows: int, cols: int, halo: int | None) -> Iterator[tuple[Span, Span]]:
        self._check_whole(rows, cols, halo)
        return tiles(rows, cols, halo, self._tile, align=int(self._strides[0]))

    def _check_whole(self, rows: int, cols: int, halo: int | None) -> None:
        if halo is None and rows * cols * self._factor**2 > LARGEST_WHOLE:
            raise WholePictureError(
                f"a picture of {cols * self._factor} x {rows * self._factor} pixels: this model looks at the whole "
                f"picture, and takes {LARGEST_WHOLE} pixels at most; give --tile to cut it into tiles, whose borders "
                "may show, or make it smaller"
            )

    @property
    def _tile(self) -> int:
        return max(1, tiling.TILE_TOKENS * _USUAL_FACTOR // self._factor)

    def _latent_shape(self, images: Tensor) -> tuple[int, int, int]:
        """(B, h, w). Raises ValueError for images of other shapes than `tokenize` takes."""
        factor, shape = self._factor, tuple(images.shape)
        if images.ndim != 4 or shape[1] != self._channels or shape[2] % factor or shape[3] % factor or 0 in shape:
            raise ValueError(
                f"expected (B, {self._channels}, H, W) with sides that are multiples of {factor}, got {shape}"
            )
        if self._only_side and shape[2:] != (self._only_side, self._only_side):
            raise ValueError(f"expected pictures of {self._only_side} x {self._only_side} pixels, got {shape}")
        return shape[0], shape[2] // factor, shape[3] // factor


def _places(span: slice, stride: Fraction) -> slice:
    """Rows or columns of a tensor of this stride, 1 / f for pixels, of a span of rows or columns of the latent."""
    return slice(math.floor(span.start / stride), math.ceil(span.stop / stride))


def _check_grids(tokens: list[Tensor], strides: tuple[Fraction, ...]) -> tuple[int, int, int]:
    """(B, h, w) of the latents of these token grids."""
    shapes = [tuple(grid.shape) for grid in tokens]
    if len(shapes[-1]) == 3:
        batch, rows, cols = shapes[-1][0], int(shapes[-1][1] * strides[-1]), int(shapes[-1][2] * strides[-1])
        if shapes == [(batch, -(-rows // s), -(-cols // s)) for s in strides]:
            return batch, rows, cols
    raise ValueError(f"expected token grids (B, h, w) of one picture, got {shapes}")
