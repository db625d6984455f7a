"""Colours under full transparency: nobody sees them, but networks do. They are drawn anew from their surroundings."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_hidden"]

Floats = NDArray[np.float32]

_BAND_ROWS: Final = 256  # an even number


def fill_hidden(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 pixels with smooth ones where (H, W) uint8 alpha is 0; `rgb` itself where it is nowhere 0.

    What is visible stays as it is. The rest gets the mean of what is visible near it, the more of it the farther away:
    means over squares of 2, 4, 8, ... pixels, whichever is the smallest that sees anything. Nothing depends on the
    hidden colours; a picture without anything visible becomes mid-gray.
    """
    if alpha is None or alpha.all():
        return rgb
    if not alpha.any():
        gray: NDArray[np.uint8] = np.full_like(rgb, 128)
        return gray
    levels = [_first_level(rgb, alpha)]
    while max(levels[-1].shape[:2]) > 1:
        levels.append(_halved(levels[-1]))
    colours = _mean(levels.pop())
    while levels:
        finer = levels.pop()
        seen = finer[..., 3:] > 0
        colours = np.where(seen, _mean(finer), _doubled(colours, finer.shape[0], finer.shape[1]))
    filled: NDArray[np.uint8] = rgb.copy()
    for top in range(0, rgb.shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        hidden = alpha[rows] == 0
        if hidden.any():
            height, width = hidden.shape
            first = max(top // 2 - 1, 0)  # with a row beyond the band, for its border
            part = _doubled(colours[first : (top + _BAND_ROWS) // 2 + 1], None, width)[top - 2 * first :][:height]
            filled[rows][hidden] = np.clip(np.round(part[hidden]), 0, 255).astype(np.uint8)
    return filled


def _first_level(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> Floats:
    """(ceil(H / 2), ceil(W / 2), 4): sums of visible pixels over squares of 2, weighted by alpha, and their weight."""
    bands = []
    for top in range(0, rgb.shape[0], _BAND_ROWS):
        rows = slice(top, top + _BAND_ROWS)
        weight = alpha[rows, :, None].astype(np.float32) / 255
        bands.append(_summed(np.concatenate([rgb[rows] * weight, weight], axis=2)))
    return np.concatenate(bands)


def _summed(values: Floats) -> Floats:
    """(H, W, C) to sums over squares of 2, (ceil(H / 2), ceil(W / 2), C)."""
    height, width = values.shape[:2]
    even: NDArray[Any] = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    rows = even[0::2] + even[1::2]
    sums: Floats = rows[:, 0::2] + rows[:, 1::2]
    return sums


def _halved(level: Floats) -> Floats:
    """The next coarser level: a square counts by what is visible in it, up to a whole pixel, and not by its size."""
    weight = np.minimum(level[..., 3:], 1)
    return _summed(np.concatenate([_mean(level) * weight, weight], axis=2))


def _mean(level: Floats) -> Floats:
    """(H, W, 4) sums and weights to (H, W, 3) colours, 0 where nothing is visible."""
    mean: Floats = level[..., :3] / np.maximum(level[..., 3:], np.float32(1e-6))
    return mean


def _doubled(colours: Floats, height: int | None, width: int) -> Floats:
    """(h, w, C) to (height, width, C), at most twice as large, bilinear."""
    for axis, size in ((0, height), (1, width)):
        shape = list(colours.shape)
        shape[axis] *= 2
        made = np.empty(shape, np.float32)
        source, target = np.moveaxis(colours, axis, 0), np.moveaxis(made, axis, 0)
        threefold = 3 * source
        for first, before in ((0, _shifted(source, -1)), (1, _shifted(source, 1))):
            np.add(threefold, before, out=target[first::2])
        target /= 4
        colours = np.moveaxis(target[:size], 0, axis)
    return colours


def _shifted(rows: Floats, by: int) -> Floats:
    """The row before (-1) or after (1) each, at the border the row itself."""
    return np.concatenate([rows[:1], rows[:-1]] if by < 0 else [rows[1:], rows[-1:]])
