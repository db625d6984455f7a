"""Levels of two resolutions: shapes of any size, what a level depends on, tiles, the start."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig, QuantizerConfig
from vqcodec.models.hierarchical import LappedPatches, principal_patches
from vqcodec.models.tiled import TiledAutoencoder
from vqcodec.models.two_resolutions import HierarchicalAutoencoder

NETWORKS = HierarchicalConfig(
    patch=2,
    widths=(6, 10, 12),
    decoder_depths=((1, 1), 1, 1),
    encoder_depths=(0, 1, 1),
    latent_channels=(9, 7),
    laps=(4, 2),
)
QUANTIZER = QuantizerConfig((16, 8, 8, 4), 5, lookup="euclidean", level_strides=(2, 2, 1, 1))
CONFIG = AutoencoderConfig(NETWORKS, QUANTIZER)
#: f, and pixels of a coarse token
FINE, COARSE = 4, 8


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    torch.manual_seed(3)
    made = build_autoencoder(CONFIG).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


def pictures(rows: int, cols: int, count: int = 2) -> Tensor:
    return torch.rand(count, 3, FINE * rows, FINE * cols, generator=torch.Generator().manual_seed(rows)) * 2 - 1


def test_the_configuration_is_its_own_json() -> None:
    assert AutoencoderConfig.from_dict(CONFIG.to_dict()) == CONFIG
    assert CONFIG.level_factors == (COARSE, COARSE, FINE, FINE)
    assert isinstance(build_autoencoder(CONFIG), HierarchicalAutoencoder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"level_strides": (2, 2, 2, 2)}, "coarse levels, 2, then fine, 1"),
        ({"level_strides": ()}, "coarse levels, 2, then fine, 1"),
        ({"level_strides": (4, 2, 1, 1)}, "coarse levels, 2, then fine, 1"),
    ],
)
def test_other_strides_are_refused(changes: dict[str, tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(NETWORKS, replace(QUANTIZER, **changes))  # type: ignore[arg-type]


def test_other_networks_and_laps_are_refused() -> None:
    with pytest.raises(ValueError, match="hierarchical ones"):
        HierarchicalAutoencoder(AutoencoderConfig(CompactConfig(), QuantizerConfig()))
    with pytest.raises(ValueError, match="a lap of 5 pixels: take 0 to 4"):
        replace(NETWORKS, laps=(5, 2))
    with pytest.raises(ValueError, match="label maps need the compact networks"):
        replace(CONFIG, label_map="edges")


@pytest.mark.parametrize("size", [(2, 2), (5, 4), (4, 7), (1, 1)])
def test_any_size_goes_through(network: Autoencoder, size: tuple[int, int]) -> None:
    images = pictures(*size)
    coarse = (2, -(-size[0] // 2), -(-size[1] // 2))
    tokens = network.tokenize(images)
    assert [tuple(grid.shape) for grid in tokens] == [coarse, coarse, (2, *size), (2, *size)]
    assert network.detokenize(tokens).shape == images.shape
    assert network.detokenize(tokens[:2]).shape == (2, 3, COARSE * coarse[1], COARSE * coarse[2])


def test_fewer_levels_are_the_first_ones_of_more(network: Autoencoder) -> None:
    images = pictures(6, 4)
    whole = network.tokenize(images)
    for levels in (1, 2, 3):
        assert all(map(torch.equal, network.tokenize(images, levels), whole))


def test_a_training_pass_is_tokenize_and_detokenize(network: Autoencoder) -> None:
    images = pictures(4, 6, count=4)
    levels = torch.tensor([1, 2, 3, 4])
    output = network(images, levels)
    tokens = network.tokenize(images)
    for number in range(4):
        first = [grid[number : number + 1] for grid in tokens[: number + 1]]
        torch.testing.assert_close(output.reconstruction[number : number + 1], network.detokenize(first))
    # a level that comes into use after a picture's last one is chosen without that picture's coarser levels
    assert all(torch.equal(a[3], b[3]) for a, b in zip(output.quantization.indices, tokens, strict=True))
    assert [tuple(latent.shape) for latent in output.latents] == [(4, 9, 2, 3), (4, 7, 4, 6)]


def test_every_parameter_learns() -> None:
    torch.manual_seed(0)
    network = build_autoencoder(CONFIG)
    network.start(pictures(8, 8, count=6), torch.Generator().manual_seed(0))
    network.begin_learning()
    output = network(pictures(4, 4, count=4), torch.tensor([1, 2, 3, 4]))
    quantization = output.quantization
    (output.reconstruction.square().mean() + quantization.codebook_loss + quantization.commitment_loss).backward()
    without = [name for name, value in network.named_parameters() if value.grad is None]
    assert without == []
    assert network.revive_dead_codes(output.latents, torch.Generator().manual_seed(0)) >= 0


def test_it_starts_as_a_working_codec() -> None:
    torch.manual_seed(0)
    network = build_autoencoder(CONFIG).eval()
    smooth = torch.nn.functional.avg_pool2d(pictures(40, 40, count=8), 9, 1, 4) * 3
    network.start(smooth, torch.Generator().manual_seed(0))
    with torch.no_grad():
        errors = [
            float((network.detokenize(network.tokenize(smooth, levels)) - smooth).square().mean())
            for levels in range(1, 5)
        ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.5 * float(smooth.var())


@pytest.mark.parametrize("size", [(13, 18), (3, 20)])
def test_tiles_cannot_be_told_from_the_whole(
    network: Autoencoder, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiled = TiledAutoencoder(network, torch.device("cpu"), torch.float32)
    images = pictures(*size)
    tokens, analysis = network.tokenize(images), network.analyse(images)
    decoded = network.detokenize(tokens)
    fewer = [*tokens[:-1], torch.where(torch.rand(tokens[-1].shape) < 0.5, tokens[-1], -1)]
    decoded_fewer = network.detokenize(fewer)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 2)
    assert all(map(torch.equal, tiled.tokenize(images, 4), tokens))
    torch.testing.assert_close(tiled.detokenize(tokens), decoded)
    torch.testing.assert_close(tiled.detokenize(fewer), decoded_fewer)
    whole = tiled.analyse(images)
    for one, other in zip(whole.tensors, analysis.tensors, strict=True):
        torch.testing.assert_close(one, other)
    assert all(map(torch.equal, network.choose_tokens(whole, 4), tokens))
    monkeypatch.setattr(tiled, "decoder_halo", 0)
    assert not torch.allclose(tiled.detokenize(tokens), decoded)


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_without_its_finest_tokens_a_picture_is_one_of_a_level_less(network: Autoencoder, levels: int) -> None:
    """But for the bias of the fine levels' linear picture, where the first of them is missing."""
    network = copy.deepcopy(network)
    network.decoder.fine_linear.bias.data.zero_()
    tokens = network.tokenize(pictures(12, 18), levels)
    nothing = [*tokens[:-1], torch.full_like(tokens[-1], -1)]
    torch.testing.assert_close(network.detokenize(nothing), network.detokenize(tokens[:-1]), atol=1e-4, rtol=0)
    half = [*tokens[:-1], tokens[-1].clone()]
    half[-1][:, :, half[-1].shape[2] // 2 :] = -1
    assert not torch.equal(network.detokenize(half), network.detokenize(tokens))


def test_radii_are_what_a_change_reaches(network: Autoencoder) -> None:
    radii = network.receptive_radius()
    assert radii is not None
    size = 2 * (max(radii) // FINE + 3)
    tokens = [grid.clone() for grid in network.tokenize(pictures(size, size, count=1))]
    before = network.detokenize(tokens)
    middle = size // 4
    tokens[0][0, middle, middle] = (tokens[0][0, middle, middle] + 7) % 16
    changed = (network.detokenize(tokens) != before).any(dim=1)[0].nonzero()
    low, high = int(changed.min()), int(changed.max())
    first, last = COARSE * middle, COARSE * middle + COARSE - 1
    assert first - radii[1] <= low < first
    assert last < high <= last + radii[1]


def test_patches_that_lap_add_up_to_what_they_are_of() -> None:
    """A constant picture: under windows that add up to one, the patches give it back between the borders."""
    for lap in (0, 2, 4):
        patches = LappedPatches(1, 8, lap)
        patches.start_at(torch.ones(1, 3, 8, 8), torch.zeros(3))
        made = patches(torch.ones(1, 1, 3, 3))
        assert made.shape == (1, 3, 24, 24)
        torch.testing.assert_close(made, torch.ones_like(made))


@pytest.mark.parametrize("chroma", [1.0, 2.0])
def test_principal_patches_give_all_of_a_patch_back(chroma: float) -> None:
    images = pictures(6, 6)
    analysis, synthesis, mean = principal_patches(images, 4, 48, chroma)
    latents = torch.einsum("nchw,bchw->bn", analysis, images[:, :, :4, :4] - mean[:, None, None])
    torch.testing.assert_close(
        torch.einsum("bn,nchw->bchw", latents, synthesis) + mean[:, None, None], images[:, :, :4, :4], atol=1e-4, rtol=0
    )
