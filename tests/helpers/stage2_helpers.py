"""A tiny prior, hand-made tokens and short runs, for the tests of the trainer of stage 2."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vqcodec.prior.config import PriorConfig
from vqcodec.prior.transformer import Prior
from vqcodec.training.stage2.crop_tokens import TokenBatch
from vqcodec.training.stage2.recipe import Stage2Config, Stage2Recipe
from vqcodec.training.stage2.trainer import Stage2Trainer

SHAPE = (3, 4)
MODEL = PriorConfig(
    codebook_sizes=(8, 6), factors=(16, 16), orders=("wavefront", "raster"), width=16, depth=1, heads=2, token_width=4
)
#: without anything random but the choice of what a level learns from
CONFIG = Stage2Config(
    steps=6,
    batch_size=4,
    learning_rate=0.02,
    warmup_steps=2,
    label_dropout=0.0,
    condition_dropout=0.0,
    level_shares=(1.0, 1.0),
)
ABOUT: dict[str, Any] = {"model_id": "ab" * 8, "model_name": "some", "classes": [], "condition_model_id": ""}

#: makes a trainer in a folder of the test, with some settings of CONFIG changed
PriorTrainers = Callable[..., Stage2Trainer]


@dataclass(frozen=True)
class RowTokens:
    """Every row of level 1 has one token; one of level 2 follows from that of level 1 at its place.

    Labels go from UNLABELLED to 2; the grid of the condition holds 0..4.
    """

    batch_size: int = 4
    share: slice = field(default_factory=lambda: slice(None))
    with_condition: bool = False
    classes: tuple[str, ...] = ()

    def __call__(self, step: int) -> TokenBatch:
        generator = torch.Generator().manual_seed(1000 + step)
        rows, cols = SHAPE
        first = torch.randint(8, (self.batch_size, rows, 1), generator=generator).expand(-1, -1, cols)[self.share]
        labels = torch.randint(-1, 3, (self.batch_size,), generator=generator)[self.share]
        grid = torch.randint(5, (self.batch_size, 1, 2 * rows, 2 * cols), generator=generator)[self.share]
        return TokenBatch([first.clone(), 5 - first % 6], labels, grid if self.with_condition else None)

    def ahead(self, first: int, last: int) -> Iterator[tuple[int, TokenBatch]]:
        for step in range(first, last):
            yield step, self(step)


def make_trainer(
    out: Path, model: PriorConfig = MODEL, source: RowTokens | None = None, **changes: Any
) -> Stage2Trainer:
    """changes: of CONFIG."""
    config = replace(CONFIG, **changes)
    source = source or RowTokens(config.batch_size)
    about = ABOUT | {"classes": list(source.classes)}
    return Stage2Trainer(Stage2Recipe(model, config), source, out, about=about, device="cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def weights_of(network: Prior) -> dict[str, Tensor]:
    """A copy."""
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def randomise(trainer: Stage2Trainer) -> None:
    """Weights with which every part has a gradient: the heads and what attention adds start at zero."""
    with torch.no_grad():
        for parameter in trainer.model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=seeded(parameter.numel())))
