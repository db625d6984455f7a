"""The core against torch, and against itself: the same bits however pictures are cut and batched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import reference_pixels
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig, QuantizerConfig
from vqcodec.models.core_engine import CoreEngine
from vqcodec.models.core_networks import core_computes, receptive_radius
from vqcodec.models.engine import Engine, LevelInput, Tokens
from vqcodec.models.torch_engine import TorchEngine
from vqcodec.native.library import core, use_threads
from vqcodec.native.networks import WeightsError
from vqcodec.pictures.tiling import Area, joined

LIBRARY = core()
if LIBRARY is None:
    pytest.skip("the core in C is not there", allow_module_level=True)

_COMPACT = CompactConfig(
    encoder_widths=(16, 24, 20),
    encoder_depths=(1, 1, 1),
    decoder_widths=(16, 24, 20),
    decoder_depths=(1, 1, 2),
    decoder_hidden=(1.0, 0.5, 0.25),
    latent_channels=12,
)
_HIERARCHICAL = HierarchicalConfig(
    widths=(16, 24, 32), encoder_depths=(1, 1, 1), decoder_depths=((1, 1), 1, 1), latent_channels=(20, 12), laps=(5, 2)
)
_CODES = QuantizerConfig((40, 33), 5)
CONFIGS = {
    "compact": AutoencoderConfig(_COMPACT, _CODES),
    "zeros beyond the border": AutoencoderConfig(replace(_COMPACT, padding="zeros"), _CODES),
    "euclidean": AutoencoderConfig(_COMPACT, replace(_CODES, lookup="euclidean", code_dimension=17)),
    "cosine, gradient": AutoencoderConfig(_COMPACT, replace(_CODES, lookup="cosine", codebook="gradient")),
    "sim": AutoencoderConfig(_COMPACT, replace(_CODES, codebook="sim")),
    "strides": AutoencoderConfig(_COMPACT, replace(_CODES, level_strides=(2, 1))),
    "strides of two levels": AutoencoderConfig(_COMPACT, replace(_CODES, level_strides=(4, 2))),
    "hierarchical": AutoencoderConfig(
        _HIERARCHICAL, QuantizerConfig((40, 33, 20), 6, lookup="euclidean", level_strides=(2, 1, 1))
    ),
    "hierarchical, two coarse": AutoencoderConfig(
        replace(_HIERARCHICAL, laps=(8, 4)), QuantizerConfig((40, 33, 20), 6, level_strides=(2, 2, 1))
    ),
}


def painted_by(engine: Engine, tokens: Sequence[Tokens], width: int, height: int) -> np.ndarray:
    area = Area(0, 0, width, height)
    return joined(engine.bands(tokens, area), area)


def engines(name: str) -> tuple[CoreEngine, TorchEngine]:
    """Of the same random weights."""
    network = random_network(name)
    assert LIBRARY is not None
    engine = CoreEngine(LIBRARY, weights_of(network), CONFIGS[name])
    return engine, TorchEngine(network, torch.device("cpu"), torch.float32)


def random_network(name: str) -> Autoencoder:
    """No weight at zero."""
    torch.manual_seed(3)
    network = build_autoencoder(CONFIGS[name])
    with torch.no_grad():
        for value in network.parameters():
            value += 0.1 * torch.randn(value.shape) / max(1, value[0].numel() ** 0.5 if value.ndim else 1)
        for key, value in network.named_buffers():
            if key.endswith(("mean", "variance")):
                value += 0.1 * torch.rand(value.shape)
    return network


def in_places(tokens: list[np.ndarray], seed: int = 0) -> list[np.ndarray]:
    """The same, but none in half of the places of the finest level."""
    chosen = np.random.default_rng(seed).random(tokens[-1].shape) < 0.5
    return [*tokens[:-1], np.where(chosen, tokens[-1], -1).astype(np.int32)]


def weights_of(network: Autoencoder) -> dict[str, np.ndarray]:
    return {key: value.detach().numpy().copy() for key, value in network.state_dict().items()}


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6 + 2, width // 6 + 2, 3), dtype=np.uint8)
    return np.ascontiguousarray(np.kron(coarse, np.ones((6, 6, 1), np.uint8))[:height, :width])


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("size", [(67, 45), (16, 16), (1, 3), (96, 72)])
def test_it_gives_what_torch_gives(name: str, size: tuple[int, int]) -> None:
    native, reference = engines(name)
    rgb, levels = picture(*size), CONFIGS[name].levels
    for count in (1, levels):
        tokens, expected = native.tokenize_pixels(rgb, count), reference.tokenize_pixels(rgb, count)
        assert [grid.shape for grid in tokens] == [grid.shape for grid in expected]
        # rounding may decide between codes that are as near: the level after then sees something else
        assert np.mean(tokens[0] == expected[0]) > 0.97
        made = native.detokenize([grid[None] for grid in expected])
        np.testing.assert_allclose(made, reference.detokenize([g[None] for g in expected]), rtol=0, atol=1e-4)
        for shown in [expected] if count == 1 else [expected, in_places(expected)]:
            painted = painted_by(native, shown, *size).astype(int)
            assert np.abs(painted - painted_by(reference, shown, *size)).max() <= 1


@pytest.mark.parametrize("name", CONFIGS)
def test_it_gives_the_bits_of_a_decoder_and_an_encoder_written_from_the_format(name: str) -> None:
    weights, config = weights_of(random_network(name)), CONFIGS[name]
    native, _ = engines(name)
    for size in ((53, 36), (16, 40)):
        rgb = picture(*size)
        for levels in {1, *range(2, config.levels + 1)}:
            tokens = native.tokenize_pixels(rgb, levels)
            expected = reference_pixels.encode(weights, config.to_dict(), rgb, levels)
            assert all(np.array_equal(ours, theirs) for ours, theirs in zip(tokens, expected, strict=True))
            for shown in [expected] if levels == 1 else [expected, in_places(expected)]:
                painted = reference_pixels.decode(weights, config.to_dict(), shown, size)
                assert np.array_equal(painted_by(native, shown, *size), painted)


@pytest.mark.parametrize("name", ["compact", "strides", "hierarchical", "hierarchical, two coarse"])
@pytest.mark.parametrize("tile", [3, 4, 7])
def test_how_a_picture_is_cut_changes_no_bit(name: str, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    native, _ = engines(name)
    rgb = picture(16 * 23 + 5, 16 * 17 - 3)
    levels = CONFIGS[name].levels
    tokens = native.tokenize_pixels(rgb, levels)
    pixels = painted_by(native, tokens, rgb.shape[1], rgb.shape[0])
    fewer = in_places(list(tokens))
    pixels_of_fewer = painted_by(native, fewer, rgb.shape[1], rgb.shape[0])
    analysis = native.analyse(rgb)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", tile)
    for ours, whole in zip(native.tokenize_pixels(rgb, levels), tokens, strict=True):
        assert np.array_equal(ours, whole)
    assert np.array_equal(painted_by(native, tokens, rgb.shape[1], rgb.shape[0]), pixels)
    assert np.array_equal(painted_by(native, fewer, rgb.shape[1], rgb.shape[0]), pixels_of_fewer)
    for ours, whole in zip(native.analyse(rgb), analysis, strict=True):
        assert np.array_equal(ours, whole)


@pytest.mark.parametrize("name", ["compact", "hierarchical"])
def test_batches_threads_and_floats_change_no_bit(name: str) -> None:
    native, _ = engines(name)
    levels = CONFIGS[name].levels
    pictures = [picture(48, 32, seed) for seed in range(7)]
    floats = np.stack([rgb.transpose(2, 0, 1) / np.float32(127.5) - np.float32(1) for rgb in pictures])
    together = native.tokenize(floats, levels)
    images = native.detokenize(together)
    try:
        for number, rgb in enumerate(pictures):
            use_threads(1 + number % 4)
            alone = native.tokenize_pixels(rgb, levels)
            assert all(np.array_equal(a[number], b) for a, b in zip(together, alone, strict=True))
            assert np.array_equal(native.detokenize([grid[None] for grid in alone])[0], images[number])
    finally:
        use_threads(None)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 80), st.integers(1, 80), st.sampled_from(["compact", "hierarchical"]))
def test_any_size(width: int, height: int, name: str) -> None:
    native, reference = engines(name)
    rgb = picture(width, height, seed=width)
    tokens = native.tokenize_pixels(rgb, CONFIGS[name].levels)
    assert [g.shape for g in tokens] == [g.shape for g in reference.tokenize_pixels(rgb, CONFIGS[name].levels)]
    painted = painted_by(native, tokens, width, height)
    assert painted.shape == rgb.shape
    assert np.abs(painted.astype(int) - painted_by(reference, tokens, width, height)).max() <= 1


@pytest.mark.parametrize("name", ["compact", "strides", "hierarchical"])
def test_chosen_tokens_are_asked_for_level_by_level(name: str) -> None:
    native, reference = engines(name)
    rgb = picture(70, 60)
    seen: list[list[np.ndarray]] = []
    for engine in (native, reference):
        distances: list[np.ndarray] = []

        def choose(number: int, given: LevelInput, distances: list[np.ndarray] = distances) -> Tokens:
            positions = np.arange(given.shape[0] * given.shape[1])[::3]
            distances.append(given.distances(positions))
            nearest = given.nearest()
            assert np.array_equal(distances[-1].argmin(axis=1), nearest.reshape(-1)[::3])
            assert 0 <= given.mean_distance() <= float(distances[-1].max())
            return (nearest + 1) % CONFIGS[name].quantizer.codebook_sizes[number]

        engine.choose_tokens(engine.analyse(rgb), CONFIGS[name].levels, choose)
        seen.append(distances)
    for ours, theirs in zip(*seen, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
        break  # later levels follow choices, which rounding may decide


def test_shapes_are_checked() -> None:
    native, _ = engines("compact")
    with pytest.raises(ValueError, match="multiples of 16"):
        native.tokenize(np.zeros((1, 3, 17, 16), np.float32), 1)
    with pytest.raises(ValueError, match="token grids"):
        native.detokenize([np.zeros((1, 2, 2), np.int64), np.zeros((1, 3, 2), np.int64)])


@pytest.mark.parametrize("name", ["encoder.deep.2.widen.weight", "decoder.linear.0.bias", "quantizer.levels.1.mean"])
@pytest.mark.parametrize("damage", ["missing", "shape"])
def test_weights_of_another_model_are_refused(name: str, damage: str) -> None:
    network = build_autoencoder(CONFIGS["compact"])
    weights = weights_of(network)
    if damage == "missing":
        del weights[name]
    else:
        weights[name] = weights[name][1:]
    assert LIBRARY is not None
    with pytest.raises(WeightsError, match=r"expected|not there"):
        CoreEngine(LIBRARY, weights, CONFIGS["compact"])


@pytest.mark.parametrize("name", CONFIGS)
def test_the_receptive_field_is_that_of_torch(name: str) -> None:
    assert receptive_radius(CONFIGS[name].networks) == build_autoencoder(CONFIGS[name]).receptive_radius()


def test_what_the_core_does_not_know() -> None:
    compact = CONFIGS["compact"]
    assert core_computes(compact)
    assert not core_computes(replace(compact, quantizer=replace(_CODES, codebook="gumbel")))
    assert not core_computes(replace(compact, quantizer=replace(_CODES, lookup="product", codebook="gradient")))
    assert not core_computes(AutoencoderConfig(_COMPACT, _CODES, label_map="edges"))


@pytest.mark.parametrize("name", CONFIGS)
def test_an_area_is_a_part_of_the_whole(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS[name]
    native, reference = engines(name)
    random = np.random.default_rng(4)
    factor, width, height = config.downsampling_factor, 230, 171
    rows, cols = -(-height // factor), -(-width // factor)
    tokens = [
        random.integers(size, size=(-(-rows // stride), -(-cols // stride))).astype(np.int32)
        for size, stride in zip(config.quantizer.codebook_sizes, config.quantizer.strides, strict=True)
    ]
    whole = painted_by(native, tokens, width, height)
    monkeypatch.setattr("vqcodec.pictures.tiling.TILE_TOKENS", 3)
    for area in (Area(0, 0, 1, 1), Area(229, 170, 1, 1), Area(17, 33, 100, 64), Area(0, 60, 230, 9)):
        part = joined(native.bands(tokens, area), area)
        assert np.array_equal(part, whole[area.rows, area.columns])
        assert np.abs(part.astype(int) - joined(reference.bands(tokens, area), area)).max() <= 1
