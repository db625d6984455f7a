"""Everything that decides the result of a stage-1 run, apart from the data."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vqcodec.models.config import PARTS, AutoencoderConfig
from vqcodec.training.common.checkpoint import CheckpointError
from vqcodec.training.common.schedule import learning_rate_share, learning_rate_share_by_time
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights

PRECISIONS: Final = ("auto", "float32", "bfloat16")
#: of runs that go on from a model; what twice as much did to photo-5 is in docs/training-log.md
_GOING_ON_RATE: Final = 1.5e-4
#: step from which on a new discriminator takes part in them, and steps over which it is listened to more and more
_NEW_DISCRIMINATOR: Final = (200, 1_500)


@dataclass(frozen=True)
class Stage1Config:
    """The settings of the trainer. Where a tuple pairs a step with a value, the value holds from that step on.

    Examples:
        >>> config = Stage1Config(steps=100, warmup_steps=10, decay_share=0.5)
        >>> [config.learning_rate_at(step) for step in (0, 20, 75)]
        [4e-05, 0.0004, 0.0002]
        >>> Stage1Config.from_dict(config.to_dict()) == config
        True
    """

    steps: int = 20_000
    batch_size: int = 8
    #: parts that a batch is cut into, one after the other through the networks, to save memory
    accumulate: int = 1
    crop: CropConfig = field(default_factory=CropConfig)
    #: (step, side in pixels): larger crops later
    crop_sizes: tuple[tuple[int, int], ...] = ()
    learning_rate: float = 4e-4
    warmup_steps: int = 200
    #: what starts near its goal, the linear maps and the quantizer's projections, learns at this share of the rate
    slow_share: float = 0.1
    #: the learning rate falls to zero over this last share of the steps; 0 for a constant rate
    decay_share: float = 0.4
    #: training ends after so many minutes, and the learning rate follows the time; 0 for steps alone
    minutes: float = 0.0
    #: or from this step on: of a branch of a run with a constant rate, see `Stage1Trainer.branch_off`
    decay_from: int | None = None
    #: AdamW's
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.01
    #: the longest gradient, and the quantile of the last norms in its place (`vqcodec.training.stage1.clipping`)
    gradient_clip: float = 1.0
    clip_quantile: float = 0.0
    #: of convolutions: "auto" for bfloat16 where the hardware multiplies it, "float32" or "bfloat16"
    precision: str = "auto"
    #: quantizer dropout: how often 1, 2, ... levels are used, in any unit; () for 2 : 1 : 1 ...
    level_shares: tuple[float, ...] = ()
    ema_decay: float = 0.999
    #: steps between two looks for dead codes; 0 for none
    revival_interval: int = 50
    #: of Gumbel quantisation, from the first to the last step, falling by the same factor at each
    temperatures: tuple[float, float] = (1.0, 0.0625)
    #: parts that stay as they are, of encoder, codebooks and decoder: with the codebooks and their projections, streams
    #: of the model that training starts from stay readable
    held: tuple[str, ...] = ()
    seed: int = 0
    weights: LossWeights = field(default_factory=LossWeights)
    #: the perceptual weights rise from a tenth to their full value over these steps: colours first, then texture; not
    #: in runs that go on from a model (`--init`)
    perceptual_rise_steps: int = 150
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)

    def __post_init__(self) -> None:
        if min(self.batch_size, self.accumulate) < 1:
            raise ValueError(f"a batch of {self.batch_size} in {self.accumulate} parts: take 1 or more")
        if self.seed < 0:
            raise ValueError(f"seed {self.seed}: take 0 or more")
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.crop_sizes):
            raise ValueError(f"crop sizes {self.crop_sizes}: take pairs of a step and a side in pixels")
        if self.batch_size % self.accumulate:
            raise ValueError(f"a batch of {self.batch_size} cannot be cut into {self.accumulate} equal parts")
        if self.level_shares and (min(self.level_shares) < 0 or not any(self.level_shares)):
            raise ValueError(f"level shares {self.level_shares}: take 0 or more, and one above 0")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision}: take one of {', '.join(PRECISIONS)}")
        if not 0 <= self.clip_quantile < 1:
            raise ValueError(f"a quantile of {self.clip_quantile:g} to clip at: take 0 to 1")
        if not set(self.held) < set(PARTS):
            raise ValueError(f"held {', '.join(self.held)}: take one or two of {', '.join(PARTS)}")

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Stage1Config:
        """From `to_dict`. Raises TypeError or KeyError for settings that this version does not have."""
        nested = {
            "crop": CropConfig(**values["crop"]),
            "weights": LossWeights(**{key: _tuple(value) for key, value in values["weights"].items()}),
            "adversary": AdversaryConfig(**{key: _tuple(value) for key, value in values["adversary"].items()}),
        }
        return Stage1Config(**{key: _tuple(value) for key, value in values.items()} | nested)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    def learning_rate_share(self, step: int, seconds: float = 0.0) -> float:
        """Of the highest rate, after so many seconds of training; see `vqcodec.training.common.schedule`."""
        if self.minutes:
            done = seconds / (60 * self.minutes)
            return learning_rate_share_by_time(step, done, warmup_steps=self.warmup_steps, decay_share=self.decay_share)
        return learning_rate_share(
            step,
            steps=self.steps,
            warmup_steps=self.warmup_steps,
            decay_share=self.decay_share,
            decay_from=self.decay_from,
        )

    def learning_rate_at(self, step: int, seconds: float = 0.0) -> float:
        """Of the deep networks."""
        return self.learning_rate * self.learning_rate_share(step, seconds)

    def temperature_at(self, step: int, seconds: float = 0.0) -> float:
        """Of Gumbel quantisation, after so many seconds of training."""
        first, last = self.temperatures
        done = seconds / (60 * self.minutes) if self.minutes else step / max(1, self.steps)
        return first * math.pow(last / first, min(1.0, done))

    def crop_at(self, step: int) -> CropConfig:
        """The crops of a step's batch."""
        sizes = [size for start, size in sorted(self.crop_sizes) if start <= step]
        return dataclasses.replace(self.crop, size=sizes[-1]) if sizes else self.crop

    def shares_of(self, levels: int) -> tuple[float, ...]:
        """Of 1, 2, ... `levels` levels. Raises ValueError when the shares are for another number of levels."""
        shares = self.level_shares or (2.0, *[1.0] * (levels - 1))
        if len(shares) != levels:
            raise ValueError(f"{len(shares)} level shares for {levels} levels")
        return shares


@dataclass(frozen=True)
class Stage1Recipe:
    """A model to train, and how: what a preset is.

    Examples:
        >>> recipe = Stage1Recipe()
        >>> recipe.model.downsampling_factor, recipe.model.levels
        (16, 4)
        >>> Stage1Recipe.from_dict(recipe.to_dict()) == recipe
        True
    """

    model: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    training: Stage1Config = field(default_factory=Stage1Config)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"model": self.model.to_dict(), "training": self.training.to_dict()}

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Stage1Recipe:
        """From `to_dict`. Raises TypeError, KeyError or ValueError for what no recipe of this version is."""
        return Stage1Recipe(AutoencoderConfig.from_dict(values["model"]), Stage1Config.from_dict(values["training"]))


def going_on(settings: Mapping[str, Any], *, keeps_discriminator: bool) -> Stage1Config:
    """How a run goes on from a model: by the losses, crops and levels that its card states as the training's settings,
    at a rate that does not undo what the model has learned and falls from the start on.

    keeps_discriminator: whether one lies beside the model; a new one is listened to little by little. Raises TypeError,
    KeyError or ValueError for settings of another version.
    """
    before = Stage1Config.from_dict(dict(settings))
    start, rise_steps = (0, 0) if keeps_discriminator else _NEW_DISCRIMINATOR
    return dataclasses.replace(
        before,
        adversary=dataclasses.replace(before.adversary, start=start, rise_steps=rise_steps),
        steps=Stage1Config.steps,
        minutes=0.0,
        decay_from=None,
        held=(),
        seed=0,
        learning_rate=_GOING_ON_RATE,
        decay_share=1.0,
        perceptual_rise_steps=0,
    )


def recipe_of(state: dict[str, Any]) -> Stage1Recipe:
    """The model and the settings of a checkpoint. Raises CheckpointError."""
    try:
        return Stage1Recipe(model_config(state), Stage1Config.from_dict(state["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the checkpoint has other settings than this version of vqcodec ({error})") from error


def model_config(state: dict[str, Any]) -> AutoencoderConfig:
    """The shape of a checkpoint's networks. Raises CheckpointError."""
    try:
        return AutoencoderConfig.from_dict(state["model_config"])
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"not a checkpoint of stage 1 of this version ({error})") from error


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list) else value
