"""The stage-1 autoencoder: an Encoder, quantisation in levels, a Decoder.

Shapes: B batch, H W pixels, h w rows and columns of the latent, C latent channels, L levels, s the stride of a
level in positions of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vqcodec.models import compact
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.quantizer import QuantizeResult, ResidualQuantizer
from vqcodec.models.taming import TamingDecoder, TamingEncoder, taming_config, taming_state

EncoderNetwork: TypeAlias = compact.Encoder | TamingEncoder
DecoderNetwork: TypeAlias = compact.Decoder | TamingDecoder


@dataclass(frozen=True)
class AutoencoderOutput:
    """reconstruction: (B, 3, H, W), about in [-1, 1]. latent: (B, C, h, w) before quantisation."""

    reconstruction: Tensor
    latent: Tensor
    quantization: QuantizeResult


class VQAutoencoder(nn.Module):
    """Encoder, residual quantisation and Decoder.

    A model of label maps takes scaled one-hot maps (`vqcodec.models.network_input.one_hot`) where others take pictures,
    with as many channels as there are classes, and gives logits.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder: EncoderNetwork
        self.decoder: DecoderNetwork
        if isinstance(config.networks, CompactConfig):
            self.encoder = compact.Encoder(config.networks, config.channels)
            self.decoder = compact.Decoder(config.networks, config.channels)
        else:
            self.encoder, self.decoder = TamingEncoder(config.networks), TamingDecoder(config.networks)
        self.quantizer = ResidualQuantizer(config.latent_channels, config.quantizer)
        #: tells the Decoder how many levels it gets: one vector (C,) for each count of levels
        self.level_embedding = nn.Parameter(torch.zeros(config.levels, config.latent_channels))

    def tokenize(self, images: Tensor, levels: int | None = None) -> list[Tensor]:
        """Images (B, 3, H, W) in [-1, 1], sides multiples of f -> tokens (B, h / s, w / s) int64 for each level."""
        return self.quantizer.tokens(self.encoder(images).float(), levels or self.config.levels)

    def latent(self, tokens: list[Tensor]) -> Tensor:
        """Tokens (B, h / s, w / s) of the first levels -> what the Decoder takes, (B, C, h, w) float32."""
        return self.quantizer.latent(tokens) + self.level_embedding[len(tokens) - 1][:, None, None]

    def detokenize(self, tokens: list[Tensor]) -> Tensor:
        """Tokens (B, h / s, w / s) of the first levels -> images (B, 3, H, W), about in [-1, 1], not clamped."""
        image: Tensor = self.decoder(self.latent(tokens))
        return image

    def forward(self, images: Tensor, levels: Tensor) -> AutoencoderOutput:
        """Training pass: images (B, 3, H, W) in [-1, 1], levels (B,) in 1..L: how many levels each picture uses."""
        latent = self.encoder(images)
        quantization = self.quantizer(latent, levels)
        conditioned = quantization.quantized + self.level_embedding[levels - 1][:, :, None, None]
        return AutoencoderOutput(self.decoder(conditioned), latent, quantization)

    @torch.no_grad()
    def start(self, images: Tensor, generator: torch.Generator) -> None:
        """Start from images (B, 3, H, W) in [-1, 1]: the default networks from their patches, the levels by k-means.

        Raises ValueError when the images have fewer positions than a level has codes.
        """
        if isinstance(self.encoder, compact.Encoder) and isinstance(self.decoder, compact.Decoder):
            compact.start_from_patches(self.encoder, self.decoder, images)
            latent = self.encoder.linear(images)
        else:
            latent = torch.cat([self.encoder(part) for part in images.split(8)])
        self.quantizer.start_levels(latent.float(), generator)

    def receptive_radius(self) -> tuple[int, int] | None:
        """Pixels that the Encoder sees beyond a token's own, and pixels that a token reaches beyond its own.

        None for networks that look at the whole picture, by attention or normalisation: these cannot work in tiles.
        """
        if isinstance(self.encoder, compact.Encoder) and isinstance(self.decoder, compact.Decoder):
            factor = self.config.downsampling_factor
            return compact.receptive_radius(self.encoder, factor), compact.receptive_radius(self.decoder, factor)
        return None


def from_official(state_dict: Mapping[str, Tensor]) -> VQAutoencoder:
    """The autoencoder of an official VQGAN checkpoint (a Lightning file's entry "state_dict"), float32, on the CPU.

    Raises ValueError for other state dicts, see `vqcodec.models.taming.taming_state`.
    """
    state = taming_state(state_dict)
    codes, dimension = state.quantizer["code_vectors"].shape
    quantizer = QuantizerConfig((codes,), dimension, codebook="gradient", lookup="euclidean")
    made = VQAutoencoder(AutoencoderConfig(taming_config(state_dict), quantizer))
    made.encoder.load_state_dict(state.encoder)
    made.decoder.load_state_dict(state.decoder)
    level = dict(state.quantizer)
    level["codebook.code_vectors"] = level.pop("code_vectors")
    made.quantizer.each()[0].load_state_dict(level)
    return made
