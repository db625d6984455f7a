"""The context network in torch, computing in whole numbers from the first step of its training on.

What it gives in evaluation on a CPU is, to the last bit, what `vqcodec.prior.context.ContextModel` gives of the arrays
that `vqcodec.training.stage2.context_export` makes of it: weights are rounded to 8 bits by a scale a row, activations
to whole numbers, and gradients pass the rounding as if it were not there (Jacob et al., 2018, §3; Bengio et al., 2013).

Shapes: B pictures, h w rows and columns of the level, C channels, K codes, T width of a token.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.prior.arithmetic import LIMIT, LOGIT_BITS
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_groups import CONTEXT_GROUPS, ContextGroup

#: whole numbers of activations for 1: they reach almost to 4
UNITS: Final = 32
#: nats in a unit of logits
NATS: Final = math.log(2) / (1 << LOGIT_BITS)
_LEAST_STEP: Final = 1e-8


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> Tensor:
        return gradient


def rounded(x: Tensor) -> Tensor:
    """x to the nearest whole numbers, of two to the even one; gradients pass."""
    return cast("Tensor", _Round.apply(x))  # type: ignore[no-untyped-call]


class WholeTable(nn.Module):
    """Rows of whole numbers of -127..127, (rows, width)."""

    def __init__(self, rows: int, width: int, std: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, width) * std)

    def whole(self) -> Tensor:
        """The rows, float32."""
        return rounded(self.weight * UNITS).clamp(-LIMIT, LIMIT)


class WholeLinear(nn.Module):
    """A linear map (out, in), or a convolution (out, in, 3, 3), of whole numbers: `IntegerLinear` on (B, C, h, w).

    gain: of what it gives, in whole numbers for 1 of its weights. std: of the weights at the start.
    """

    def __init__(self, shape: tuple[int, ...], std: float, gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape) * std)
        self.bias = nn.Parameter(torch.zeros(shape[0]))
        self.gain = gain

    def whole(self) -> tuple[Tensor, Tensor, Tensor]:
        """Weights of -127..127 as they are shaped, scale (out,), offset (out,): float32."""
        steps = self.weight.detach().flatten(1).abs().amax(dim=1).clamp_min(_LEAST_STEP) / LIMIT
        weight = rounded(self.weight / steps.view(-1, *[1] * (self.weight.ndim - 1))).clamp(-LIMIT, LIMIT)
        return weight, steps * self.gain, rounded(self.bias * (UNITS * self.gain))

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, h, w) of whole numbers of -127..127 -> (B, out, h, w)."""
        weight, scale, offset = self.whole()
        if weight.ndim == 2:
            weight = weight[:, :, None, None]
        sums = F.conv2d(x, weight, padding=weight.shape[2] // 2)
        return rounded(sums * scale[:, None, None] + offset[:, None, None])


class ContextBlock(nn.Module):
    """A 3 x 3 convolution and a 1 x 1 one beside the identity, which they are at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.around = WholeLinear((channels, channels, 3, 3), math.sqrt(2 / (9 * channels)))
        self.point = WholeLinear((channels, channels), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.point(self.around(x).clamp(0, LIMIT))
        return (x + added).clamp(-LIMIT, LIMIT)


class LevelNetwork(nn.Module):
    """Of one level, counted from 0."""

    def __init__(self, config: ContextConfig, level: int) -> None:
        super().__init__()
        channels, width, codes = config.channels, config.token_width, config.codebook_sizes[level]
        self.repeats = [config.repeats(coarser, level) for coarser in range(level)]
        std = 0.7 / math.sqrt(max(1, level))
        self.below = nn.ModuleList(WholeTable(size, channels, std) for size in config.codebook_sizes[:level])
        self.start = None if level else WholeTable(1, channels, std)
        self.blocks = nn.ModuleList(ContextBlock(channels) for _ in range(config.blocks))
        self.tokens = WholeTable(codes + 1, width, 0.7)
        self.near = nn.ModuleList(_near(channels, group, width) for group in CONTEXT_GROUPS[1:])
        self.inner = WholeLinear((config.hidden, channels), math.sqrt(2 / channels))
        self.codes = WholeLinear((codes, config.hidden), 0.0, gain=1 / (NATS * UNITS))

    def forward(self, coarser: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """tokens (B, h, w) int64, and those of the coarser levels -> logits (B, K, h, w), whole numbers.

        Each token is predicted from the groups before its own. Raises ValueError for grids that do not go together.
        """
        x = self._context(coarser, tokens)
        for block in self.blocks:
            x = block(x)
        hidden = self.inner((x + self._around(tokens)).clamp(-LIMIT, LIMIT)).clamp(0, LIMIT)
        logits: Tensor = self.codes(hidden)
        return logits

    def _groups(self) -> list[tuple[ContextGroup, WholeLinear]]:
        """All but the first, and what they add."""
        return list(zip(CONTEXT_GROUPS[1:], cast("list[WholeLinear]", list(self.near)), strict=True))

    def _context(self, coarser: Sequence[Tensor], tokens: Tensor) -> Tensor:
        """(B, C, h, w): the sum of the vectors of the coarser tokens at each position."""
        batch, rows, cols = tokens.shape
        if self.start is not None:
            return self.start.whole().view(1, -1, 1, 1).expand(batch, -1, rows, cols)
        summed = torch.zeros((), device=tokens.device)
        tables = cast("list[WholeTable]", list(self.below))
        for table, grid, repeats in zip(tables, coarser, self.repeats, strict=True):
            spread = grid.repeat_interleave(repeats, 1).repeat_interleave(repeats, 2)
            if spread.shape[1] < rows or spread.shape[2] < cols:
                raise ValueError(f"a grid of {tuple(grid.shape[1:])} does not cover one of {(rows, cols)}")
            summed = summed + F.embedding(spread[:, :rows, :cols], table.whole())
        return summed.clamp(-LIMIT, LIMIT).permute(0, 3, 1, 2)

    def _around(self, tokens: Tensor) -> Tensor:
        """(B, C, h, w): what the tokens around each position add to it."""
        batch, rows, cols = tokens.shape
        outside = len(self.tokens.weight) - 1
        embedded = F.embedding(F.pad(tokens, (1, 1, 1, 1), value=outside), self.tokens.whole()).permute(0, 3, 1, 2)
        added = embedded.new_zeros(batch, self.inner.weight.shape[1], rows, cols)
        for group, near in self._groups():
            size = group.size((rows, cols))
            if min(size):
                told = [_told(embedded, group, offset, size) for offset in group.offsets]
                added[:, :, group.row :: 2, group.col :: 2] = near(torch.cat(told, dim=1))
        return added


class ContextNetwork(nn.Module):
    """forward(tokens, level) gives the logits of all tokens of a level that the configuration covers."""

    def __init__(self, config: ContextConfig) -> None:
        super().__init__()
        self.config = config
        self.levels = nn.ModuleList(LevelNetwork(config, level) for level in config.covered)

    def level(self, number: int) -> LevelNetwork:
        """The network of a level, counted from 0. Raises ValueError for one that is not covered."""
        if number not in self.config.covered:
            raise ValueError(f"level {number}: the context network covers {self.config.covered}")
        return cast("LevelNetwork", self.levels[number - self.config.first])

    def forward(self, tokens: Sequence[Tensor], level: int) -> Tensor:
        """tokens: (B, h, w) int64 of the levels 0..level at least -> logits (B, K, h, w) of the tokens of `level`,
        whole numbers in units of log2 / 2^8. Raises ValueError for other levels and for grids that do not go together.
        """
        if len(tokens) <= level:
            raise ValueError(f"level {level}: tokens of {len(tokens)} levels")
        logits: Tensor = self.level(level)(tokens[:level], tokens[level])
        return logits

    def nats(self, tokens: Sequence[Tensor], level: int) -> Tensor:
        """(B, h, w) float32: what each token of a level costs, -ln of its probability. Raises as `forward` does."""
        return F.cross_entropy(self(tokens, level) * NATS, tokens[level], reduction="none")


def _near(channels: int, group: ContextGroup, width: int) -> WholeLinear:
    inputs = len(group.offsets) * width
    return WholeLinear((channels, inputs), 0.5 / math.sqrt(inputs))


def _told(embedded: Tensor, group: ContextGroup, offset: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Of embedded tokens (B, T, h + 2, w + 2), those at an offset from a group's, (B, T, *size)."""
    starts = group.row + offset[0] + 1, group.col + offset[1] + 1
    rows, cols = (slice(start, start + 2 * count - 1, 2) for start, count in zip(starts, size, strict=True))
    return embedded[:, :, rows, cols]
