"""Everything that decides the result of the training of a context network, apart from its data."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from vqcodec.prior.context_config import ContextConfig
from vqcodec.training.common.schedule import learning_rate_share
from vqcodec.training.data.crops import CropConfig


@dataclass(frozen=True)
class ContextTraining:
    """The settings of the trainer.

    batch_size: crops a step, cut into `accumulate` parts, one after the other, to save memory. learning_rate: of AdamW,
    the highest; it rises over warmup_steps, and falls to zero over the last decay_share of the steps. ema_decay: of the
    averaged weights, which are what is exported. Raises ValueError.

    Examples:
        >>> ContextTraining(steps=500).crop.size
        256
        >>> ContextTraining(batch_size=3, accumulate=2)
        Traceback (most recent call last):
        ValueError: a batch of 3 cannot be cut into 2 equal parts
    """

    steps: int = 4_000
    batch_size: int = 16
    accumulate: int = 1
    crop: CropConfig = field(default_factory=lambda: CropConfig(size=256, resized=0.7, smallest=0.45, largest=1.25))
    learning_rate: float = 4e-3
    warmup_steps: int = 50
    decay_share: float = 0.8
    weight_decay: float = 0.01
    gradient_clip: float = 10.0
    ema_decay: float = 0.99
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1 or self.accumulate < 1:
            raise ValueError("steps, batch_size and accumulate are 1 or more")
        if self.batch_size % self.accumulate:
            raise ValueError(f"a batch of {self.batch_size} cannot be cut into {self.accumulate} equal parts")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> ContextTraining:
        """From `to_dict`. Raises TypeError or KeyError for settings that this version does not have."""
        return ContextTraining(**values | {"crop": CropConfig(**values["crop"])})

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    def learning_rate_at(self, step: int) -> float:
        """Warm-up and fall, see `vqcodec.training.common.schedule`."""
        return self.learning_rate * learning_rate_share(
            step, steps=self.steps, warmup_steps=self.warmup_steps, decay_share=self.decay_share
        )


@dataclass(frozen=True)
class ContextRecipe:
    """A context network to train, and how.

    Examples:
        >>> from vqcodec import find_model
        >>> from vqcodec.prior.context_config import context_config
        >>> ContextRecipe(context_config(find_model("photo-5").card.autoencoder)).model.covered
        range(0, 6)
    """

    model: ContextConfig
    training: ContextTraining = field(default_factory=ContextTraining)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"model": self.model.to_dict(), "training": self.training.to_dict()}
