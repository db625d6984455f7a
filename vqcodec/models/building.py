"""The autoencoder that a configuration names."""

from __future__ import annotations

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.config import AutoencoderConfig, HierarchicalConfig
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.two_resolutions import HierarchicalAutoencoder


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """Networks of a configuration, with random weights, float32, on the CPU."""
    kind = HierarchicalAutoencoder if isinstance(config.networks, HierarchicalConfig) else VQAutoencoder
    return kind(config)
