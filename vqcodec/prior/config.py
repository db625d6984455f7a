"""The shape of the prior, as saved beside its weights. Imports no torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final

from vqcodec.models.config import AutoencoderConfig
from vqcodec.prior.orders import ORDERS, TokenOrder


@dataclass(frozen=True)
class ConditionConfig:
    """Grids of tokens that the prior is told besides.

    kind: what they show, see `vqcodec.generation.conditions`. codebook_sizes: K of each of its levels. factor: pixels
    of the picture along a side for a token; it and the factors of the predicted levels must be multiples of each other.
    """

    kind: str
    codebook_sizes: tuple[int, ...]
    factor: int

    def __post_init__(self) -> None:
        if not self.codebook_sizes or min(self.codebook_sizes) < 1 or self.factor < 1:
            raise ValueError(
                f"a condition has one level or more, with codebook sizes and a factor of 1 or more: {self}"
            )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ConditionConfig:
        """From what JSON makes of its fields. Raises TypeError for unknown names, KeyError without codebook sizes."""
        return cls(**values | {"codebook_sizes": tuple(values["codebook_sizes"])})


@dataclass(frozen=True)
class PriorConfig:
    """A transformer over the token grids of a model.

    codebook_sizes, factors: K, and pixels along a side for a token, of each level, coarse to fine. orders: of each
    level, see `vqcodec.prior.orders`. width, depth, heads: of the transformer. token_width: of the vectors that tokens
    are embedded in. radius: a token looks at earlier ones at most so many rows and columns away. classes: 0 for a
    prior without labels. coordinates: whether it is told where in the whole picture a token is. dropout: share of the
    blocks' outputs that is left out in training.
    """

    codebook_sizes: tuple[int, ...]
    factors: tuple[int, ...]
    orders: tuple[str, ...]
    width: int = 256
    depth: int = 4
    heads: int = 8
    token_width: int = 48
    radius: int = 8
    classes: int = 0
    condition: ConditionConfig | None = None
    coordinates: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not len(self.codebook_sizes) == len(self.factors) == len(self.orders):
            raise ValueError("codebook sizes, factors and orders must be as many as levels")
        if not self.codebook_sizes or min(self.codebook_sizes) < 1 or min(self.factors) < 1:
            raise ValueError("a prior has one level or more, with codebook sizes and factors of 1 or more")
        if self.classes < 0 or not 0 <= self.dropout < 1:
            raise ValueError(f"{self.classes} classes, dropout {self.dropout}: take 0 or more, and 0 to less than 1")
        if unknown := set(self.orders) - set(ORDERS):
            raise ValueError(f"order {min(unknown)!r}: there are {', '.join(ORDERS)}")
        if min(self.width, self.depth, self.heads, self.token_width, self.radius) < 1:
            raise ValueError("width, depth, heads, token_width and radius are 1 or more")
        if self.width % self.heads:
            raise ValueError(f"a width of {self.width} is not a multiple of {self.heads} heads")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PriorConfig:
        """From `to_dict`, or what JSON makes of it. Raises TypeError for unknown names."""
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
        condition = values.get("condition")
        return cls(**values | {"condition": ConditionConfig.from_dict(condition) if condition else None})

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @property
    def levels(self) -> int:
        """How many levels of tokens the prior predicts, from the coarsest."""
        return len(self.codebook_sizes)

    def order(self, level: int) -> TokenOrder:
        """The order in which the tokens of a level, counted from 0, are predicted."""
        return ORDERS[self.orders[level]]


@dataclass(frozen=True)
class PriorSize:
    """What the presets differ in. The last is the paper's (Esser et al., 2021, appendix table 8)."""

    width: int
    depth: int
    heads: int
    token_width: int = 48
    dropout: float = 0.0


PRIOR_SIZES: Final[dict[str, PriorSize]] = {
    "tiny": PriorSize(width=192, depth=5, heads=6),
    "small": PriorSize(width=384, depth=8, heads=6),
    "base": PriorSize(width=768, depth=12, heads=12, dropout=0.1),
    "paper": PriorSize(width=1024, depth=24, heads=16, token_width=256, dropout=0.1),
}


def prior_config(
    autoencoder: AutoencoderConfig, size: str, *, levels: int | None = None, order: str = "wavefront", **others: Any
) -> PriorConfig:
    """A preset for the first `levels` levels of a model, all in one order. others: fields of PriorConfig.

    Raises ValueError for a size that does not exist, a model with fewer levels, or fields that do not go together.
    """
    if size not in PRIOR_SIZES:
        raise ValueError(f"prior {size!r}: there are {', '.join(PRIOR_SIZES)}")
    if autoencoder.picture_side:
        raise ValueError("priors of levels with grids of one size are not learned yet")
    count = autoencoder.levels if levels is None else levels
    if not 1 <= count <= autoencoder.levels:
        raise ValueError(f"{count} levels: the model has 1 to {autoencoder.levels}")
    return PriorConfig(
        codebook_sizes=autoencoder.quantizer.codebook_sizes[:count],
        factors=autoencoder.level_factors[:count],
        orders=(order,) * count,
        **dataclasses.asdict(PRIOR_SIZES[size]) | others,
    )
