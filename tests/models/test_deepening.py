"""More residual blocks for a trained model: the same pictures and tokens at first, and blocks that learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig, QuantizerConfig
from vqcodec.models.deepening import deepened
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.taming_config import TamingConfig

SMALL = CompactConfig(
    encoder_widths=(6, 8, 10),
    encoder_depths=(0, 1, 2),
    decoder_widths=(6, 8, 10),
    decoder_depths=(1, 0, 2),
    latent_channels=8,
)
TWO_STAGES = CompactConfig(8, (6, 8), (0, 1), (1, 1), (6, 8), (1, 2), (1, 1), latent_channels=8)
CONFIG = AutoencoderConfig(SMALL, QuantizerConfig((16, 8), 4))


def config(**fields: Any) -> AutoencoderConfig:
    return replace(CONFIG, networks=replace(SMALL, **fields))


@pytest.fixture
def network() -> VQAutoencoder:
    torch.manual_seed(5)
    made = VQAutoencoder(CONFIG)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize(
    "fields", [{}, {"decoder_depths": (2, 1, 4)}, {"encoder_depths": (2, 1, 3), "decoder_depths": (1, 1, 2)}]
)
def test_it_gives_what_the_model_gives_and_can_learn(network: VQAutoencoder, fields: dict[str, Any]) -> None:
    made = deepened(network.eval(), config(**fields)).eval()
    assert made.config == config(**fields)
    images = torch.rand(2, 3, 48, 32) * 2 - 1
    levels = torch.tensor([1, 2])
    expected = network(images, levels)
    found = made(images, levels)
    # a block that adds nothing may hand on another memory order, for which a convolution sums in another order
    torch.testing.assert_close(found.reconstruction, expected.reconstruction, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.latents, expected.latents, rtol=1e-5, atol=1e-6)
    assert all(map(torch.equal, made.tokenize(images), network.tokenize(images)))
    found.reconstruction.square().mean().backward()
    silent = [name for name, value in made.named_parameters() if name.endswith("narrow.weight") and not value.any()]
    assert bool(silent) == (fields != {})
    assert all(made.get_parameter(name).grad.any() for name in silent if name.startswith("decoder."))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "fields",
    [
        {"merging_depth": 3},
        {"encoder_depths": (1, 1, 3)},
        {"decoder_depths": ((2, 2), 3, 1), "merging_depth": 2},
    ],
)
def test_networks_of_two_latents_too(fields: dict[str, Any]) -> None:
    torch.manual_seed(5)
    networks = HierarchicalConfig(2, (6, 10, 12), (0, 1, 1), 1, ((1, 1), 1, 1), latent_channels=(9, 7), laps=(4, 2))
    quantizer = QuantizerConfig((16, 8, 8, 8), 4, lookup="euclidean", level_strides=(2, 2, 1, 1))
    network = build_autoencoder(AutoencoderConfig(networks, quantizer)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    made = deepened(network, AutoencoderConfig(replace(networks, **fields), quantizer)).eval()
    images = torch.rand(2, 3, 48, 32) * 2 - 1
    levels = torch.tensor([2, 4])
    found, expected = made(images, levels), network(images, levels)
    torch.testing.assert_close(found.reconstruction, expected.reconstruction, rtol=1e-5, atol=1e-6)
    assert all(map(torch.equal, made.tokenize(images), network.tokenize(images)))
    assert sum(map(torch.numel, made.parameters())) > sum(map(torch.numel, network.parameters()))


@pytest.mark.parametrize(
    "other",
    [
        config(decoder_depths=(1, 0, 1)),
        config(latent_channels=16),
        config(decoder_depths=(2, 0, 2), decoder_hidden=(1.0, 1.0, 1.0)),
        replace(CONFIG, networks=CompactConfig(latent_channels=8, decoder_depths=(1, 0, 2))),
        replace(CONFIG, networks=TWO_STAGES),
        replace(CONFIG, quantizer=QuantizerConfig((16, 16), 4)),
        AutoencoderConfig(TamingConfig(), CONFIG.quantizer),
    ],
)
def test_nothing_else_may_change(network: VQAutoencoder, other: AutoencoderConfig) -> None:
    with pytest.raises(ValueError, match="only encoder_depths, decoder_depths and merging_depth"):
        deepened(network, other)
