"""What a prior is told of a picture before its first token, and how a grid of it gets to the places of a level."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """What is known of a picture before its first token.

    labels: (B,) int64 in 0..classes, where `classes` stands for none. grid: (B, C, h', w') int64 tokens of the C
    levels of the condition, -1 where nothing is known; None where nothing is known at all. origin: ((top, left), (rows,
    cols)) of the grid at hand within the whole picture's, in tokens, for a prior with coordinates; by default it is the
    whole picture.
    """

    labels: Tensor | None = None
    grid: Tensor | None = None
    origin: tuple[tuple[int, int], tuple[int, int]] | None = None


NO_CONDITIONS = Conditions()


def fitted(embedded: Tensor, factor: int, own: int, shape: tuple[int, int]) -> Tensor:
    """(B, h', w', e) of a grid with `factor` pixels a token -> (B, e, h, w) at the places of one with `own`.

    shape: its (h, w). Raises ValueError for a grid that does not cover it.
    """
    x = embedded.permute(0, 3, 1, 2)
    if factor > own:
        x = x.repeat_interleave(factor // own, 2).repeat_interleave(factor // own, 3)
    elif factor < own:
        x = F.avg_pool2d(x, own // factor, ceil_mode=True, count_include_pad=False)
    if x.shape[2] < shape[0] or x.shape[3] < shape[1]:
        raise ValueError(f"a grid of {tuple(embedded.shape[1:3])} does not cover one of {shape}")
    return x[:, :, : shape[0], : shape[1]]
