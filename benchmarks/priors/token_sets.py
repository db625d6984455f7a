"""Token grids of one level of a model, made once, for priors to learn and to be measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from vqcodec.benchmarks.common.example_sets import ExampleSets
from vqcodec.cards.model_card import ModelCard
from vqcodec.codec import Codec
from vqcodec.pictures.arrays import Pixels
from vqcodec.pictures.image import scale_pixels
from vqcodec.training.data.crops import CropConfig, random_crop
from vqcodec.training.data.types import Pictures

#: crops through the Encoder
_ENCODED_AT_ONCE: Final = 8


@dataclass(frozen=True)
class TokenSets:
    """training (N, h, w) and held_out (M, h, w): int64 tokens of one level, one grid a crop.

    name: of the folder or file of the pictures. model, model_id: that made the tokens. level: counted from 1.
    codebook_size: K. factor: pixels along a side for a token. crc32: of the pixels of all pictures. seed: of the crops.
    """

    name: str
    model: str
    model_id: str
    level: int
    codebook_size: int
    factor: int
    training: Tensor
    held_out: Tensor
    crc32: int
    seed: int

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w): rows and columns of a grid of tokens."""
        _, rows, cols = self.held_out.shape
        return rows, cols

    def describe(self) -> dict[str, Any]:
        """As JSON takes it; without the tokens, which the rest decides but for rounding in the Encoder."""
        return {
            "name": self.name,
            "model": self.model,
            "model_id": self.model_id,
            "level": self.level,
            "codebook_size": self.codebook_size,
            "factor": self.factor,
            "grid": list(self.shape),
            "training_crops": len(self.training),
            "held_out_pictures": len(self.held_out),
            "crc32": self.crc32,
            "seed": self.seed,
        }


def make_tokens(
    pictures: ExampleSets,
    codec: Codec,
    *,
    level: int,
    crop_size: int,
    crops: int,
    held_out: int,
    seed: int,
    report: Callable[[int], None] = lambda count: None,
) -> TokenSets:
    """Tokens of `crops` random crops, of each picture to learn from in turn, and of central ones of held-out pictures.

    level: 1..L. crop_size: of the square crops, pixels, no larger than any picture; half of the random ones are
    mirrored. held_out: pictures at most. report: gets, time and again, how many more are made. Raises ValueError as
    `check_crops` does.
    """
    check_crops(codec.card, level, crop_size)
    shape = codec.card.autoencoder
    measured = min(held_out, len(pictures.held_out))
    return TokenSets(
        name=pictures.name,
        model=codec.card.name,
        model_id=codec.card.model_id.hex(),
        level=level,
        codebook_size=shape.quantizer.codebook_sizes[level - 1],
        factor=shape.level_factors[level - 1],
        training=_tokens(_random_crops(pictures.training, crops, crop_size, seed), codec, level, report),
        held_out=_tokens(_central_crops(pictures.held_out, measured, crop_size), codec, level, report),
        crc32=pictures.crc32,
        seed=seed,
    )


def check_crops(card: ModelCard, level: int, crop_size: int) -> None:
    """Raises ValueError for a level that the model does not have, of 1..L, and for crops that give no whole tokens."""
    shape = card.autoencoder
    if not 1 <= level <= shape.levels:
        raise ValueError(f"level {level}: model {card.name} has 1 to {shape.levels}")
    coarsest = max(shape.level_factors[:level])
    if crop_size % coarsest:
        raise ValueError(f"crops of {crop_size} pixels: not a multiple of {coarsest}, the side of a token")


def _random_crops(pictures: Pictures, count: int, size: int, seed: int) -> Iterator[Pixels]:
    """(size, size, 3) each, at the pictures' own scale."""
    config = CropConfig(size=size, resized=0)
    for number in range(count):
        yield random_crop(pictures[number % len(pictures)], config, np.random.default_rng((seed, number)))


def _central_crops(pictures: Pictures, count: int, size: int) -> Iterator[Pixels]:
    """(size, size, 3) of each of the first pictures."""
    for number in range(count):
        pixels = pictures[number]
        top, left = ((length - size) // 2 for length in pixels.shape[:2])
        yield pixels[top : top + size, left : left + size]


def _tokens(crops: Iterator[Pixels], codec: Codec, level: int, report: Callable[[int], None]) -> Tensor:
    """(N, h, w) of a level, counted from 1."""
    grids = []
    while batch := list(islice(crops, _ENCODED_AT_ONCE)):
        grids.append(codec.tokenize(scale_pixels(torch.from_numpy(np.stack(batch))), levels=level)[-1])
        report(len(batch))
    return torch.cat(grids)
