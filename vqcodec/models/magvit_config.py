"""The shape of the networks of Open-MAGVIT2 and SimVQ, as saved in a model card. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from vqcodec.models.stages_config import StagesConfig


@dataclass(frozen=True)
class MagvitConfig(StagesConfig):
    """Shape of the networks; the defaults are those of Open-MAGVIT2's tokenizer of ImageNet.

    Raises ValueError for values from which no network can be made.
    """

    residual_blocks: int = 4
    latent_channels: int = 18
    #: the Decoder's stages begin with a scale and a shift that follow the statistics of the latents
    adaptive: bool = True

    #: as in `vqcodec.models.taming_config.TamingConfig`
    pixel_range = "signed"
