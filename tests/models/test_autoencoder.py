"""The stage-1 networks: configurations, shapes, receptive field."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vqcodec.models.compact import Decoder, Encoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.layers import ResidualBlock
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.taming_config import TamingConfig


def make_config(stages: int = 3, **changes: Any) -> AutoencoderConfig:
    values: dict[str, Any] = {
        "patch": 4,
        "encoder_widths": (6, 8, 10)[:stages],
        "encoder_depths": (1, 1, 2)[:stages],
        "encoder_hidden": (0.5, 0.5, 1.0)[:stages],
        "decoder_widths": (6, 8, 10)[:stages],
        "decoder_depths": (1, 2, 1)[:stages],
        "decoder_hidden": (1.0, 1.0, 1.0)[:stages],
        "latent_channels": 8,
        "padding": "zeros",
    }
    quantizer = QuantizerConfig(changes.pop("codebook_sizes", (16, 8)), 4)
    return AutoencoderConfig(CompactConfig(**(values | changes)), quantizer)


CONFIGS = {
    "f16": make_config(),
    "f8": make_config(2),
    "f2": make_config(1, patch=2, codebook_sizes=(4,)),
    "f32": make_config(patch=8),
    "replicate": make_config(padding="replicate"),
    "no blocks": make_config(encoder_depths=(0, 0, 0), decoder_depths=(0, 0, 0)),
}


@pytest.fixture(params=CONFIGS.values(), ids=CONFIGS.keys())
def network(request: pytest.FixtureRequest) -> VQAutoencoder:
    """Every weight random, the ones that start at zero too."""
    torch.manual_seed(3)
    made = VQAutoencoder(request.param).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    return made


# ---- configuration ----


def test_config_survives_json() -> None:
    for config in (AutoencoderConfig(), *CONFIGS.values()):
        assert AutoencoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(("name", "classes"), [("edges", 2), ("colours", 16)])
def test_a_label_map_survives_json_and_gives_the_channels(name: str, classes: int) -> None:
    config = replace(CONFIGS["f8"], label_map=name)
    assert AutoencoderConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.channels == classes
    network = VQAutoencoder(config).eval()
    assert network(torch.rand(1, classes, 16, 8), torch.tensor([2])).reconstruction.shape == (1, classes, 16, 8)


def test_the_configuration_of_a_model_of_pictures_says_nothing_of_label_maps() -> None:
    """So that the fingerprints from before there were any stay."""
    for config in (AutoencoderConfig(), *CONFIGS.values()):
        assert set(config.to_dict()) == {"networks", "quantizer"}
        assert config.channels == 3


def test_label_maps_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="label map 'depth': there are edges, colours"):
        AutoencoderConfig(label_map="depth")
    with pytest.raises(ValueError, match="label maps need the compact networks; all others take pictures only"):
        AutoencoderConfig(TamingConfig(), label_map="edges")


def test_config_properties() -> None:
    config = AutoencoderConfig()
    assert (config.downsampling_factor, config.levels) == (16, 4)
    assert [config.downsampling_factor for config in CONFIGS.values()] == [16, 8, 2, 32, 16, 16]


@pytest.mark.parametrize("name", ["encoder_depths", "encoder_hidden", "decoder_widths", "decoder_depths"])
def test_stages_of_unequal_number_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="equal lengths"):
        make_config(**{name: (1, 1)})


def test_a_model_without_codebooks_is_refused() -> None:
    with pytest.raises(ValueError, match="one or more of 2 to 262144"):
        make_config(codebook_sizes=())


def test_a_misspelt_field_is_refused() -> None:
    values = make_config().to_dict()
    values["networks"]["pach"] = 4
    with pytest.raises(TypeError, match="pach"):
        AutoencoderConfig.from_dict(values)


# ---- shapes ----


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 3)])
def test_any_size_goes_through(network: VQAutoencoder, size: tuple[int, int]) -> None:
    factor, levels = network.config.downsampling_factor, network.config.levels
    images = torch.rand(2, 3, size[0] * factor, size[1] * factor) * 2 - 1
    tokens = network.tokenize(images)
    assert [grid.shape for grid in tokens] == [(2, *size)] * levels
    assert all(grid.dtype == torch.int64 for grid in tokens)
    assert network.detokenize(tokens).shape == images.shape
    output = network(images, torch.tensor([1, levels]))
    assert output.reconstruction.shape == images.shape
    assert output.latents[0].shape == (2, network.config.networks.latent_channels, *size)
    first = network.tokenize(images, 1)
    assert len(first) == 1
    assert torch.equal(first[0], tokens[0])


def test_forward_is_tokenize_and_detokenize(network: VQAutoencoder) -> None:
    factor, levels = network.config.downsampling_factor, network.config.levels
    images = torch.rand(2, 3, 2 * factor, 3 * factor) * 2 - 1
    for count in range(1, levels + 1):
        output = network(images, torch.full((2,), count))
        tokens = network.tokenize(images, count)
        torch.testing.assert_close(output.reconstruction, network.detokenize(tokens))
        for index, grid in zip(output.quantization.indices, tokens, strict=False):
            assert torch.equal(index, grid)


def test_the_decoder_is_told_how_many_levels_it_gets() -> None:
    torch.manual_seed(3)
    network = VQAutoencoder(CONFIGS["f16"]).eval().requires_grad_(False)
    tokens = [torch.zeros(1, 2, 2, dtype=torch.int64)] * 2
    before = [network.detokenize(tokens[:count]) for count in (1, 2)]
    network.level_embedding[0] += 1
    after = [network.detokenize(tokens[:count]) for count in (1, 2)]
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_pictures_of_a_batch_do_not_meet(network: VQAutoencoder) -> None:
    factor = network.config.downsampling_factor
    images = torch.rand(3, 3, 2 * factor, 2 * factor) * 2 - 1
    latent = network.encoder(images)
    for number in range(3):
        torch.testing.assert_close(network.encoder(images[number : number + 1]), latent[number : number + 1])


def test_blocks_start_without_effect() -> None:
    torch.manual_seed(0)
    block = ResidualBlock(6, 4)
    assert block.narrow.bias is not None
    nn.init.zeros_(block.narrow.bias)
    x = torch.rand(1, 6, 3, 3)
    assert torch.equal(block(x), x)


def started(latent_channels: int) -> tuple[VQAutoencoder, Tensor]:
    """Networks for 2 x 2 patches, started from smooth pictures; the pictures."""
    torch.manual_seed(0)
    network = VQAutoencoder(make_config(1, patch=2, latent_channels=latent_channels)).requires_grad_(False)
    network.quantizer.begin_learning()
    images = nn.functional.interpolate(torch.rand(4, 3, 6, 6) * 2 - 1, size=(16, 16), mode="bicubic")
    network.start(images, torch.Generator().manual_seed(1))
    return network.eval(), images


@pytest.mark.parametrize("latent_channels", [12, 20])
def test_it_starts_as_a_linear_map_of_patches(latent_channels: int) -> None:
    """With as many channels as a patch has dimensions, the linear part gives the very picture back."""
    network, images = started(latent_channels)
    assert isinstance(network.encoder, Encoder)
    assert isinstance(network.decoder, Decoder)
    grid = network.encoder.linear(images)
    latents = grid.permute(0, 2, 3, 1).flatten(0, 2)
    torch.testing.assert_close(network.decoder.linear(grid), images, rtol=0, atol=1e-4)
    torch.testing.assert_close(latents.mean(dim=0), torch.zeros(latent_channels), rtol=0, atol=1e-4)
    assert not latents[:, 12:].any()
    assert (network.decoder(network.encoder(images)) - images).abs().mean() < 0.2


def test_it_starts_as_a_residual_quantiser_of_patches() -> None:
    network, images = started(12)
    errors = [float((images - images.mean(dim=(0, 2, 3), keepdim=True)).square().mean())]
    for levels in (1, 2):
        errors.append(float((network.detokenize(network.tokenize(images, levels)) - images).square().mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[1] < 0.5 * errors[0]


# ---- receptive field ----


def reach(changed: Tensor, first: int, last: int) -> tuple[int, int]:
    """How far the changed places (n,) lie before `first` and after `last`."""
    places = changed.nonzero().flatten()
    return first - int(places.min()), int(places.max()) - last


def test_encoder_radius_is_what_a_token_sees(network: VQAutoencoder) -> None:
    """The gradient of the middle token is non-zero exactly as far as the radius says."""
    radii, factor = network.receptive_radius(), network.config.downsampling_factor
    assert radii is not None
    assert isinstance(network.config.networks, CompactConfig)
    radius = radii[0]
    middle = -(-radius // factor) + 1
    side = (2 * middle + 1) * factor
    images = (torch.rand(1, 3, side, side, dtype=torch.float64) * 2 - 1).requires_grad_()
    latent = network.encoder.double()(images)
    weights = torch.rand(latent.shape[1], dtype=torch.float64)
    (weights * latent[0, :, middle, middle]).sum().backward()
    assert images.grad is not None
    seen = images.grad[0].abs().amax(dim=0) > 0
    for axis in (0, 1):
        for distance in reach(seen.any(dim=axis), middle * factor, (middle + 1) * factor - 1):
            assert radius - network.config.networks.patch < distance <= radius


def test_decoder_radius_is_what_a_token_reaches(network: VQAutoencoder) -> None:
    radii, factor = network.receptive_radius(), network.config.downsampling_factor
    assert radii is not None
    radius = radii[1]
    middle = -(-radius // factor) + 1
    latent = torch.randn(
        1, network.config.networks.latent_channels, 2 * middle + 1, 2 * middle + 1, dtype=torch.float64
    )
    changed = latent.clone()
    changed[0, :, middle, middle] += torch.randn(network.config.networks.latent_channels, dtype=torch.float64)
    decoder = network.decoder.double()
    assert isinstance(decoder, Decoder)
    touched = (decoder(latent) != decoder(changed))[0].any(dim=0)
    for axis in (0, 1):
        for distance in reach(touched.any(dim=axis), middle * factor, (middle + 1) * factor - 1):
            assert radius - factor < distance <= radius
