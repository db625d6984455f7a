"""Muon: steps with orthogonalised momentum, for the matrices inside a network (Jordan et al., 2024).

In place of AdamW it took the prior of this project a fraction of the steps to the same loss (docs/training.md).
torch.optim.Muon takes matrices only; this one takes kernels of convolutions too, and keeps to float32 on CPUs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

#: of the Newton-Schulz iteration
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Parameters of two or more dimensions; all but the first are taken as one.

    Each step has the root mean square that AdamW's have, 0.2 (Liu et al., 2025, "Muon is Scalable for LLM Training"):
    learning rates mean the same. Raises ValueError for vectors.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, *, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        if any(parameter.dim() < 2 for group in self.param_groups for parameter in group["params"]):
            raise ValueError("Muon takes parameters of two or more dimensions")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step by the gradients that are there."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                average = state["momentum"]
                average.lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(average, group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.sub_(group["lr"] * _scaled(orthogonalised(ahead.flatten(1))).view(parameter.shape))


def orthogonalised(matrix: Tensor) -> Tensor:
    """(m, n) -> (m, n): about the nearest matrix with singular values of 1 (these come out between 0.7 and 1.2)."""
    a, b, c = _COEFFICIENTS
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = wide.to(torch.bfloat16 if wide.is_cuda else torch.float32)
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    made = x if wide is matrix else x.T
    return made.to(matrix.dtype)


def _scaled(update: Tensor) -> Tensor:
    return 0.2 * max(update.shape) ** 0.5 * update
