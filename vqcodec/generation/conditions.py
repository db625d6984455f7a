"""What a prior can be told of a picture before its first token: its edges, its colours, itself at low resolution.

Each is a picture or a label map made of the picture, in the tokens of a model (Esser et al., 2021, §3.2).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor

from vqcodec.cards.errors import ModelError
from vqcodec.codec import Codec
from vqcodec.models.network_input import maps_input, network_input
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import padded, scale_pixels
from vqcodec.pictures.label_maps import LABEL_MAPS
from vqcodec.pictures.resampling import consistent, enlarge, shrink
from vqcodec.prior.config import ConditionConfig

#: the picture shrunk by so much, and enlarged again
LOW_RESOLUTIONS: Final = {f"low-{factor}": factor for factor in (2, 4, 8)}
CONDITIONS: Final = (*LABEL_MAPS, *LOW_RESOLUTIONS)


class Condition:
    """Makes the tokens of one kind of condition with a model.

    kind: one of CONDITIONS; "" for what the model is of. Raises ModelError for a kind that the model is not for.
    """

    def __init__(self, kind: str, codec: Codec) -> None:
        model = codec.card
        label_map = model.autoencoder.label_map
        if (label_map and kind not in ("", label_map)) or (not label_map and kind not in CONDITIONS):
            suited = label_map or ", ".join(CONDITIONS)
            raise ModelError(f"model {model.name} makes no tokens of the condition {kind!r}: it does of {suited}")
        if model.autoencoder.picture_side:
            raise ModelError(f"model {model.name} has levels with grids of one size: it cannot make conditions")
        self.kind, self.codec = kind or label_map, codec

    @property
    def config(self) -> ConditionConfig:
        """The shape of its tokens, as the configuration of a prior states it."""
        shape = self.codec.card.autoencoder
        return ConditionConfig(self.kind, shape.quantizer.codebook_sizes, shape.level_factors[-1])

    @property
    def model_id(self) -> str:
        """The id, hexadecimal, of the model that makes its tokens."""
        return self.codec.card.model_id.hex()

    def is_of(self, model_id: str) -> bool:
        """Whether the model with this id, hexadecimal, makes the same tokens."""
        return self.codec.card.can_read(bytes.fromhex(model_id))

    def __call__(self, pixels: Pixels) -> Tensor:
        """The tokens (B, C, h, w) int64 of the condition of pictures (B, H, W, 3), `padded` to whole tokens.

        Those of coarser levels stand wherever their pixels have a token of the finest.
        """
        return self._tokens(self.shown(self._padded(pixels)))

    def of_map(self, picture: Pixels) -> Tensor:
        """The tokens (1, C, h, w) of what a picture (H, W, 3) shows: the condition itself, drawn or enlarged."""
        return self._tokens(self._padded(picture)[None])

    def shown(self, pixels: Pixels) -> Pixels:
        """The conditions of pictures (B, H, W, 3), as pictures as large."""
        if self.kind in LABEL_MAPS:
            label_map = LABEL_MAPS[self.kind]
            return label_map.render(label_map.of_each(pixels))
        factor = LOW_RESOLUTIONS[self.kind]
        height, width = pixels.shape[1:3]
        low = to_pixels(shrink(_images(padded(pixels, factor)), factor))
        return enlarged(low, factor)[:, :height, :width]

    def _padded(self, pixels: Pixels) -> Pixels:
        return padded(pixels, self.codec.card.autoencoder.downsampling_factor)

    def _tokens(self, shown: Pixels) -> Tensor:
        shape = self.codec.card.autoencoder
        if shape.label_map:
            labels = np.stack([LABEL_MAPS[self.kind].drawn(picture) for picture in shown])
            return _stacked(self.codec.tokenize(maps_input(shape, labels)), shape.level_factors)
        return _stacked(self.codec.tokenize(network_input(shape, shown)), shape.level_factors)


def _stacked(levels: list[Tensor], factors: tuple[int, ...]) -> Tensor:
    """Grids (B, h / s, w / s) of several strides s -> (B, C, h, w), each token repeated s x s times.

    factors: pixels a side of the tokens of each.
    """
    rows, cols = levels[-1].shape[1:]
    spread = []
    for grid, factor in zip(levels, factors, strict=True):
        repeats = factor // factors[-1]
        spread.append(grid.repeat_interleave(repeats, 1).repeat_interleave(repeats, 2)[:, :rows, :cols])
    return torch.stack(spread, dim=1)


def enlarged(pixels: Pixels, factor: int) -> Pixels:
    """(B, H, W, 3) uint8 -> (B, H * factor, W * factor, 3) uint8, bicubic."""
    return to_pixels(enlarge(_images(pixels), factor))


def like_when_shrunk(picture: Pixels, low: Pixels, factor: int) -> Pixels:
    """`made` (H, W, 3), moved so that it is `low` (H / factor, W / factor, 3) when it is shrunk."""
    moved: Pixels = to_pixels(consistent(_images(picture[None]), _images(low[None]), factor))[0]
    return moved


def _images(pixels: Pixels) -> Tensor:
    """(B, H, W, 3) uint8 -> (B, 3, H, W) in [-1, 1]."""
    return scale_pixels(torch.from_numpy(np.require(pixels, requirements=["C", "W"])))


def to_pixels(images: Tensor) -> Pixels:
    """(B, 3, H, W) about in [-1, 1] -> (B, H, W, 3) uint8."""
    levels = images.add(1.0).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1)
    pixels: Pixels = levels.byte().numpy()
    return pixels
