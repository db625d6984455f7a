"""A tiny model and short runs, for the tests of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqcodec.models.config import AutoencoderConfig, CompactConfig, QuantizerConfig
from vqcodec.training.common.checkpoint import load_checkpoint
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.recipe import Stage1Config
from vqcodec.training.stage1.trainer import Stage1Trainer

MODEL = AutoencoderConfig(
    CompactConfig(
        patch=4,
        encoder_widths=(8, 16),
        encoder_depths=(1, 1),
        encoder_hidden=(1.0, 1.0),
        decoder_widths=(8, 16),
        decoder_depths=(1, 1),
        decoder_hidden=(1.0, 1.0),
        latent_channels=12,
    ),
    QuantizerConfig(codebook_sizes=(16, 8), code_dimension=4),
)
CONFIG = Stage1Config(
    steps=6,
    batch_size=2,
    crop=CropConfig(size=40),
    learning_rate=2e-3,
    warmup_steps=2,
    level_shares=(1.0, 1.0),
    weights=LossWeights(vgg_crops=1, vgg_crop_size=16),
    perceptual_rise_steps=2,
    adversary=AdversaryConfig(start=3, width=4),
)

#: makes a trainer in a folder of the test, with some settings of CONFIG changed
Trainers = Callable[..., Stage1Trainer]


def leaves(value: Any, name: str = "") -> dict[str, Any]:
    """Everything in a checkpoint that holds nothing else, by path."""
    if isinstance(value, dict):
        value = list(value.items())
    elif isinstance(value, (list, tuple)):
        value = list(enumerate(value))
    else:
        return {name: value}
    return {key: found for inner, part in value for key, found in leaves(part, f"{name}.{inner}").items()}


def assert_same_checkpoint(left: Path, right: Path) -> None:
    a, b = leaves(load_checkpoint(left)), leaves(load_checkpoint(right))
    assert a.keys() == b.keys()
    assert sum(isinstance(value, Tensor) for value in a.values()) > 100
    for name, value in a.items():
        assert torch.equal(value, b[name]) if isinstance(value, Tensor) else value == b[name], name
