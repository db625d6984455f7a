"""Guidance and refining of a model of two resolutions: both latents move, and streams stay what they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vqcodec.codec import Codec
from vqcodec.generation import refinement
from vqcodec.generation.guidance import _replacements, lpips_to, optimize_latents, optimize_tokens
from vqcodec.generation.refinement import Refiner
from vqcodec.models.autoencoder import Analysis
from vqcodec.pictures.image import to_tensor, to_unit_range

ROWS, COLS = np.mgrid[:59, :83]
PICTURE = np.stack([128 + 90 * np.sin(ROWS / 9 + n) * np.cos(COLS / 7) for n in range(3)], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def codec(hierarchical_model: Path) -> Codec:
    return Codec.load(hierarchical_model, device="cpu", dtype=torch.float32)


def reddish(images: Tensor) -> Tensor:
    return images[:, 0].mean(dim=(1, 2)) - images[:, 1:].mean(dim=(1, 2, 3))


@pytest.mark.parametrize("optimize", [optimize_latents, optimize_tokens])
@pytest.mark.parametrize("levels", [1, 2, None])
def test_the_score_rises_and_the_result_is_a_stream(codec: Codec, optimize, levels: int | None) -> None:  # type: ignore[no-untyped-def]
    made = optimize(codec, reddish, start=PICTURE, steps=10, levels=levels)
    first = codec.tokenize(to_tensor(PICTURE, codec.card.autoencoder.downsampling_factor), levels=levels)
    assert [grid.shape for grid in made.tokens] == [grid.shape for grid in first]
    assert float(made.scores.max()) > float(made.scores[0]) + 1e-4
    images = to_unit_range(codec.detokenize(made.tokens))[:, :, :59, :83].clamp(0, 1)
    torch.testing.assert_close(reddish(images), made.scores.max(dim=0).values, rtol=1e-4, atol=1e-5)
    decoded = np.asarray(codec.decode(codec.write(made.tokens, 83, 59))).astype(int)
    assert np.abs(decoded - np.round(images[0].permute(1, 2, 0).numpy() * 255)).max() <= 1


def test_the_latents_found_give_the_tokens_found(codec: Codec) -> None:
    for levels in range(1, codec.card.autoencoder.levels + 1):
        made = optimize_latents(codec, reddish, start=PICTURE, steps=4, levels=levels)
        strides = codec.network.latent_strides[: len(made.latents)]
        again = codec.network.choose_tokens(Analysis(tuple(made.latents), strides), levels)
        assert all(torch.equal(a, b) for a, b in zip(again, made.tokens, strict=True))


def test_replacements_are_ranked_in_both_latents(codec: Codec) -> None:
    network, generator = codec.network, torch.Generator().manual_seed(4)
    factors, sizes = codec.card.autoencoder.level_factors, codec.card.autoencoder.quantizer.codebook_sizes
    tokens = [
        torch.randint(size, (1, 32 // factor, 64 // factor), generator=generator)
        for factor, size in zip(factors, sizes, strict=True)
    ]
    before = network.quantised(tokens)
    gradients = [torch.randn(latent.shape, generator=generator) for latent in before]
    for number, (merits, codes) in enumerate(_replacements(network, tokens, gradients)):
        changed = [grid.clone() for grid in tokens]
        place, merit, code = 1, float(merits[1, 0]), int(codes[1, 0])
        changed[number].view(-1)[place] = code
        changes = [after - was for after, was in zip(network.quantised(changed), before, strict=True)]
        moved = [float(change.abs().max()) > 0 for change in changes]
        assert moved == [number < codec.card.autoencoder.coarse_levels, number >= codec.card.autoencoder.coarse_levels]
        rise = sum(float((slope * change).sum()) for slope, change in zip(gradients, changes, strict=True))
        squared = sum(float(change.square().sum()) for change in changes)
        assert merit == pytest.approx(rise / squared, rel=1e-3)


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_refined_stream_is_closer(codec: Codec, perceptual_weights: Path, levels: int | None) -> None:
    score = lpips_to(PICTURE, perceptual_weights)

    def of(stream: bytes) -> float:
        return float(score(to_unit_range(to_tensor(np.asarray(codec.decode(stream)), 1))))

    before = codec.encode(PICTURE, levels=levels)
    after = codec.encode(PICTURE, levels=levels, refine=Refiner(perceptual_weights, steps=20))
    assert len(codec.read(after).tokens) == len(codec.read(before).tokens)
    assert of(after) > of(before) + 1e-4


def test_the_core_chooses_the_same_tokens(hierarchical_model: Path, codec: Codec, perceptual_weights: Path) -> None:
    native = Codec.load(hierarchical_model, device="cpu")
    streams = [each.encode(PICTURE, refine=Refiner(perceptual_weights, steps=2)) for each in (codec, native)]
    same = [each.read(stream).tokens for each, stream in zip((codec, native), streams, strict=True)]
    equal = [np.mean(a.indices == b.indices) for a, b in zip(*(pyramid.levels for pyramid in same), strict=True)]
    assert min(equal) > 0.95


def test_limits_hold(codec: Codec, perceptual_weights: Path) -> None:
    refiner = Refiner(perceptual_weights, steps=2)
    sizes = [len(codec.encode(PICTURE, levels=levels)) for levels in range(1, codec.card.autoencoder.levels + 1)]
    for limit in (sizes[0] + 2, (sizes[-2] + sizes[-1]) // 2, sizes[-1] + 50):
        assert len(codec.encode(PICTURE, max_bytes=limit, refine=refiner)) <= limit


def test_coarse_tokens_stay_those_that_the_fine_latent_was_found_for(codec: Codec, perceptual_weights: Path) -> None:
    refiner, levels = Refiner(perceptual_weights, steps=2), codec.card.autoencoder.levels
    plain, cheaper = (codec.read(codec.encode(PICTURE, weight=w, refine=refiner)).tokens for w in (0.0, 0.2))
    same = [np.array_equal(a.indices, b.indices) for a, b in zip(plain.levels, cheaper.levels, strict=True)]
    coarse = codec.card.autoencoder.coarse_levels
    assert all(same[:coarse])
    assert not all(same[coarse:levels])


def test_tile_by_tile(codec: Codec, perceptual_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = np.concatenate([PICTURE, PICTURE[:, ::-1]], axis=1)
    monkeypatch.setattr(refinement, "_TILE_PIXELS", 64)
    monkeypatch.setattr(refinement, "_HALO_PIXELS", 32)
    coarse, fine = Refiner(perceptual_weights, steps=1)(codec, wide, codec.card.autoencoder.levels).tensors
    monkeypatch.setattr(refinement, "_TILE_PIXELS", 1024)
    alone = Refiner(perceptual_weights, steps=1)(codec, wide[:, :128], codec.card.autoencoder.levels).tensors
    factor = codec.card.autoencoder.downsampling_factor
    for whole, part, stride in zip((coarse, fine), alone, codec.network.latent_strides, strict=True):
        kept = 40 // factor // stride
        torch.testing.assert_close(whole[..., :kept], part[..., :kept], rtol=1e-3, atol=1e-3)
    assert fine.shape[2:] == (-(-59 // factor), -(-166 // factor))
    assert coarse.shape[2:] == tuple(-(-side // 2) for side in fine.shape[2:])
    assert all(bool(latent.isfinite().all()) for latent in (coarse, fine))
