"""The shape of the networks of MaskGIT's VQGAN, as saved in a model card. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from vqcodec.models.stages_config import StagesConfig


@dataclass(frozen=True)
class MaskgitConfig(StagesConfig):
    """Shape of the networks; the defaults are those of the ImageNet model with f = 16.

    Raises ValueError for values from which no network can be made.
    """

    #: as in `vqcodec.models.taming_config.TamingConfig`
    pixel_range = "unit"
