"""How tokens are drawn from what the prior predicts, of which levels, and how many pictures. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vqcodec.cards.model_card import ModelCard
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.sequence_config import SequenceConfig


@dataclass(frozen=True)
class SamplingConfig:
    """temperature: logits are divided by it; 0 takes the most probable token. top_k: draw from the k most probable
    tokens only; top_p: from the fewest that have this probability together, 0 < p <= 1 (nucleus sampling, Holtzman et
    al., 2020, §3.1), after temperature and top_k; None for all. guidance: s of classifier-free guidance (Ho and
    Salimans, 2022, equation 6): logits = u + (1 + s) (c - u), with c of the conditions and u without them.

    Examples:
        >>> SamplingConfig(top_p=0.9)
        SamplingConfig(temperature=1.0, top_k=None, top_p=0.9, guidance=0.0)
        >>> SamplingConfig(temperature=-1)
        Traceback (most recent call last):
        ValueError: a temperature of -1: take 0 (the most probable token) or more
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    guidance: float = 0.0

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ValueError(f"a temperature of {self.temperature}: take 0 (the most probable token) or more")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top k of {self.top_k}: take 1 or more tokens")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise ValueError(f"top p of {self.top_p}: take a probability above 0, at most 1")
        if not (self.guidance >= 0 and math.isfinite(self.guidance)):
            raise ValueError(f"a guidance of {self.guidance}: take 0 (none) or more")


@dataclass(frozen=True)
class DrawnLevels:
    """The levels that pictures are drawn with. codebook_sizes, factors: K, and pixels along a side for a token, of
    each, coarse to fine."""

    codebook_sizes: tuple[int, ...]
    factors: tuple[int, ...]

    @classmethod
    def of(cls, model: ModelCard, prior: PriorConfig | SequenceConfig | ContextConfig) -> DrawnLevels:
        """Those of the prior, and those after them that the model's integer prior codes, from which they are drawn."""
        stated = model.entropy_prior
        coded = (stated.context or stated.prior) if stated else None
        if coded is None or coded.levels <= prior.levels:
            return cls(prior.codebook_sizes, prior.factors)
        return cls(coded.codebook_sizes, coded.factors)

    @property
    def levels(self) -> int:
        """How many."""
        return len(self.factors)


#: what `Sampler.upscale` draws with by default: what is told leaves little to choose, and rare tokens show as specks
FOR_UPSCALING: Final = SamplingConfig(temperature=0.5, top_p=0.9)

#: pictures that are sampled at a time
DEFAULT_BATCH_SIZE: Final = 8


@dataclass(frozen=True)
class Series:
    """Pictures to be sampled. Picture number i, 0 to count - 1, depends on the seed and i alone, but for rounding, see
    `vqcodec.generation.drawing`.

    count: how many, 1 or more. seed: 0 or more. labels: the class of each picture, 0 to classes - 1, for a prior with
    classes; None for no class. config: how tokens are drawn; by default `SamplingConfig()`, to upscale `FOR_UPSCALING`.
    levels: the first so many; with fewer it is the same picture with less detail; None for all that are drawn.
    batch_size: pictures at a time, 1 or more; more are faster and need more memory. Raises ValueError.

    Examples:
        >>> Series(4, seed=7).levels is None
        True
        >>> Series(2, labels=[1])
        Traceback (most recent call last):
        ValueError: 1 labels for 2 pictures
    """

    count: int = 1
    seed: int = 0
    labels: Sequence[int] | None = None
    config: SamplingConfig | None = None
    levels: int | None = None
    batch_size: int = DEFAULT_BATCH_SIZE

    def __post_init__(self) -> None:
        if min(self.count, self.batch_size) < 1 or self.seed < 0:
            raise ValueError(
                f"count {self.count} and batch size {self.batch_size} are 1 or more, seed {self.seed} 0 or more"
            )
        if self.labels is not None and len(self.labels) != self.count:
            raise ValueError(f"{len(self.labels)} labels for {self.count} pictures")
