"""Pictures drawn by a context network that is told a picture at low resolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from context_helpers import write_context

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.cards.errors import ModelError
from vqcodec.generation.config import SamplingConfig, Series
from vqcodec.generation.drawing import token_bits
from vqcodec.generation.sampler import Sampler
from vqcodec.prior.conditions import Conditions

LOW = (64 + synthetic_picture(13, 9, seed=2) // 2).astype(np.uint8)


@pytest.fixture(scope="module")
def sampler(hierarchical_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Sampler:
    folder = write_context(tmp_path_factory.mktemp("priors") / "low-4", hierarchical_model, condition="low-4")
    return Sampler.load(hierarchical_model, folder, condition="low-4", device="cpu")


def test_pictures_are_enlarged(sampler: Sampler) -> None:
    made = list(sampler.upscale(LOW, Series(3, seed=4, batch_size=2)))
    assert [picture.rgb.shape for picture in made] == [(36, 52, 3)] * 3
    assert all(len(picture.tokens) == sampler.levels for picture in made)
    assert not np.array_equal(made[0].rgb, made[1].rgb)
    again = list(sampler.upscale(LOW, Series(3, seed=4, batch_size=1)))
    for one, other in zip(made, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one.tokens, other.tokens, strict=True))


def test_bits_are_those_of_the_network(sampler: Sampler) -> None:
    picture = next(sampler.upscale(LOW, Series(config=SamplingConfig())))
    condition = sampler.condition_from_map(np.full((36, 52, 3), 90, np.uint8))
    bits = token_bits(sampler.prior, picture.tokens, Conditions(grid=condition))
    for level, grid in enumerate(bits):
        nats = sampler.prior.nats(picture.tokens, level, condition)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(grid * np.log(2), nats, rtol=1e-4, atol=1e-3)


def test_what_is_refused(sampler: Sampler) -> None:
    with pytest.raises(ModelError, match="prior random draws no picture without its condition, low-4"):
        sampler.generate(Series(), size=(32, 32))
    with pytest.raises(ModelError, match="prior random is a context network, which cannot be guided"):
        sampler.upscale(LOW, Series(config=SamplingConfig(guidance=1.0)))


def test_a_network_without_the_first_levels(hierarchical_model: Path, tmp_path: Path) -> None:
    folder = write_context(tmp_path / "fine", hierarchical_model, first=1)
    with pytest.raises(ModelError, match="prior random has the levels from 2 on: it draws no pictures"):
        Sampler.load(hierarchical_model, folder, device="cpu")
