"""What computes a model's networks: the core in C or torch. Imports no torch.

The codec and the rate control know this interface alone. `vqcodec.models.core_engine` and `vqcodec.models.torch_engine`
are the two that there are.

Shapes: B batch, H W pixels, h w rows and columns of the (finest) latent, L levels, s the stride of a level in positions
of the latent, K codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.row_sources import RowSource
from vqcodec.pictures.tiling import Area

Floats: TypeAlias = NDArray[np.float32]
Tokens: TypeAlias = NDArray[np.integer[Any]]


class LevelInput(Protocol):
    """What one level is given to code, of one picture."""

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the level's grid."""

    def nearest(self) -> Tokens:
        """(rows, cols): the token of the nearest code at each position."""

    def distances(self, positions: NDArray[np.integer[Any]]) -> Floats:
        """(n, K), 0 or more: how far each code is from what stands at positions (n,) in raster order."""

    def mean_distance(self) -> float:
        """That of the nearest codes, over all positions, or what stands for it (`Level.unit_distances`)."""


#: owner and name of a function, its step, and the step that it is a part of, from which its time is taken off
TimedStep: TypeAlias = tuple[Any, str, str, str | None]
#: number of a level and what it is given to the tokens (rows, cols) that it shall have
Choose: TypeAlias = Callable[[int, LevelInput], Tokens]


class Engine(Protocol):
    """Networks of one model, ready to run; calls from several threads are safe."""

    @property
    def decoder_radius(self) -> int | None:
        """Pixels that a token reaches beyond its own when decoded; None where it reaches them all."""

    def tokenize(self, images: Floats, levels: int) -> Sequence[Tokens]:
        """Images (B, C, H, W) as the Encoder takes them, sides multiples of f, to tokens (B, ceil(h / s), ceil(w / s))
        of the first levels. Raises ValueError for other shapes."""

    def tokenize_pixels(self, pixels: Pixels, levels: int) -> Sequence[Tokens]:
        """Pixels (H, W, 3) of any size, padded to multiples of f as `vqcodec.pictures.image.padded` does, to tokens."""

    def tokenize_rows(self, source: RowSource, levels: int) -> Sequence[Tokens]:
        """The same of a picture that is read a few rows at a time. Raises UnreadableImageError."""

    def detokenize(self, tokens: Sequence[Tokens]) -> Floats:
        """Tokens (B, ceil(h / s), ceil(w / s)) of the first levels to what the Decoder gives, (B, C, f h, f w).

        Of the finest of two levels or more, -1 stands where there is no token. h and w are those of the finest level
        given, times its stride. Raises ValueError for shapes that do not go together.
        """

    def bands(self, tokens: Sequence[Tokens], area: Area) -> Iterator[Pixels]:
        """Tokens (ceil(h / s), ceil(w / s)) of the first levels to the pixels of an area of the picture, a few rows
        (n, area.width, 3) at a time, from the top. Of the finest of two levels or more, -1 stands where there is no
        token. What lies far from the area is not computed."""

    def analyse(self, pixels: Pixels) -> Any:
        """What `choose_tokens` chooses from, of pixels (H, W, 3)."""

    def analysis_of(self, found: Any) -> Any:
        """The same of latents that were found in another way than by the Encoder, a
        `vqcodec.models.autoencoder.Analysis` of those of the levels in use."""

    def energies(self, number: int) -> NDArray[np.float64]:
        """(K,): squared length of what each code of level `number`, from 0, adds to the latent."""

    def timed_steps(self) -> list[TimedStep]:
        """What a measurement of speed times: "tensor conversion", "Encoder", "quantisation", "look-up", "Decoder" and
        "pixel conversion"."""

    def choose_tokens(self, analysis: Any, levels: int, choose: Choose) -> None:
        """Ask for the tokens of the first levels, one after the other, each level given what those before it leave."""


def check_images(images_shape: Sequence[int], channels: int, factor: int) -> None:
    """Raises ValueError for shapes that `Engine.tokenize` does not take."""
    shape = tuple(images_shape)
    if len(shape) != 4 or shape[1] != channels or shape[2] % factor or shape[3] % factor or 0 in shape:
        raise ValueError(f"expected (B, {channels}, H, W) with sides that are multiples of {factor}, got {shape}")


def latent_shape(shapes: Sequence[tuple[int, ...]], strides: Sequence[int]) -> tuple[int, int, int]:
    """(B, h, w) of the latent that token grids (B, rows, cols) are of. Raises ValueError for shapes that do not go
    together."""
    if len(shapes[-1]) == 3:
        batch, rows, cols = shapes[-1][0], shapes[-1][1] * strides[-1], shapes[-1][2] * strides[-1]
        if list(shapes) == [(batch, -(-rows // s), -(-cols // s)) for s in strides]:
            return batch, rows, cols
    raise ValueError(f"expected token grids (B, h, w) of one picture, got {list(shapes)}")
