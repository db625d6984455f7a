"""The autoencoder of one latent: Encoder, residual quantisation, Decoder (VQGAN, Esser et al., 2021).

Shapes: B batch, H W pixels, h w rows and columns of the latent, C latent channels, L levels, s the stride of a level in
positions of the latent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import torch
from torch import Tensor, nn

from vqcodec.models import compact
from vqcodec.models.autoencoder import Analysis, Autoencoder, AutoencoderOutput
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.magvit import MagvitDecoder, MagvitEncoder
from vqcodec.models.magvit_config import MagvitConfig
from vqcodec.models.maskgit import MaskgitDecoder, MaskgitEncoder
from vqcodec.models.maskgit_config import MaskgitConfig
from vqcodec.models.movq import MovqDecoder
from vqcodec.models.multi_scale import MultiScaleQuantizer
from vqcodec.models.quantizer import Choice, ResidualQuantizer, enlarged, nearest
from vqcodec.models.taming import TamingDecoder, TamingEncoder, taming_config, taming_state
from vqcodec.models.taming_config import TamingConfig

EncoderNetwork: TypeAlias = compact.Encoder | TamingEncoder | MaskgitEncoder | MagvitEncoder
DecoderNetwork: TypeAlias = compact.Decoder | TamingDecoder | MovqDecoder | MaskgitDecoder | MagvitDecoder


class VQAutoencoder(Autoencoder):
    """Encoder, residual quantisation and Decoder, of the compact networks, the paper's, MoVQ's, MaskGIT's or
    Open-MAGVIT2's.

    A model of label maps takes scaled one-hot maps (`vqcodec.models.network_input.one_hot`) where others take pictures,
    with as many channels as there are classes, and gives logits. Raises ValueError for networks of another kind.
    """

    encoder: EncoderNetwork
    decoder: DecoderNetwork

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        if isinstance(config.networks, CompactConfig):
            self.encoder = compact.Encoder(config.networks, config.channels)
            self.decoder = compact.Decoder(config.networks, config.channels)
        elif isinstance(config.networks, TamingConfig):
            self.encoder = TamingEncoder(config.networks)
            self.decoder = (MovqDecoder if config.networks.spatial_norms else TamingDecoder)(config.networks)
        elif isinstance(config.networks, MaskgitConfig):
            self.encoder, self.decoder = MaskgitEncoder(config.networks), MaskgitDecoder(config.networks)
        elif isinstance(config.networks, MagvitConfig):
            self.encoder, self.decoder = MagvitEncoder(config.networks), MagvitDecoder(config.networks)
        else:
            raise ValueError("networks of several latents are those of another autoencoder")
        networks = config.networks
        channels = networks.quantized_channels if isinstance(networks, TamingConfig) else networks.latent_channels
        kind = MultiScaleQuantizer if config.quantizer.level_grids else ResidualQuantizer
        self.quantizer: ResidualQuantizer = kind(channels, config.quantizer)
        #: tells the Decoder how many levels it gets: one vector (C,) for each count of levels
        self.level_embedding = nn.Parameter(torch.zeros(config.levels, channels))

    @property
    def quantizers(self) -> list[ResidualQuantizer]:
        return [self.quantizer]

    @property
    def last_layer(self) -> nn.Conv2d:
        return self.decoder.last_layer

    def analyse(self, images: Tensor) -> Analysis:
        return Analysis((self.encoder(images).float(),), (Fraction(1),))

    def choose_tokens(self, analysis: Analysis, levels: int, choose: Choice = nearest) -> list[Tensor]:
        return self.quantizer.tokens(analysis.tensors[0], levels, choose)

    def latents(self, images: Tensor, tokens: Sequence[Tensor]) -> list[Tensor]:
        return [self.encoder(images).float()]

    def decode(self, latents: Sequence[Tensor], levels: int, present: Tensor | None = None) -> Tensor:
        if present is not None:
            rows, cols = latents[0].shape[2:]
            present = enlarged(present, self.config.quantizer.strides[levels - 1], rows, cols)
        latent = latents[0] + self.told(self.level_embedding, levels, present)
        like = next(self.decoder.parameters())
        ready = latent.to(like.device, like.dtype).contiguous(memory_format=torch.channels_last)
        image: Tensor = self.decoder(ready)
        return image

    def forward(self, images: Tensor, levels: Tensor) -> AutoencoderOutput:
        latent = self.encoder(images)
        quantization = self.quantizer(latent, levels)
        conditioned = quantization.quantized + self.level_embedding[levels - 1][:, :, None, None]
        return AutoencoderOutput(self.decoder(conditioned), (latent,), quantization)

    @torch.no_grad()
    def start(self, images: Tensor, generator: torch.Generator) -> None:
        """The compact networks start from the patches of the images, the levels by k-means."""
        if isinstance(self.encoder, compact.Encoder) and isinstance(self.decoder, compact.Decoder):
            compact.start_from_patches(self.encoder, self.decoder, images)
            latent = self.encoder.linear(images)
        else:
            latent = torch.cat([self.encoder(part) for part in images.split(8)])
        self.quantizer.start_levels(latent.float(), generator)

    def receptive_radius(self) -> tuple[int, int] | None:
        if isinstance(self.encoder, compact.Encoder) and isinstance(self.decoder, compact.Decoder):
            factor = self.config.downsampling_factor
            return compact.receptive_radius(self.encoder, factor), compact.receptive_radius(self.decoder, factor)
        return None

    def parts(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {
            "encoder": [self.encoder],
            "codebooks": [self.quantizer],
            "decoder": [self.decoder, self.level_embedding],
        }

    def linear_parts(self) -> list[nn.Module]:
        compact_networks = [
            net for net in (self.encoder, self.decoder) if isinstance(net, compact.Encoder | compact.Decoder)
        ]
        return [self.quantizer, *(network.linear for network in compact_networks)]


def from_official(state_dict: Mapping[str, Tensor]) -> VQAutoencoder:
    """The autoencoder of an official VQGAN checkpoint (a Lightning file's entry "state_dict"), float32, on the CPU.

    Raises ValueError for other state dicts, see `vqcodec.models.taming.taming_state`.
    """
    state = taming_state(state_dict)
    codes, dimension = state.quantizer["code_vectors"].shape
    quantizer = QuantizerConfig((codes,), dimension, codebook="gradient", lookup="euclidean")
    network = VQAutoencoder(AutoencoderConfig(taming_config(state_dict), quantizer))
    network.encoder.load_state_dict(state.encoder)
    network.decoder.load_state_dict(state.decoder)
    level = dict(state.quantizer)
    level["codebook.code_vectors"] = level.pop("code_vectors")
    network.quantizer.each()[0].load_state_dict(level)
    return network
