"""How long a gradient may be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import torch
from torch import Tensor

#: norms that the quantile is of, and the fewest that it is taken of
_REMEMBERED, _FEWEST = 200, 20


class GradientClip:
    """Scales gradients down to a limit: a fixed one, or a quantile of the norms of the last 200 steps.

    A fixed limit suits one loss at one stage of training; a quantile (0..1) follows them, so that few steps are clipped
    hard and none is much longer than usual. 0 for the fixed limit alone, which holds for the first 20 steps, too.
    """

    def __init__(self, limit: float, quantile: float) -> None:
        self._limit, self._quantile = limit, quantile
        self._norms: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def limit(self) -> float:
        """What the next norm is brought to when it is larger."""
        if not self._quantile or len(self._norms) < _FEWEST:
            return self._limit
        return float(torch.tensor(list(self._norms), dtype=torch.float64).quantile(self._quantile))

    def __call__(self, parameters: Iterable[torch.nn.Parameter]) -> Tensor:
        """Scale the gradients of all parameters. Returns their norm before that, a scalar."""
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.limit)
        if bool(torch.isfinite(norm)):
            self._norms.append(float(norm))
        return norm

    def state(self) -> list[float]:
        """For a checkpoint."""
        return list(self._norms)

    def load(self, state: list[float]) -> None:
        """From a checkpoint."""
        self._norms.extend(state)
