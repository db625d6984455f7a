"""Everything that decides the result of a stage-2 run, apart from the data and the model whose tokens are predicted."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any

from vqcodec.prior.config import PriorConfig
from vqcodec.training.common.schedule import learning_rate_share
from vqcodec.training.data.crops import CropConfig


@dataclass(frozen=True)
class Stage2Config:
    """The settings of the trainer.

    level_shares: of each batch, the share that each level is trained on, in 0..1; () for the whole of level 1 and
    a third for finer levels. pkeep: the share of the tokens shown to the prior that are the right ones, the others
    being random (as in the code of Esser et al., 2021). label_dropout, condition_dropout: how often labels and
    conditions are left out, which classifier-free guidance needs (Ho and Salimans, 2022).

    Examples:
        >>> Stage2Config(steps=500).crop.size
        256
        >>> Stage2Config(pkeep=2)
        Traceback (most recent call last):
        ValueError: pkeep 2: take a share, 0 to 1
    """

    steps: int = 20_000
    batch_size: int = 16
    #: parts that a batch is cut into, one after the other through the network, to save memory
    accumulate: int = 1
    crop: CropConfig = field(default_factory=lambda: CropConfig(size=256, resized=0.7, smallest=0.45, largest=1.25))
    #: of the matrices inside the transformer, which learn by Muon
    learning_rate: float = 4e-3
    #: what all others (embeddings, the last layers, vectors) learn at by AdamW, as a share of it
    adam_share: float = 0.5
    warmup_steps: int = 100
    #: the learning rate falls to zero over this last share of the steps
    decay_share: float = 0.9
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    level_shares: tuple[float, ...] = ()
    pkeep: float = 1.0
    label_dropout: float = 0.1
    condition_dropout: float = 0.1
    ema_decay: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.batch_size, self.accumulate) < 1:
            raise ValueError(f"a batch of {self.batch_size} in {self.accumulate} parts: take 1 or more")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed}: take 0 or more")
        if self.batch_size % self.accumulate:
            raise ValueError(f"a batch of {self.batch_size} cannot be cut into {self.accumulate} equal parts")
        for name in ("pkeep", "label_dropout", "condition_dropout"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} {getattr(self, name)}: take a share, 0 to 1")
        if not all(0 <= share <= 1 for share in self.level_shares):
            raise ValueError(f"level shares {self.level_shares}: take shares, 0 to 1")
        if self.level_shares and not any(self.level_shares):
            raise ValueError("level shares that are all 0 train nothing")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Stage2Config:
        """From `to_dict`. Raises TypeError or KeyError for settings that this version does not have."""
        nested = {
            "crop": CropConfig(**values["crop"]),
            "level_shares": tuple(values["level_shares"]),
        }
        return Stage2Config(**values | nested)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    def learning_rate_at(self, step: int) -> float:
        """Warm-up and fall, see `vqcodec.training.common.schedule`."""
        return self.learning_rate * learning_rate_share(
            step, steps=self.steps, warmup_steps=self.warmup_steps, decay_share=self.decay_share
        )

    def shares_of(self, levels: int) -> tuple[float, ...]:
        """Of each level. Raises ValueError when the shares are for another number of levels."""
        shares = self.level_shares or (1.0, *[1 / 3] * (levels - 1))
        if len(shares) != levels:
            raise ValueError(f"{len(shares)} level shares for {levels} levels")
        return shares


@dataclass(frozen=True)
class Stage2Recipe:
    """A prior to train, and how.

    Examples:
        >>> from vqcodec import find_model
        >>> from vqcodec.prior.config import prior_config
        >>> Stage2Recipe(prior_config(find_model("photo-5").card.autoencoder, "tiny", levels=2)).model.levels
        2
    """

    model: PriorConfig
    training: Stage2Config = field(default_factory=Stage2Config)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"model": self.model.to_dict(), "training": self.training.to_dict()}
