"""What the tests of networks over token grids share: grids, and which tokens change which logits."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def random_tokens(*shape: int, codes: int, seed: int = 0) -> Tensor:
    """int64 in 0..codes-1."""
    return torch.randint(codes, shape, generator=torch.Generator().manual_seed(seed))


def randomise(network: nn.Module, *, seed: int = 0, by: float = 0.3) -> None:
    """Every weight random, the ones that start at zero too; no gradients, no dropout."""
    generator = torch.Generator().manual_seed(seed)
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.add_(by * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))


def influence(logits: Callable[[Tensor], Tensor], tokens: Tensor, codes: int) -> Tensor:
    """(M, N) bool: whether another token at position m of the grid changes, by one bit or more, the logits at n.

    tokens: (h, w), M = h w. logits: of (M, h, w), to (M, h', w', K), N = h' w'. Each is compared with an equal batch
    without the change, at the same place in it: a matrix product may round differently from row to row.
    """
    count = tokens.numel()
    plain = tokens.expand(count, -1, -1)
    changed = plain.flatten(1) + torch.eye(count, dtype=torch.int64)
    before, after = logits(plain), logits((changed % codes).view_as(plain))
    return (before != after).any(dim=3).flatten(1)
