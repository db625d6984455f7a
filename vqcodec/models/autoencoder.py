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

    strides: of each tensor, in positions of the latent; 1 / f for pixels.
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
    def detokenize(self, tokens: Sequence[Tensor]) -> Tensor:
        """Tokens (B, ceil(h / s), ceil(w / s)) of the first levels -> images (B, 3, H, W), about in [-1, 1].

        The images are not clamped, and of the Decoder's type. h, w are those of the finest level that is there, times
        its stride.
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
