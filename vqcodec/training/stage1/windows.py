"""Random windows of a batch of pictures, for networks that are too heavy to see all of it."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

#: (picture of the batch, rows, columns)
Window: TypeAlias = tuple[int, slice, slice]


def random_windows(shape: torch.Size, count: int, side: int, generator: torch.Generator | None = None) -> list[Window]:
    """`count` windows of `side` pixels, or fewer and smaller where the batch is: each in a picture of its own.

    shape: (B, C, H, W) of the batch. Without a generator, torch's global one is drawn from.
    """
    batch, _, height, width = shape
    side = min(side, height, width)
    windows = []
    for picture in torch.randperm(batch, generator=generator)[:count].tolist():
        top = int(torch.randint(height - side + 1, (), generator=generator))
        left = int(torch.randint(width - side + 1, (), generator=generator))
        windows.append((picture, slice(top, top + side), slice(left, left + side)))
    return windows


def cut_windows(images: Tensor, windows: list[Window]) -> Tensor:
    """(n, C, side, side) of (B, C, H, W), in the memory order in which convolutions are fastest."""
    pictures = images.unbind(0)  # whose gradient is one stack: that of indexing is a whole batch a window
    cut = torch.stack([pictures[picture][:, rows, cols] for picture, rows, cols in windows])
    return cut.contiguous(memory_format=torch.channels_last)
