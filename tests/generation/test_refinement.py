"""Refining: closer pictures of the same format, tile by tile, at any rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vqcodec.cards.model_card import ModelCard, ModelFolder
from vqcodec.codec import Codec
from vqcodec.generation import refinement
from vqcodec.generation.guidance import lpips_to
from vqcodec.generation.refinement import RefinementError, Refiner
from vqcodec.models.config import QuantizerConfig
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.perceptual.networks import MissingWeightsError
from vqcodec.pictures.image import to_tensor, to_unit_range


@pytest.fixture(scope="module")
def codec(tiny_model: Path) -> Codec:
    return Codec.load(tiny_model, device="cpu", dtype=torch.float32)


def picture(width: int = 50, height: int = 40) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([127 + 120 * np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)], axis=2).astype(np.uint8)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_refined_stream_is_closer(codec: Codec, perceptual_weights: Path, levels: int) -> None:
    rgb = picture()
    score = lpips_to(rgb, perceptual_weights)

    def of(stream: bytes) -> float:
        made = to_tensor(np.asarray(codec.decode(stream)), 1)
        return float(score(to_unit_range(made)))

    before = codec.encode(rgb, levels=levels)
    after = codec.encode(rgb, levels=levels, refine=Refiner(perceptual_weights, steps=8))
    assert len(codec.read(after).tokens) == levels
    assert of(after) > of(before) + 1e-3
    again = codec.encode(rgb, levels=levels, refine=Refiner(perceptual_weights, steps=8))
    assert again == after


def test_tile_by_tile(codec: Codec, perceptual_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept of a tile is what it gives by itself, with its surroundings."""
    monkeypatch.setattr(refinement, "_TILE_PIXELS", 80)
    monkeypatch.setattr(refinement, "_HALO_PIXELS", 32)
    rgb = picture(10 * 16, 37)
    told: list[tuple[int, int]] = []
    refiner = Refiner(perceptual_weights, steps=2, report=lambda done, total: told.append((done, total)))
    (latent,) = refiner(codec, rgb, 2).tensors
    assert latent.shape == (1, codec.card.autoencoder.networks.latent_channels, 3, 10)
    assert told == [(0, 4), (1, 4), (2, 4), (2, 4), (3, 4), (4, 4)]
    monkeypatch.setattr(refinement, "_TILE_PIXELS", 768)
    (alone,) = Refiner(perceptual_weights, steps=2)(codec, rgb[:, : 7 * 16], 2).tensors
    torch.testing.assert_close(latent[:, :, :, :5], alone[:, :, :, :5])


def test_limits_hold(codec: Codec, perceptual_weights: Path) -> None:
    rgb, refiner = picture(128, 96), Refiner(perceptual_weights, steps=3)
    whole = codec.encode(rgb, refine=refiner)
    limited = codec.encode(rgb, max_bytes=len(whole) - 4, refine=refiner)
    assert len(limited) <= len(whole) - 4
    counts = [len(codec.read(codec.encode(rgb, quality=quality, refine=refiner)).tokens) for quality in (10, 60)]
    assert counts == [1, 2]


def test_small_pictures(codec: Codec, perceptual_weights: Path) -> None:
    with pytest.raises(RefinementError, match="50 x 30 pixels are too few to refine: 31 a side are the least"):
        codec.encode(picture(50, 30), refine=Refiner(perceptual_weights, steps=1))


def test_models_of_logits(codec: Codec, perceptual_weights: Path) -> None:
    quantizer = QuantizerConfig((16,), 4, codebook="gumbel", lookup="euclidean")
    config = replace(codec.card.autoencoder, quantizer=quantizer)
    folder = ModelFolder(Path("none"), ModelCard("logits", config, (), ""))
    gumbel = Codec.of_network(folder, VQAutoencoder(config), torch.device("cpu"), torch.float32)
    with pytest.raises(RefinementError, match="model logits chooses codes by logits"):
        Refiner(perceptual_weights, steps=1)(gumbel, picture(), 1)


def test_steps_and_weights(perceptual_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="steps 0: there must be 1 or more"):
        Refiner(perceptual_weights, steps=0)
    with pytest.raises(MissingWeightsError, match="no such file"):
        Refiner(tmp_path)
