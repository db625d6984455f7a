"""The context network in torch, computing in whole numbers from the first step of its training on.

What it gives in evaluation on a CPU is, to the last bit, what `vqcodec.prior.context.ContextModel` gives of the arrays
that `vqcodec.training.stage2.context_export` makes of it: weights are rounded to 8 bits by a scale a row, activations
to whole numbers, and gradients pass the rounding as if it were not there (Jacob et al., 2018, §3; Bengio et al., 2013).
One that is told a condition codes nothing, and draws pictures, see `ContextNetwork.begin`.

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
from vqcodec.prior.conditions import NO_CONDITIONS, Conditions, fitted
from vqcodec.prior.context import FREQUENCIES_AT_ONCE
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_groups import CONTEXT_GROUPS, ContextGroup, pieces_of_groups

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
        told = config.condition.codebook_sizes if config.condition else ()
        self.factors = config.factors[level], config.condition.factor if config.condition else 0
        std = 0.7 / math.sqrt(max(1, level + len(told)))
        self.below = nn.ModuleList(WholeTable(size, channels, std) for size in config.codebook_sizes[:level])
        self.start = None if level else WholeTable(1, channels, std)
        self.told = nn.ModuleList(WholeTable(size, channels, std) for size in told)
        self.blocks = nn.ModuleList(ContextBlock(channels) for _ in range(config.blocks))
        self.tokens = WholeTable(codes + 1, width, 0.7)
        self.near = nn.ModuleList(_near(channels, group, width) for group in CONTEXT_GROUPS[1:])
        self.inner = WholeLinear((config.hidden, channels), math.sqrt(2 / channels))
        self.codes = WholeLinear((codes, config.hidden), 0.0, gain=1 / (NATS * UNITS))

    def forward(self, coarser: Sequence[Tensor], tokens: Tensor, condition: Tensor | None = None) -> Tensor:
        """tokens (B, h, w) int64, and those of the coarser levels -> logits (B, K, h, w), whole numbers.

        Each token is predicted from the groups before its own. condition: as of `vqcodec.prior.conditions.Conditions`,
        known everywhere. Raises ValueError for grids that do not go together.
        """
        x = self.context(coarser, (len(tokens), *tokens.shape[1:]), condition)
        return self.logits(x + self._around(tokens))

    def context(self, coarser: Sequence[Tensor], shape: tuple[int, ...], condition: Tensor | None = None) -> Tensor:
        """(B, C, h, w): what is known of the positions of a level before its first token. shape: (B, h, w)."""
        x = self._summed(coarser, shape, condition)
        for block in self.blocks:
            x = block(x)
        return x

    def of_group(self, context: Tensor, tokens: Tensor, number: int) -> Tensor:
        """(B, C, n, 1): what is known of the positions of one group; `tokens` are right for the groups before it."""
        group = CONTEXT_GROUPS[number]
        x = context[:, :, group.row :: 2, group.col :: 2]
        if number:
            x = x + self._from_neighbours(self._embedded(tokens), number, (x.shape[2], x.shape[3]))
        return x.flatten(2)[..., None]

    def logits(self, x: Tensor) -> Tensor:
        """(B, K, h, w) of sums (B, C, h, w)."""
        hidden = self.inner(x.clamp(-LIMIT, LIMIT)).clamp(0, LIMIT)
        logits: Tensor = self.codes(hidden)
        return logits

    def _summed(self, coarser: Sequence[Tensor], shape: tuple[int, ...], condition: Tensor | None) -> Tensor:
        """(B, C, h, w): the sum of the vectors of the coarser tokens, and of the condition's, at each position."""
        batch, rows, cols = shape
        if self.start is not None:
            summed = self.start.whole().expand(batch, rows, cols, -1)
        else:
            summed = torch.zeros((), device=self.tokens.weight.device)
        tables = cast("list[WholeTable]", list(self.below))
        for table, grid, repeats in zip(tables, coarser, self.repeats, strict=True):
            spread = grid.repeat_interleave(repeats, 1).repeat_interleave(repeats, 2)
            if spread.shape[1] < rows or spread.shape[2] < cols:
                raise ValueError(f"a grid of {tuple(grid.shape[1:])} does not cover one of {(rows, cols)}")
            summed = summed + F.embedding(spread[:, :rows, :cols], table.whole())
        summed = summed.permute(0, 3, 1, 2)
        grids = [] if condition is None else list(condition.unbind(1))
        if len(grids) != len(self.told):
            raise ValueError(f"a condition of {len(grids)} levels; this context network is told {len(self.told)}")
        own, factor = self.factors
        for table, grid in zip(cast("list[WholeTable]", list(self.told)), grids, strict=True):
            summed = summed + rounded(fitted(F.embedding(grid, table.whole()), factor, own, (rows, cols)))
        return summed.clamp(-LIMIT, LIMIT)

    def _around(self, tokens: Tensor) -> Tensor:
        """(B, C, h, w): what the tokens around each position add to it."""
        batch, rows, cols = tokens.shape
        embedded = self._embedded(tokens)
        added = embedded.new_zeros(batch, self.inner.weight.shape[1], rows, cols)
        for number, group in enumerate(CONTEXT_GROUPS):
            size = group.size((rows, cols))
            if number and min(size):
                added[:, :, group.row :: 2, group.col :: 2] = self._from_neighbours(embedded, number, size)
        return added

    def _embedded(self, tokens: Tensor) -> Tensor:
        """(B, T, h + 2, w + 2), with what stands for tokens outside all around."""
        outside = len(self.tokens.weight) - 1
        return F.embedding(F.pad(tokens, (1, 1, 1, 1), value=outside), self.tokens.whole()).permute(0, 3, 1, 2)

    def _from_neighbours(self, embedded: Tensor, number: int, size: tuple[int, int]) -> Tensor:
        """(B, C, *size): what the tokens around the positions of a group add to them."""
        group, near = CONTEXT_GROUPS[number], cast("WholeLinear", self.near[number - 1])
        return cast(
            "Tensor", near(torch.cat([_neighbours(embedded, group, offset, size) for offset in group.offsets], dim=1))
        )


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

    def forward(self, tokens: Sequence[Tensor], level: int, condition: Tensor | None = None) -> Tensor:
        """tokens: (B, h, w) int64 of the levels 0..level at least -> logits (B, K, h, w) of the tokens of `level`,
        whole numbers in units of log2 / 2^8. condition: (B, C, h', w') int64, for a network that is told one. Raises
        ValueError for other levels and for grids that do not go together.
        """
        if len(tokens) <= level:
            raise ValueError(f"level {level}: tokens of {len(tokens)} levels")
        logits: Tensor = self.level(level)(tokens[:level], tokens[level], condition)
        return logits

    def nats(self, tokens: Sequence[Tensor], level: int, condition: Tensor | None = None) -> Tensor:
        """(B, h, w) float32: what each token of a level costs, -ln of its probability. Raises as `forward` does."""
        return F.cross_entropy(self(tokens, level, condition) * NATS, tokens[level], reduction="none")

    def begin(
        self,
        coarser: Sequence[Tensor],
        shape: tuple[int, int],
        *,
        batch: int = 1,
        conditions: Conditions = NO_CONDITIONS,
    ) -> ContextPass:
        """Predict the level after `coarser`, (B, h, w) int64 each, group by group. shape: (rows, cols) of its grid.

        Raises ValueError for levels that are not covered, labels, and grids that do not go together.
        """
        if conditions.labels is not None:
            raise ValueError("a context network knows no classes")
        return ContextPass(self.level(len(coarser)), coarser, (batch, *shape), conditions.grid)


class ContextPass:
    """One level of a batch, predicted group by group.

    groups: the positions (n,) of each group, int64, which must be asked for one after the other.
    """

    def __init__(
        self, network: LevelNetwork, coarser: Sequence[Tensor], shape: tuple[int, int, int], condition: Tensor | None
    ) -> None:
        self._network, self._shape, self._next = network, shape, 0
        self._context = network.context(coarser, shape, condition)
        tokens = max(1, FREQUENCIES_AT_ONCE // network.codes.weight.shape[0])
        #: groups, cut where their logits would be too many at once
        self._pieces = list(pieces_of_groups(shape[1:], tokens))
        #: what is known of the positions of the group at hand, and which is the next
        self._group, self._begin = self._context, 0
        self.groups = [torch.from_numpy(positions).to(self._context.device) for _, positions in self._pieces]

    def logits(self, known: Tensor) -> Tensor:
        """(B, n, K) float32 of the next of the groups. known: as of `vqcodec.prior.transformer.LevelPass`."""
        number, positions = self._pieces[self._next]
        if not self._next or self._pieces[self._next - 1][0] != number:
            self._group, self._begin = self._network.of_group(self._context, known.view(self._shape), number), 0
        piece = self._group[:, :, self._begin : self._begin + len(positions)]
        self._begin += len(positions)
        self._next += 1
        return self._network.logits(piece)[..., 0].transpose(1, 2) * NATS


def _near(channels: int, group: ContextGroup, width: int) -> WholeLinear:
    inputs = len(group.offsets) * width
    return WholeLinear((channels, inputs), 0.5 / math.sqrt(inputs))


def _neighbours(embedded: Tensor, group: ContextGroup, offset: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Of embedded tokens (B, T, h + 2, w + 2), those at an offset from a group's, (B, T, *size)."""
    starts = group.row + offset[0] + 1, group.col + offset[1] + 1
    rows, cols = (slice(start, start + 2 * count - 1, 2) for start, count in zip(starts, size, strict=True))
    return embedded[:, :, rows, cols]
