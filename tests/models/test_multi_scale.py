"""Levels whose grids grow to that of the latent, of models for pictures of one size."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.models.multi_scale import MultiScaleQuantizer
from vqcodec.models.taming_config import TamingConfig

GRIDS = (1, 2, 5, 8)
CONFIG = QuantizerConfig((16,) * 4, 6, codebook="gradient", lookup="euclidean", level_grids=GRIDS)


@pytest.fixture
def quantizer() -> MultiScaleQuantizer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MultiScaleQuantizer(6, CONFIG).eval().requires_grad_(False)


@pytest.fixture
def latent() -> torch.Tensor:
    return torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(2))


def test_tokens_and_latents_by_hand(quantizer: MultiScaleQuantizer, latent: torch.Tensor) -> None:
    left, total, expected = latent.double(), torch.zeros(2, 6, 8, 8).double(), []
    made = quantizer.tokens(latent, 4)
    for number, side in enumerate(GRIDS):
        level: Any = quantizer.levels[number]
        areas = [(index * 8 // side, -(-(index + 1) * 8 // side)) for index in range(side)]
        seen = torch.stack(
            [torch.stack([left[:, :, a:b, c:d].mean(dim=(2, 3)) for c, d in areas], dim=2) for a, b in areas], dim=2
        )
        vectors = F.linear(seen.movedim(1, 3), level.project_in.weight.double(), level.project_in.bias.double())
        codes = level.codebook.codes().double()
        expected.append(torch.cdist(vectors.flatten(0, 2), codes).argmin(dim=1).view(2, side, side))
        assert torch.equal(made[number], expected[-1])
        back = F.linear(codes[expected[-1]], level.project_out.weight.double(), level.project_out.bias.double())
        grown = back.movedim(3, 1)
        if side < 8:
            grown = F.interpolate(grown, size=(8, 8), mode="bicubic")
        smoothing: Any = quantizer.smoothings[number]
        given = F.conv2d(grown, smoothing.weight.double(), smoothing.bias.double(), padding=1)
        left, total = left - given, total + given
        torch.testing.assert_close(quantizer.latent(made[: number + 1]), total.float(), rtol=0, atol=1e-5)


def test_the_training_pass_gives_the_same(quantizer: MultiScaleQuantizer, latent: torch.Tensor) -> None:
    result = quantizer(latent, torch.tensor([4, 2]))
    tokens = quantizer.tokens(latent, 4)
    assert all(torch.equal(one, other) for one, other in zip(result.indices, tokens, strict=True))
    torch.testing.assert_close(result.quantized[:1], quantizer.latent([grid[:1] for grid in tokens]))
    torch.testing.assert_close(result.quantized[1:], quantizer.latent([grid[1:] for grid in tokens[:2]]))


def test_other_latents_are_refused(quantizer: MultiScaleQuantizer) -> None:
    with pytest.raises(ValueError, match=r"latents of 8 x 6 positions: these levels take \(8, 8\) only"):
        quantizer.tokens(torch.zeros(1, 6, 8, 6), 4)


def test_strides_are_fractions() -> None:
    assert CONFIG.exact_strides == (8, 4, Fraction(8, 5), 1)
    assert CONFIG.several_resolutions
    with pytest.raises(ValueError, match=r"grids of \(1, 2, 5, 8\) tokens a side have no strides"):
        print(CONFIG.strides)
    assert QuantizerConfig((8, 8), level_strides=(2, 1)).exact_strides == (2, 1)
    assert not QuantizerConfig((8, 8)).several_resolutions


def test_the_published_grids_have_whole_factors() -> None:
    for side, grids in ((256, (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)), (512, (1, 2, 3, 4, 6, 9, 13, 18, 24, 32))):
        config = AutoencoderConfig(TamingConfig(), QuantizerConfig((4096,) * 10, 32, level_grids=grids))
        assert config.picture_side == side
        assert tuple(-(-side // factor) for factor in config.level_factors) == grids


@pytest.mark.parametrize(
    ("networks", "values", "message"),
    [
        (TamingConfig(), {"level_grids": (1, 2)}, "as many level grids as codebook sizes"),
        (TamingConfig(), {"level_grids": (1, 2, 4), "level_strides": (4, 2, 1)}, "no level strides"),
        (TamingConfig(), {"level_grids": (1, 5, 4)}, r"level grids \(1, 5, 4\): .* is the largest"),
        (TamingConfig(), {"level_grids": (0, 2, 4)}, r"level grids \(0, 2, 4\): from 1"),
        (TamingConfig(), {"level_grids": (1, 30, 32)}, r"no whole number of pixels a token gives them"),
        (CompactConfig(), {"level_grids": (1, 2, 4)}, "need the paper's networks"),
    ],
)
def test_grids_that_cannot_be(networks: Any, values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoencoderConfig(networks, QuantizerConfig((8, 8, 8), 4, **values))
