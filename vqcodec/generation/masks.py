"""Which part of a picture is to be filled, in pixels and in tokens. A mask is True where it is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

#: (H, W), True where the picture is to be filled
Mask = NDArray[np.bool_]

SIDES: Final = ("top", "left", "bottom", "right")


def keep_mask(width: int, height: int, side: str, share: float = 0.5) -> Mask:
    """The mask that keeps the part of a picture at one of `SIDES`: `share` of its height or width, in whole pixels.

    Raises ValueError for another side, and for a share of which nothing is kept or nothing is filled.
    """
    if side not in SIDES:
        raise ValueError(f"side {side!r}: there are {', '.join(SIDES)}")
    length = height if side in ("top", "bottom") else width
    kept = round(length * share) if 0 < share < 1 else 0
    if not 0 < kept < length:
        raise ValueError(f"a share of {share} of {length} pixels: some must be kept and some filled")
    places = np.arange(length) >= kept if side in ("top", "left") else np.arange(length) < length - kept
    along_rows = places[:, None] if side in ("top", "bottom") else places
    return np.array(np.broadcast_to(along_rows, (height, width)))


def token_mask(mask: Mask, factor: int) -> Tensor:
    """(H, W) in pixels -> bool (h, w) for a grid with `factor` pixels a token: whether any pixel of it is True."""
    pixels = torch.from_numpy(mask).float()[None, None]
    return F.max_pool2d(pixels, factor, ceil_mode=True)[0, 0] > 0


def token_masks(mask: Mask, factors: Sequence[int]) -> list[Tensor]:
    """`token_mask` of levels, coarse to fine, which are to be filled below what is filled of a coarser level, too: they
    say what that left open."""
    masks: list[Tensor] = []
    for number, factor in enumerate(factors):
        filled = token_mask(mask, factor)
        if masks:
            repeats = factors[number - 1] // factor
            below = masks[-1].repeat_interleave(repeats, 0).repeat_interleave(repeats, 1)
            filled |= below[: filled.shape[0], : filled.shape[1]]
        masks.append(filled)
    return masks


def without_masked(rgb: NDArray[np.uint8], mask: Mask) -> NDArray[np.uint8]:
    """(H, W, 3) whose pixels under the mask (H, W) are made of the others: averages over areas that grow with distance.

    So what the Encoder makes of the rest cannot depend on what was there. Mid-gray where nothing else is.
    """
    known = torch.from_numpy(~mask).float()[None, None]
    colours = torch.from_numpy(rgb.astype(np.float32)).permute(2, 0, 1)[None] * known
    filled = _pulled_through(colours, known)[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    return np.where(mask[..., None], filled, rgb)


def _pulled_through(colours: Tensor, known: Tensor) -> Tensor:
    """Colours (1, 3, h, w), already times `known` (1, 1, h, w) in 0..1 -> (1, 3, h, w), known everywhere."""
    if bool((known > 0).all()):
        return colours / known
    rows, cols = known.shape[2:]
    if rows == cols == 1:
        return torch.full_like(colours, 127.5)
    halves = [F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (colours, known)]
    coarse = F.interpolate(_pulled_through(*halves), size=(rows, cols), mode="bilinear", align_corners=False)
    return torch.where(known > 0, colours / known.clamp_min(1e-12), coarse)
