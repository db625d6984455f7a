"""The shape of a context network, the prior for levels of many tokens, as saved with its weights. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final

from vqcodec.models.config import AutoencoderConfig
from vqcodec.prior.config import ConditionConfig, PriorConfig

#: what its JSON says it is: that of other priors says something else, or nothing
CONTEXT_KIND: Final = "context"


@dataclass(frozen=True)
class ContextConfig:
    """A small convolutional network for each level from `first` on, counted from 0, that is told all coarser levels.

    One that is told a condition, too, draws pictures and codes no streams.

    codebook_sizes, factors: K, and pixels along a side for a token, of every level from the coarsest to the last that
    is covered; the factor of a covered level must divide those of the levels before it. channels: of the context of a
    position. token_width: of the vectors of tokens around it. hidden: width of the last hidden layer. blocks: pairs of
    a 3 x 3 and a 1 x 1 convolution. Raises ValueError.

    Examples:
        >>> ContextConfig((1024, 32), (16, 8), first=1).covered
        range(1, 2)
        >>> ContextConfig((32, 32), (8, 16))
        Traceback (most recent call last):
        ValueError: level 2 has 16 pixels a token, one before it 8: take a multiple of it there
    """

    codebook_sizes: tuple[int, ...]
    factors: tuple[int, ...]
    first: int = 0
    channels: int = 64
    token_width: int = 16
    hidden: int = 128
    blocks: int = 2
    condition: ConditionConfig | None = None

    #: as of `PriorConfig`: it knows none
    classes = 0

    def __post_init__(self) -> None:
        if len(self.codebook_sizes) != len(self.factors) or not self.factors:
            raise ValueError("codebook sizes and factors must be as many as levels, one or more")
        if min(*self.codebook_sizes, *self.factors) < 1:
            raise ValueError("codebook sizes and factors are 1 or more")
        if not 0 <= self.first < self.levels:
            raise ValueError(f"a first level of {self.first + 1}: there are {self.levels}")
        if min(self.channels, self.token_width, self.hidden, self.blocks) < 1:
            raise ValueError("channels, token_width, hidden and blocks are 1 or more")
        for level in self.covered:
            for factor in self.factors[:level]:
                if factor % self.factors[level]:
                    raise ValueError(
                        f"level {level + 1} has {self.factors[level]} pixels a token, one before it {factor}: take a "
                        "multiple of it there"
                    )
        if self.condition and self.first:
            raise ValueError("a context network that is told a condition has all levels: leave the first one out")
        if self.condition and any(max(pair) % min(pair) for pair in ((f, self.condition.factor) for f in self.factors)):
            raise ValueError("the factors of the levels and of the condition must be multiples of each other")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ContextConfig:
        """From `to_dict`, or what JSON makes of it. Raises TypeError for unknown names, ValueError for other kinds."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
        }
        if fields.pop("kind", None) != CONTEXT_KIND:
            raise ValueError("not a context network")
        if condition := fields.pop("condition", None):
            fields["condition"] = ConditionConfig.from_dict(condition)
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it, without a condition that is not there: those of models are part of their fingerprint."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        if self.condition is None:
            del values["condition"]
        return {"kind": CONTEXT_KIND} | values

    @property
    def levels(self) -> int:
        """How many levels there are up to the last that is covered."""
        return len(self.codebook_sizes)

    @property
    def covered(self) -> range:
        """The levels, counted from 0, that it predicts."""
        return range(self.first, self.levels)

    def repeats(self, coarser: int, level: int) -> int:
        """How many tokens of `level`, along a side, hang on one of the level `coarser`."""
        return self.factors[coarser] // self.factors[level]


def context_config(
    autoencoder: AutoencoderConfig, *, first: int = 0, levels: int | None = None, **others: Any
) -> ContextConfig:
    """For the levels first..levels-1 of a model, by default to its last. others: fields of ContextConfig.

    Raises ValueError for levels that the model does not have, or fields that do not go together.
    """
    count = autoencoder.levels if levels is None else levels
    if not 1 <= count <= autoencoder.levels:
        raise ValueError(f"{count} levels: the model has 1 to {autoencoder.levels}")
    sizes = autoencoder.quantizer.codebook_sizes
    return ContextConfig(sizes[:count], autoencoder.level_factors[:count], first, **others)


def check_together(prior: PriorConfig | None, context: ContextConfig | None) -> None:
    """Raise ValueError unless there is a transformer, a context network, or one that goes on where the other ends."""
    if prior is None and context is None:
        raise ValueError("neither a transformer nor a context network")
    if context is not None and context.condition:
        raise ValueError(f"a context network that is told {context.condition.kind}: one that codes knows tokens alone")
    first = 0 if prior is None else prior.levels
    if context is not None and context.first != first:
        raise ValueError(f"a context network from level {context.first + 1} on: it must be from level {first + 1} on")
    if prior is None or context is None:
        return
    if (prior.codebook_sizes, prior.factors) != (context.codebook_sizes[:first], context.factors[:first]):
        raise ValueError("a transformer and a context network for levels of other shapes")
