"""Settings by name, and the presets that they change."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from vqcodec.models.config import AutoencoderConfig, CompactConfig
from vqcodec.training.common.overrides import SettingError, with_settings
from vqcodec.training.stage1.presets import PRESETS, compact_networks, with_codebook_size, with_factor
from vqcodec.training.stage1.recipe import Stage1Config, Stage1Recipe

RECIPE = Stage1Recipe()


def test_settings_change_what_they_name() -> None:
    changed = with_settings(
        RECIPE,
        [
            "training.steps=7",
            "training.learning_rate=1",
            "training.weights.l1=0.5",
            "training.crop.pad=true",
            "training.crop_sizes=[[100, 192], [200, 256]]",
            "model.quantizer.codebook=sim",
            "model.quantizer.codebook_sizes=64",
        ],
    )
    training = RECIPE.training
    assert changed.training == replace(
        training,
        steps=7,
        learning_rate=1.0,
        weights=replace(training.weights, l1=0.5),
        crop=replace(training.crop, pad=True),
        crop_sizes=((100, 192), (200, 256)),
    )
    assert isinstance(changed.training.learning_rate, float)
    assert changed.model.quantizer == replace(RECIPE.model.quantizer, codebook="sim", codebook_sizes=(64,))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.stepz=7", "there is no stepz; there are steps, "),
        ("training=7", "training is a group; set training.steps"),
        ("training.steps.more=7", "steps has no parts"),
        ("training.steps", "write NAME=VALUE"),
        ("training.steps=many", "takes a value like 20000"),
        ("training.steps=1.5", "takes a value like 20000"),
        ("training.steps=true", "takes a value like 20000"),
        ("model.networks.padding=7", 'takes a value like "replicate"'),
        ('training.held=["encoder", "codebooks", "decoder"]', "held encoder, codebooks, decoder: take one or two"),
        ("training.held=quantizer", "held quantizer: take one or two of encoder, codebooks, decoder"),
        ("model.quantizer.codebook=7", 'takes a value like "average"'),
        ("model.quantizer.codebook=magic", "codebook 'magic': there are"),
        ("training.accumulate=3", "a batch of 8 cannot be cut into 3"),
        ("training.accumulate=0", "a batch of 8 in 0 parts: take 1 or more"),
        ("training.seed=-1", "seed -1: take 0 or more"),
        ("training.crop_sizes=5", "take pairs of a step and a side"),
        ("training.adversary.weight_interval=0", "weight interval 0: take 1 or more"),
    ],
)
def test_settings_that_cannot_be(setting: str, message: str) -> None:
    with pytest.raises(SettingError, match=message):
        with_settings(RECIPE, [setting])


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_settings_does_not_matter(order: int) -> None:
    together = ["training.accumulate=3", "training.batch_size=9"][::order]  # 3 parts of the present 8 cannot be
    assert (with_settings(RECIPE, together).training.accumulate, RECIPE.training.batch_size) == (3, 8)


def test_the_last_of_two_settings_counts() -> None:
    assert with_settings(RECIPE, ["training.steps=7", "training.steps=8"]).training.steps == 8


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    recipe = PRESETS[name]
    values = json.loads(json.dumps(recipe.to_dict()))
    assert AutoencoderConfig.from_dict(values["model"]) == recipe.model
    assert Stage1Config.from_dict(values["training"]) == recipe.training


def test_the_ancestors_have_their_papers_sizes() -> None:
    facts = {
        name: (recipe.model.level_factors, recipe.model.quantizer.codebook_sizes) for name, recipe in PRESETS.items()
    }
    assert facts["taming-f16"] == ((16,), (1024,))
    assert facts["taming-f16-16384"] == ((16,), (16384,))
    assert facts["vqvae"] == ((4,), (512,))
    assert facts["vqvae-2"] == ((8, 4), (512, 512))
    assert facts["dvae"] == ((8,), (8192,))


@pytest.mark.parametrize("factor", [1, 2, 4, 8, 16, 32])
def test_networks_for_every_factor(factor: int) -> None:
    assert compact_networks(factor).downsampling_factor == factor
    changed = with_factor(PRESETS["tiny"], factor)
    assert changed.model.downsampling_factor == factor
    assert changed.model.quantizer == PRESETS["tiny"].model.quantizer
    assert isinstance(changed.model.networks, CompactConfig)
    assert max(changed.model.networks.encoder_widths) <= 128


@pytest.mark.parametrize("factor", [-16, 0, 3, 12, 64])
def test_other_factors_are_refused(factor: int) -> None:
    with pytest.raises(ValueError, match="take 1, 2, 4, 8, 16 or 32"):
        with_factor(RECIPE, factor)


def test_the_papers_networks_keep_their_factor() -> None:
    with pytest.raises(ValueError, match="channel multipliers"):
        with_factor(PRESETS["taming-f16"], 8)


@pytest.mark.parametrize("codes", [256, 512, 65536])
def test_codebook_sizes(codes: int) -> None:
    assert with_codebook_size(RECIPE, codes).model.quantizer.codebook_sizes == (codes,) * 4


def test_schedules() -> None:
    config = Stage1Config(steps=100, crop_sizes=((10, 192), (50, 256)))
    assert [config.crop_at(step).size for step in (0, 9, 10, 49, 50, 99)] == [128, 128, 192, 192, 256, 256]
    assert [config.temperature_at(step) for step in (0, 50, 100)] == pytest.approx([1.0, 0.25, 0.0625])
    by_time = replace(config, minutes=1.0)
    assert [by_time.temperature_at(9, seconds) for seconds in (0, 30, 90)] == pytest.approx([1.0, 0.25, 0.0625])
    assert config.shares_of(3) == (2.0, 1.0, 1.0)
    with pytest.raises(ValueError, match="2 level shares for 1 levels"):
        replace(config, level_shares=(1.0, 1.0)).shares_of(1)
