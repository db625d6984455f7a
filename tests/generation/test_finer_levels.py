"""Pictures whose coarse levels the prior draws, and whose fine ones the integer prior of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from prior_helpers import write_prior

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.bitstream import read_header
from vqcodec.cards.model_card import load_model_folder
from vqcodec.generation.config import DrawnLevels, SamplingConfig, Series
from vqcodec.generation.drawing import token_bits
from vqcodec.generation.masks import token_masks
from vqcodec.generation.sampler import Sampler

SIZE = (50, 37)
PHOTO = synthetic_picture(*SIZE, seed=1)


@pytest.fixture(scope="module", params=["context_model", "two_priors_model", "coding_model"])
def sampler(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    """Of models whose finer levels a context network codes, the same after a transformer, and a transformer alone."""
    model: Path = request.getfixturevalue(request.param)
    coarse = load_model_folder(model).card.autoencoder.coarse_levels or 1
    prior = write_prior(tmp_path_factory.mktemp("priors") / "random", model, levels=coarse)
    return Sampler.load(model, prior, device="cpu", dtype=torch.float32)


def test_all_levels_are_drawn_and_a_stream_decodes_to_the_same_picture(sampler: Sampler) -> None:
    shape = sampler.codec.card.autoencoder
    assert sampler.levels == shape.levels > sampler.card.generating_prior.levels
    for levels in range(1, shape.levels + 1):
        for picture in sampler.generate(Series(2, levels=levels), size=SIZE):
            assert [tuple(grid.shape) for grid in picture.tokens] == [
                (1, -(-37 // factor), -(-50 // factor)) for factor in shape.level_factors[:levels]
            ]
            assert picture.filled == sampler.count_tokens(SIZE, levels)
            decoded = sampler.codec.decode_stream(sampler.codec.write(picture.tokens, *SIZE))
            assert decoded.levels == levels
            assert np.array_equal(decoded.image.rgb, picture.rgb)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_picture_depends_on_seed_and_number_only(sampler: Sampler, batch_size: int) -> None:
    config = SamplingConfig(0.9, top_k=12, top_p=0.95, guidance=0.5)
    labels = [1, 2, 0]
    wanted = list(sampler.generate(Series(3, labels=labels, seed=3, config=config), size=SIZE))
    made = sampler.generate(Series(3, labels=labels, seed=3, config=config, batch_size=batch_size), size=SIZE)
    for one, other in zip(made, wanted, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.tokens, other.tokens, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(wanted[0].tokens, wanted[1].tokens, strict=True))


def test_the_bits_of_the_finer_levels_are_what_they_take_in_a_stream(sampler: Sampler) -> None:
    picture = next(sampler.generate(Series(seed=2), size=(150, 131)))
    bits = token_bits(sampler.prior, picture.tokens)
    payloads = read_header(sampler.codec.write(picture.tokens, 150, 131)).payload_bytes
    for level in range(sampler.card.generating_prior.levels, sampler.levels):
        assert float(bits[level].sum()) / 8 == pytest.approx(payloads[level], abs=8)


def test_the_most_probable_tokens_are_those_of_a_temperature_of_0(sampler: Sampler) -> None:
    most = next(sampler.generate(Series(config=SamplingConfig(0)), size=SIZE))
    least = next(sampler.generate(Series(seed=8), size=SIZE))
    first = sampler.card.generating_prior.levels
    coarse = most.tokens[:first]
    made = [*coarse, *least.tokens[first:]]
    bits = [sum(float(grid.sum()) for grid in token_bits(sampler.prior, each)[first:]) for each in (most.tokens, made)]
    assert bits[0] < bits[1]


def test_what_lies_below_a_filled_token_is_filled_and_the_rest_kept(sampler: Sampler) -> None:
    mask = np.zeros((37, 50), bool)
    mask[18:20, 20:22] = True
    factors = sampler.codec.card.autoencoder.level_factors
    masks = token_masks(mask, factors)
    made = list(sampler.complete(PHOTO, mask, Series(2, seed=1)))
    for picture in made:
        assert picture.filled == sum(int(each.sum()) for each in masks)
        for a, b, each in zip(picture.tokens, made[0].tokens, masks, strict=True):
            assert torch.equal(a[0][~each], b[0][~each])
    assert not np.array_equal(made[0].rgb, made[1].rgb)


def test_levels_that_only_the_prior_has(hierarchical_model: Path, tmp_path: Path) -> None:
    folder = write_prior(tmp_path, hierarchical_model, levels=1)
    sampler = Sampler.load(hierarchical_model, folder, device="cpu")
    assert sampler.levels == 1
    card = sampler.codec.card
    assert DrawnLevels.of(card, sampler.card.generating_prior).factors == card.autoencoder.level_factors[:1]
