"""The shape of the prior: what goes together, JSON, presets."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.prior.config import PRIOR_SIZES, ConditionConfig, PriorConfig, prior_config
from vqcodec.prior.transformer import Prior

CONFIG = PriorConfig((7, 5), (32, 16), ("quincunx", "raster"), width=16, depth=2, heads=2, token_width=4, radius=2)


@pytest.mark.parametrize("condition", [None, ConditionConfig("depth", (4, 3), 32)])
def test_config_survives_json(condition: ConditionConfig | None) -> None:
    config = replace(CONFIG, classes=4, condition=condition, coordinates=True, dropout=0.25)
    assert PriorConfig.from_dict(config.to_dict()) == config
    assert PriorConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize("values", [((), 16), ((4, 0), 16), ((4,), 0)])
def test_what_is_no_condition_is_refused(values: tuple[tuple[int, ...], int]) -> None:
    with pytest.raises(ValueError, match="one level or more, with codebook sizes and a factor of 1 or more"):
        ConditionConfig("edges", *values)


def test_config_properties() -> None:
    config = replace(CONFIG, orders=("raster", "spiral"))
    assert config.levels == 2
    assert [config.order(level).name for level in (0, 1)] == ["raster", "spiral"]


@pytest.mark.parametrize("name", ["widht", "conditions"])
def test_a_misspelt_field_is_refused(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        PriorConfig.from_dict(CONFIG.to_dict() | {name: 3})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebook_sizes": (7,)}, "must be as many as levels"),
        ({"factors": (32, 16, 8)}, "must be as many as levels"),
        ({"orders": ("raster",)}, "must be as many as levels"),
        ({"orders": ("raster", "hilbert")}, "order 'hilbert': there are raster, wavefront, quincunx"),
        ({"width": 15}, "a width of 15 is not a multiple of 2 heads"),
        ({"width": 0}, "are 1 or more"),
        ({"depth": 0}, "are 1 or more"),
        ({"heads": -1}, "are 1 or more"),
        ({"token_width": 0}, "are 1 or more"),
        ({"radius": 0}, "are 1 or more"),
    ],
)
def test_what_is_no_prior_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **changes)


MODEL = AutoencoderConfig(CompactConfig(), QuantizerConfig((16, 8, 4), level_strides=(4, 2, 1)))


@pytest.mark.parametrize("size", PRIOR_SIZES)
def test_a_preset_for_a_model(size: str) -> None:
    config = prior_config(MODEL, size)
    assert (config.codebook_sizes, config.factors) == ((16, 8, 4), (64, 32, 16))
    assert config.orders == ("wavefront",) * 3
    assert (config.width, config.depth) == (PRIOR_SIZES[size].width, PRIOR_SIZES[size].depth)
    with torch.device("meta"):
        assert Prior(config).config == config


def test_a_preset_for_some_levels_with_other_fields() -> None:
    config = prior_config(MODEL, "tiny", levels=2, order="quincunx", radius=3, dropout=0.2, classes=10)
    assert (config.codebook_sizes, config.factors, config.orders) == ((16, 8), (64, 32), ("quincunx",) * 2)
    assert (config.radius, config.dropout, config.classes) == (3, 0.2, 10)


@pytest.mark.parametrize(
    ("size", "others", "message"),
    [
        ("huge", {}, "prior 'huge': there are tiny, small, base, paper"),
        ("tiny", {"levels": 4}, "4 levels: the model has 1 to 3"),
        ("tiny", {"heads": 5}, "a width of 192 is not a multiple of 5 heads"),
        ("tiny", {"order": "zigzag"}, "order 'zigzag'"),
    ],
)
def test_a_preset_that_does_not_exist(size: str, others: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        prior_config(MODEL, size, **others)
