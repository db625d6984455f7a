"""How tokens are drawn from what the prior predicts. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final


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


#: what `Sampler.upscale` draws with by default: what is told leaves little to choose, and rare tokens show as specks
FOR_UPSCALING: Final = SamplingConfig(temperature=0.5, top_p=0.9)
