"""What every stage-1 autoencoder is to the rest: an Encoder, levels of quantisation, a Decoder.

The codec, the trainer and the rate control know this interface alone; the kinds are `vqcodec.models.single_latent` and
`vqcodec.models.two_resolutions`, and `vqcodec.models.building` makes the one that a configuration names.

Shapes: B batch, H W pixels, h w rows and columns of the (finest) latent, C latent channels, L levels, s the stride of a
level in positions of the latent.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor, nn

from vqcodec.models.config import AutoencoderConfig
from vqcodec.models.level import Level
from vqcodec.models.quantizer import Choice, QuantizeResult, ResidualQuantizer, nearest


@dataclass(frozen=True)
class AutoencoderOutput:
    """reconstruction: (B, 3, H, W), about in [-1, 1]. latents: (B, C, h, w) before quantisation, one a quantizer."""

    reconstruction: Tensor
    latents: tuple[Tensor, ...]
    quantization: QuantizeResult


@dataclass(frozen=True)
class Analysis:
    """What the Encoder makes of pictures before any token is chosen: (B, C, rows, columns) each.

    Or the latents of the levels in use, however they were found. strides: of each tensor, in positions of the latent;
    1 / f for pixels.
    """

    tensors: tuple[Tensor, ...]
    strides: tuple[Fraction, ...]


class Autoencoder(nn.Module, ABC):
    """A stage-1 model of one configuration.

    encoder, decoder: the convolutions, which may compute in another type than float32; quantisation always is float32.
    quantizers: the levels, coarse to fine, by the latent that they are of.
    """

    encoder: nn.Module
    decoder: nn.Module
    #: of the latent of each quantizer, in positions of the finest
    latent_strides: tuple[int, ...] = (1,)

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    @abstractmethod
    def quantizers(self) -> list[ResidualQuantizer]:
        """The levels, coarse to fine, by the latent that they are of."""

    @property
    @abstractmethod
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""

    @abstractmethod
    def analyse(self, images: Tensor) -> Analysis:
        """Images (B, 3, H, W) in [-1, 1], sides multiples of f, of the Encoder's type."""

    @abstractmethod
    def choose_tokens(self, analysis: Analysis, levels: int, choose: Choice = nearest) -> list[Tensor]:
        """Tokens (B, ceil(h / s), ceil(w / s)) int64 of the first `levels` levels, as `choose` takes them."""

    @abstractmethod
    def latents(self, images: Tensor, tokens: Sequence[Tensor]) -> list[Tensor]:
        """What the levels quantise, (B, C, h, w) float32 of each latent in use, where the coarser tokens are these.

        images: as of `analyse`. tokens: of the levels in use.
        """

    @abstractmethod
    def decode(self, latents: Sequence[Tensor], levels: int, present: Tensor | None = None) -> Tensor:
        """Quantised latents, see `quantised`, of so many levels -> images as `detokenize` gives them.

        present: (B, rows, cols) bool, where the finest level has tokens, if not everywhere.
        """

    @abstractmethod
    def forward(self, images: Tensor, levels: Tensor) -> AutoencoderOutput:
        """Training pass: images (B, 3, H, W) in [-1, 1], levels (B,) in 1..L: how many levels each picture uses."""

    @abstractmethod
    def start(self, images: Tensor, generator: torch.Generator) -> None:
        """Start from images (B, 3, H, W) in [-1, 1]: networks, projections and codes.

        Raises ValueError when the images have fewer positions than a level has codes.
        """

    @abstractmethod
    def receptive_radius(self) -> tuple[int, int] | None:
        """Pixels that a token depends on beyond its own, and pixels that a token reaches beyond its own.

        None for networks that look at the whole picture, by attention or normalisation: these cannot work in tiles.
        """

    @abstractmethod
    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        """What belongs to each of `vqcodec.models.config.PARTS`."""

    @abstractmethod
    def linear_parts(self) -> list[nn.Module]:
        """The linear maps and the quantizers, which start near their goal."""

    def tokenize(self, images: Tensor, levels: int | None = None) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1] -> tokens (B, ceil(h / s), ceil(w / s)) int64 for each level."""
        return self.choose_tokens(self.analyse(images), levels or self.config.levels)

    def detokenize(self, tokens: Sequence[Tensor]) -> Tensor:
        """Tokens (B, ceil(h / s), ceil(w / s)) of the first levels -> images (B, 3, H, W), about in [-1, 1].

        The images are not clamped, and of the Decoder's type. h, w are those of the finest level that is there, times
        its stride. Of the finest level, -1 stands where there is no token.
        """
        present = tokens[-1] >= 0
        return self.decode(self.quantised(tokens), len(tokens), None if bool(present.all()) else present)

    def quantised(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Tokens of the first levels -> (B, C, h, w) float32 of each latent in use."""
        made, rest = [], list(tokens)
        for quantizer, count in zip(self.quantizers, self.levels_of_latents(len(tokens)), strict=False):
            made.append(quantizer.latent(rest[:count]))
            rest = rest[count:]
        return made

    def levels_of_latents(self, levels: int) -> list[int]:
        """How many of the first levels are of each latent in use."""
        counts = []
        for quantizer in self.quantizers:
            counts.append(min(levels, len(quantizer.each())))
            levels -= counts[-1]
        return [count for count in counts if count]

    @staticmethod
    def told(embedding: Tensor, levels: int, present: Tensor | None) -> Tensor:
        """What of an embedding (L, C) tells the Decoder how many levels there are, one less where the finest one is not
        present, (B, rows, cols): (1, C, 1, 1), or (B, C, rows, cols)."""
        level = embedding[levels - 1][None, :, None, None]
        if present is None:
            return level
        return torch.where(present[:, None], level, embedding[max(0, levels - 2)][None, :, None, None])

    def each_level(self) -> list[Level]:
        """All levels, coarse to fine."""
        return [level for quantizer in self.quantizers for level in quantizer.each()]

    def begin_learning(self) -> None:
        """Prepare every codebook for training passes."""
        for level in self.each_level():
            level.codebook.begin_learning()

    @torch.no_grad()
    def revive_dead_codes(self, latents: Sequence[Tensor], generator: torch.Generator) -> int:
        """Revive dead codes of every level from the latents of a batch, one a quantizer; returns how many in all."""
        return sum(
            quantizer.revive_dead_codes(latent.float(), generator)
            for quantizer, latent in zip(self.quantizers, latents, strict=True)
        )
