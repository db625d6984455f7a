"""The autoencoder of two latents: coarse levels at 2 f, then fine levels at f, told what the coarse ones decode to.

Shapes: B batch, H W pixels, h w rows and columns of the fine latent, C channels of a latent, L levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.autoencoder import Analysis, Autoencoder, AutoencoderOutput
from vqcodec.models.config import AutoencoderConfig, HierarchicalConfig
from vqcodec.models.hierarchical import (
    Decoder,
    Encoder,
    decoder_radius,
    encoder_radius,
    quieten,
    start_linear,
)
from vqcodec.models.level import Level
from vqcodec.models.quantizer import Choice, QuantizeResult, ResidualQuantizer, enlarged, nearest

#: tensors in an `Analysis` by the Encoder: images, features and the coarse latent
_SEEN: Final = 3


class HierarchicalAutoencoder(Autoencoder):
    """Encoder, residual levels of two latents, one Decoder. Raises ValueError for networks of another kind.

    Coarse grids have ceil(h / 2) x ceil(w / 2) tokens: where h or w is odd the picture is taken as if its last row or
    column of pixels came f times more.
    """

    encoder: Encoder
    decoder: Decoder
    latent_strides = (2, 1)

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        networks, quantizer, coarse = config.networks, config.quantizer, config.coarse_levels
        if not isinstance(networks, HierarchicalConfig):
            raise ValueError("networks with two latents are hierarchical ones")
        self.encoder, self.decoder = Encoder(networks), Decoder(networks)
        sizes = quantizer.codebook_sizes
        self.coarse = ResidualQuantizer(
            networks.latent_channels[0], replace(quantizer, codebook_sizes=sizes[:coarse], level_strides=())
        )
        self.fine = ResidualQuantizer(
            networks.latent_channels[1], replace(quantizer, codebook_sizes=sizes[coarse:], level_strides=())
        )
        #: tells how many levels there are: of the coarse ones alone, and of all
        self.coarse_embedding = nn.Parameter(torch.zeros(coarse, networks.latent_channels[0]))
        self.level_embedding = nn.Parameter(torch.zeros(config.levels, networks.widths[1]))

    @property
    def quantizers(self) -> list[ResidualQuantizer]:
        return [self.coarse, self.fine]

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.decoder.last_layer

    def analyse(self, images: Tensor) -> Analysis:
        rows, cols = (length // self.config.downsampling_factor for length in images.shape[2:])
        features, coarse = self.encoder(self._whole_tokens(images))
        features = features[:, :, :rows, :cols]
        strides = (Fraction(1, self.config.downsampling_factor), Fraction(1), Fraction(2))
        return Analysis((images, features, coarse.float()), strides)

    def _whole_tokens(self, images: Tensor) -> Tensor:
        """Sides made multiples of 2 f."""
        side = 2 * self.config.downsampling_factor
        more = [-length % side for length in images.shape[2:]]
        return F.pad(images, (0, more[1], 0, more[0]), mode="replicate") if any(more) else images

    def choose_tokens(self, analysis: Analysis, levels: int, choose: Choice = nearest) -> list[Tensor]:
        is_seen = len(analysis.tensors) == _SEEN  # or else the latents themselves
        coarse_latent = analysis.tensors[-1 if is_seen else 0]
        coarse_levels = min(levels, self.config.coarse_levels)
        tokens = self.coarse.tokens(coarse_latent, coarse_levels, choose)
        if levels == coarse_levels:
            return tokens
        fine_latent = self._fine_latent(analysis, tokens) if is_seen else analysis.tensors[1]

        def choose_fine(level: Level, seen: Tensor, finer: list[Tensor]) -> Tensor:
            return choose(level, seen, [*tokens, *finer])

        return [*tokens, *self.fine.tokens(fine_latent, levels - coarse_levels, choose_fine)]

    def latents(self, images: Tensor, tokens: Sequence[Tensor]) -> list[Tensor]:
        analysis, coarse = self.analyse(images), self.config.coarse_levels
        latents = [analysis.tensors[-1]]
        return latents if len(tokens) <= coarse else [*latents, self._fine_latent(analysis, tokens[:coarse])]

    def _fine_latent(self, analysis: Analysis, coarser: Sequence[Tensor]) -> Tensor:
        """What the fine levels quantise, after the coarse ones."""
        images, features, _ = analysis.tensors
        raised, picture = self._decode_coarse(self.coarse.latent(coarser), len(coarser))
        raised, picture = _cut(raised, features), _cut(picture, images)
        return self.encoder.fine_latent(features, raised, images - picture).float()

    def _decode_coarse(self, latent: Tensor, levels: int, present: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Of `levels` coarse levels: features (B, C, h, w) for the rest of the Decoder, and the linear picture."""
        told = self._ready(latent + self.told(self.coarse_embedding, levels, present))
        return self.decoder.raising(told), self.decoder.coarse_linear(self._ready(latent))

    def _ready(self, latent: Tensor) -> Tensor:
        like = next(self.decoder.parameters())
        return latent.to(like.device, like.dtype).contiguous(memory_format=torch.channels_last)

    def decode(self, latents: Sequence[Tensor], levels: int, present: Tensor | None = None) -> Tensor:
        coarse = self.config.coarse_levels
        is_coarse = len(latents) == 1
        raised, picture = self._decode_coarse(latents[0], min(levels, coarse), present if is_coarse else None)
        if present is not None and is_coarse:
            present = enlarged(present, 2, *raised.shape[2:])
        if not is_coarse:
            fine = self._ready(latents[1])
            from_fine, fine_picture = self.decoder.from_fine(fine), self.decoder.fine_linear(fine)
            raised, picture = _cut(raised, from_fine) + from_fine, _cut(picture, fine_picture) + fine_picture
        level = self.told(self.level_embedding, levels, present)
        if present is not None and levels == coarse + 1:  # where there is nothing fine, `from_fine` shall give nothing
            bias = self.decoder.from_fine.bias
            assert bias is not None
            level = torch.where(present[:, None], level, level - bias.float()[:, None, None])
        image: Tensor = self.decoder(raised, picture, self._ready(level))
        return image

    def forward(self, images: Tensor, levels: Tensor) -> AutoencoderOutput:
        """Sides are multiples of 2 f here."""
        most = self.config.coarse_levels
        features, coarse_latent = self.encoder(images)
        coarse = self.coarse(coarse_latent, levels.clamp(max=most))
        embedding = self.coarse_embedding[levels.clamp(max=most) - 1][:, :, None, None]
        raised = self.decoder.raising(coarse.quantized + embedding)
        picture = self.decoder.coarse_linear(coarse.quantized)
        fine_latent = self.encoder.fine_latent(features, raised, images - picture)
        fine = self.fine(fine_latent, (levels - most).clamp(min=0))
        has_fine = (levels > most)[:, None, None, None]
        raised = raised + self.decoder.from_fine(fine.quantized) * has_fine
        picture = picture + self.decoder.fine_linear(fine.quantized) * has_fine
        made = self.decoder(raised, picture, self.level_embedding[levels - 1][:, :, None, None])
        quantization = QuantizeResult(
            fine.quantized,
            coarse.indices + fine.indices,
            coarse.codebook_loss + fine.codebook_loss,
            coarse.commitment_loss + fine.commitment_loss,
        )
        return AutoencoderOutput(made, (coarse_latent, fine_latent), quantization)

    @torch.no_grad()
    def start(self, images: Tensor, generator: torch.Generator) -> None:
        """The linear maps start at principal components, of the images and of what the coarse levels leave of them."""
        networks = self.config.networks
        assert isinstance(networks, HierarchicalConfig)
        begin = partial(start_linear, chroma=networks.start_chroma)
        encoder, decoder = self.encoder, self.decoder
        quieten(encoder, decoder)
        begin(encoder.coarse_linear, decoder.coarse_linear, images)
        coarse_latent = encoder.coarse_linear(images).float()
        self.coarse.start_levels(coarse_latent, generator)
        coarse = self.coarse.latent(self.coarse.tokens(coarse_latent, self.config.coarse_levels))
        left = images - decoder.coarse_linear(coarse)
        begin(encoder.fine_linear, decoder.fine_linear, left)
        self.fine.start_levels(encoder.fine_linear(left).float(), generator)

    def receptive_radius(self) -> tuple[int, int]:
        return encoder_radius(self.encoder, self.decoder), decoder_radius(self.decoder)

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {
            "encoder": [self.encoder],
            "codebooks": [self.coarse, self.fine],
            "decoder": [self.decoder, self.coarse_embedding, self.level_embedding],
        }

    def linear_parts(self) -> list[nn.Module]:
        linear = [self.encoder.coarse_linear, self.encoder.fine_linear]
        return [self.coarse, self.fine, *linear, self.decoder.coarse_linear, self.decoder.fine_linear]


def _cut(tensor: Tensor, like: Tensor) -> Tensor:
    """The first rows and columns, as many as `like` has."""
    return tensor[:, :, : like.shape[2], : like.shape[3]]
