"""Which code is the nearest: the contract that every path keeps, and the reference that computes nothing else.

The cost of a code c for a vector z is, in float64, of the values as given, summed over their dimensions in ascending
order, every operation rounded by itself:

- "l2": the sum of (z - c)^2;
- "cosine": with s, the sum of z c, minus s |s|, divided by the sum of c^2; 0 for a code of length 0. That is minus
  the square of the cosine, with its sign, but for what all codes share. (torch's square root, which would be simpler,
  is not correctly rounded everywhere.)

A cost that is not finite counts as infinite. The nearest code is the one with the least cost, the lowest index of
equal ones. So a vector with a NaN or an infinity, which is infinitely far from all codes, gets code 0, and a code with
one is nearest to nothing. Shapes: N vectors, K codes, D dimensions.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Metric: TypeAlias = Literal["l2", "cosine"]
METRICS: Final[tuple[Metric, ...]] = ("l2", "cosine")

#: costs held at a time
_ELEMENTS: Final = 2**18


def metric_of(name: str) -> Metric:
    """The metric of a name that was checked: torch's operations take strings."""
    return "cosine" if name == "cosine" else "l2"


def exact_nearest(z: Tensor, codebook: Tensor, metric: Metric) -> Tensor:
    """The index (N,) int64 of the nearest of the codes (K, D) to each of z (N, D); one by one, and slow."""
    if z.device.type == "mps":  # which has no float64
        return exact_nearest(z.cpu(), codebook.cpu(), metric).to(z.device)
    codes = codebook.double()
    squares = code_squares(codes) if metric == "cosine" else None
    chunks = z.double().split(max(1, _ELEMENTS // len(codes)))
    if not chunks[0].numel():
        return torch.zeros(len(z), dtype=torch.int64, device=z.device)
    return torch.cat([_first_least(_costs(chunk, codes, squares)) for chunk in chunks])


def nearest_of_pairs(z: Tensor, codebook: Tensor, metric: Metric, rows: Tensor, codes: Tensor) -> Tensor:
    """The nearest code (N,) int64 of each of z (N, D) among some: pairs of rows and codes, in ascending order.

    Every row has one pair or more. On the CPU, whatever the device.
    """
    row, code = rows.cpu().numpy(), codes.cpu().numpy()
    ours, theirs = z[rows].cpu().double().numpy(), codebook[codes].cpu().double().numpy()
    with np.errstate(all="ignore"):  # overflows and what is no number are allowed for
        if metric == "cosine":
            sums, squares = _added_up(ours * theirs), _added_up(theirs * theirs)
            costs = np.where(squares == 0, sums, -sums * np.abs(sums) / squares)
        else:
            costs = _added_up((ours - theirs) ** 2)
    costs[~np.isfinite(costs)] = np.inf
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    least = np.minimum.reduceat(costs, starts)
    first = np.where(costs == np.repeat(least, np.diff(starts, append=len(row))), code, len(codebook))
    return torch.from_numpy(np.minimum.reduceat(first, starts)).to(z.device)


def _added_up(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums over the last axis in ascending order; numpy's own sum takes another."""
    sums: NDArray[np.float64] = np.cumsum(numbers, axis=1)[:, -1]
    return sums


def code_squares(codes: Tensor) -> Tensor:
    """The sums of squares (K,) of float64 codes (K, D)."""
    squares = torch.zeros_like(codes[:, 0])
    for column in codes.unbind(dim=1):
        squares += column * column
    return squares


def _costs(z: Tensor, codes: Tensor, squares: Tensor | None) -> Tensor:
    """What is least for the nearest code: (N, K), of vectors z (N, D) and codes (K, D)."""
    sums = z.new_zeros(len(z), len(codes))
    for ours, theirs in zip(z.unbind(dim=1), codes.unbind(dim=1), strict=True):
        if squares is None:
            differences = ours[:, None] - theirs
            sums += differences.mul_(differences)
        else:
            sums += ours[:, None] * theirs
    if squares is not None:
        # of a code of length 0 all products are 0, or no numbers
        sums = torch.where(squares == 0, sums, -sums * sums.abs() / squares)
    return torch.where(sums.isfinite(), sums, torch.inf)


def _first_least(costs: Tensor) -> Tensor:
    """The first index of the least of each row: torch's argmin promises no order among equal ones."""
    return (costs == costs.amin(dim=1, keepdim=True)).to(torch.uint8).argmax(dim=1)
