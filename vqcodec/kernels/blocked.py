"""The nearest codes by matrix products of plain torch, a block of scores at a time: on CPUs, and wherever else.

argmax over the scores would take several times as long as the product that makes them: torch's looks at one number at a
time. So codes stand in G columns of B rows. The largest score of each column is a maximum of rows, which is done many
columns at a time; then only G columns are left to look through, and the B codes of the best. The leads over the second
best column and over the second best in the column tell whether the index is certain (`vqcodec.kernels.code_scores`);
if not, the codes that are as near as rounding can tell are compared by the contract.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from vqcodec.kernels.code_scores import Margin, ScoredCodes, lengths_of
from vqcodec.kernels.contract import Metric, nearest_of_pairs

#: scores held at a time, 4 MiB: they stay in the cache
_SCORES: Final = 2**20
#: codes whose scores are held at a time
_CODES: Final = 2**13
#: N x K x D of vectors to be settled at a time: all codes may be near, and then so many float64 are held
_SETTLED: Final = 2**22
#: below so many columns, rows are not compared many columns at a time
_LEAST_COLUMNS: Final = 32


def blocked_nearest(z: Tensor, codebook: Tensor, metric: Metric) -> Tensor:
    """The index (N,) int64 of the nearest of the codes (K, D) to each of z (N, D), as the contract has it."""
    z, scored = z.float(), ScoredCodes.of(codebook, metric)
    margin = Margin.of(z.shape[1], _factor_error(z.device))
    pieces = [_Columns(scored, start) for start in range(0, len(codebook), _CODES)]
    indices = torch.empty(len(z), dtype=torch.int64, device=z.device)
    certain = torch.empty(len(z), dtype=torch.bool, device=z.device)
    rows = max(1, _SCORES // pieces[0].codes)
    buffer = torch.empty(rows * pieces[0].codes, device=z.device)
    margins = margin.at(lengths_of(z), scored.radius)
    with torch.autocast(z.device.type, enabled=False):
        for start in range(0, len(z), rows):
            part = slice(start, start + rows)
            with_one = torch.nn.functional.pad(z[part], (0, 1), value=1.0)
            leads = [piece.best(with_one, buffer) for piece in pieces]
            best, second, indices[part] = leads[0] if len(leads) == 1 else _merged(leads)
            certain[part] = best - second > margins[part]  # False for what is no number
        doubtful = (~certain).nonzero().flatten()
        if len(doubtful):
            indices[doubtful] = _settled(z[doubtful], codebook, metric, scored, margins[doubtful])
    return indices


def _settled(z: Tensor, codebook: Tensor, metric: Metric, scored: ScoredCodes, margins: Tensor) -> Tensor:
    """The nearest codes by the contract, of those whose scores are within the margins (N,) of the best."""
    rows = max(1, _SETTLED // codebook.numel())
    indices = []
    for part, margin in zip(z.split(rows), margins.split(rows), strict=True):
        scores = torch.addmm(scored.offsets, part, scored.vectors.t())
        near = ~(scores < scores.amax(dim=1, keepdim=True) - margin[:, None])  # all, where something is no number
        row, code = near.nonzero().unbind(dim=1)
        indices.append(nearest_of_pairs(part, codebook, metric, row, code))
    return torch.cat(indices)


class _Columns:
    """Some of the codes, from `start` on, in G columns of B: code start + b G + g is b in column g."""

    def __init__(self, scored: ScoredCodes, start: int) -> None:
        vectors, offsets = scored.vectors[start : start + _CODES], scored.offsets[start : start + _CODES]
        self._start = start
        self.columns = max(_LEAST_COLUMNS, 2 << (len(vectors).bit_length() // 2))
        missing = -len(vectors) % self.columns
        self.codes = len(vectors) + missing
        if missing:
            vectors = torch.nn.functional.pad(vectors, (0, 0, 0, missing))
            offsets = torch.nn.functional.pad(offsets, (0, missing), value=-torch.inf)
        self._matrix = torch.cat([vectors, offsets[:, None]], dim=1).t()

    def best(self, with_one: Tensor, buffer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The best score, the second best, and the index of the best, each (n,), for (n, D + 1) with a column of 1."""
        rows = len(with_one)
        scores = torch.mm(with_one, self._matrix, out=buffer[: rows * self.codes].view(rows, self.codes))
        grid = scores.view(rows, -1, self.columns)
        columns = grid.amax(dim=1)
        best, column = columns.max(dim=1)
        inside = grid[torch.arange(rows, device=column.device), :, column]
        row = inside.argmax(dim=1)
        columns.scatter_(1, column[:, None], -torch.inf)
        inside.scatter_(1, row[:, None], -torch.inf)
        second = torch.maximum(columns.amax(dim=1), inside.amax(dim=1))
        return best, second, self._start + row * self.columns + column


def _merged(leads: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    """Of several pieces of a codebook."""
    bests, seconds, indices = (torch.stack(each) for each in zip(*leads, strict=True))
    best, piece = bests.max(dim=0)
    index = indices.gather(0, piece[None])[0]
    bests.scatter_(0, piece[None], -torch.inf)
    return best, torch.maximum(bests.amax(dim=0), seconds.amax(dim=0)), index


def _factor_error(device: torch.device) -> float:
    """How wrong a product's factors can be together, relative: 0 unless this process lets products be of less than
    float32."""
    settings = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}.get(device.type)
    matmul = getattr(settings, "matmul", None)
    precision = getattr(matmul, "fp32_precision", None)  # torch 2.9 and later
    if precision is None:
        reduced = torch.get_float32_matmul_precision() != "highest"
    else:
        reduced = precision not in ("none", "ieee")
    return 2.0**-7 if reduced else 0.0
