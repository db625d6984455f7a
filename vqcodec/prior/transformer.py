"""The prior: a transformer that predicts the tokens of a level from those before them and from the coarser levels.

After the second stage of Esser et al., 2021 (§3.2), with three changes that serve an entropy model and a generator
alike. Any order of groups (`vqcodec.prior.orders`): each position has one slot, whose input is what is known *around*
it, so that the tokens of a group are predicted in one pass and none sees itself. Positions count relative to each
other only, and attention reaches `radius` tokens: what is learned on small grids holds for grids of any size, where the
paper cuts out windows. Coarser levels and other conditions, which lie on the same picture, enter where they lie, by a
convolution, where the paper puts them in front of the sequence.

Shapes: B batch, h w rows and columns of a level's grid, N = h w, n tokens of one group, K codes, D width, L levels.
Levels count from 0. Slots and caches are in the order of coding; tokens and logits in raster order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.prior.conditions import NO_CONDITIONS, Conditions, fitted
from vqcodec.prior.config import ConditionConfig, PriorConfig
from vqcodec.prior.places import SPACINGS
from vqcodec.prior.slots import Slots, slots


class Attention(nn.Module):
    """Multi-head attention; what is added to the logits comes from outside."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.into = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, n, D) -> queries, keys and values (B, heads, n, D / heads)."""
        query, key, value = self.into(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return query, key, value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        """n queries, m keys and values; bias (heads, n, m): -inf where the query must not look. -> (B, n, D)."""
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3) + bias
        mixed = logits.softmax(dim=3).to(value.dtype) @ value
        attended: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return attended


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        width = config.width
        self.attention_norm, self.mlp_norm = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.attention = Attention(width, config.heads)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(config.dropout)
        for layer in (self.attention.out, self.narrow):
            nn.init.normal_(layer.weight, std=0.02 / (2 * config.depth) ** 0.5)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """All slots at once: x (B, N, D), bias (heads, N, N)."""
        query, key, value = self.attention.split(self.attention_norm(x))
        return self.rest(x, self.attention.attend(query, key, value, bias))

    def rest(self, x: Tensor, attended: Tensor) -> Tensor:
        """What follows attention."""
        x = x + self.dropout(attended)
        output: Tensor = x + self.dropout(self.narrow(F.gelu(self.widen(self.mlp_norm(x)))))
        return output


class LevelInput(nn.Module):
    """What goes into the slots of one level: the tokens around each, and the coarser levels (and condition) there."""

    def __init__(self, config: PriorConfig, level: int) -> None:
        super().__init__()
        self.offsets = config.order(level).offsets
        self.near = nn.Linear(len(self.offsets) * config.token_width, config.width)
        grids = level + (len(config.condition.codebook_sizes) if config.condition else 0)
        self.below = nn.Conv2d(grids * config.token_width, config.width, 3, padding=1) if grids else None

    def context(self, grids: list[Tensor]) -> Tensor | None:
        """Embedded tokens of coarser grids, (B, e, h, w) each at this level's size -> (B, N, D), or None."""
        if self.below is None:
            return None
        below: Tensor = self.below(torch.cat(grids, dim=1)).flatten(2).transpose(1, 2)
        return below

    def forward(self, around: Tensor) -> Tensor:
        """Embedded tokens around each slot, (B, n, offsets, e) -> (B, n, D)."""
        near: Tensor = self.near(around.flatten(2))
        return near


class Prior(nn.Module):
    """forward(tokens, level) gives the logits of all tokens of a level; `begin` predicts group by group."""

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        #: one vector more than there are codes: that of a token that is not known, which is also the start token
        self.tokens = nn.ModuleList(nn.Embedding(size + 1, config.token_width) for size in config.codebook_sizes)
        self.inputs = nn.ModuleList(LevelInput(config, level) for level in range(config.levels))
        self.levels = nn.Embedding(config.levels, width)
        self.spacings = nn.Embedding(SPACINGS, width)
        self.labels = nn.Embedding(config.classes + 1, width) if config.classes else None
        conditions = config.condition.codebook_sizes if config.condition else ()
        self.condition = nn.ModuleList(nn.Embedding(size + 1, config.token_width) for size in conditions)
        self.place = nn.Linear(2, width, bias=False) if config.coordinates else None
        #: what attention adds for a relative position, the same in all blocks (as in T5, Raffel et al., 2020)
        self.relative = nn.Embedding((2 * config.radius + 1) ** 2, config.heads)
        nn.init.zeros_(self.relative.weight)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.norm = nn.RMSNorm(width, eps=1e-5)
        self.heads = nn.ModuleList(_head(width, size) for size in config.codebook_sizes)
        for table in filter(None, (self.levels, self.spacings, self.labels)):
            nn.init.normal_(table.weight, std=0.02)

    def each_block(self) -> list[Block]:
        """The blocks, first to last."""
        return cast("list[Block]", list(self.blocks))

    def _input(self, level: int) -> LevelInput:
        return cast("LevelInput", self.inputs[level])

    def forward(
        self,
        tokens: Sequence[Tensor],
        level: int,
        conditions: Conditions = NO_CONDITIONS,
        *,
        seen: Tensor | None = None,
    ) -> Tensor:
        """tokens: (B, h, w) int64 of the levels 0..level at least -> logits (B, h, w, K) of the tokens of `level`.

        Each is predicted from the groups before it. seen: what is shown of the level in place of its tokens, of the
        same shape (for corrupted inputs in training). Raises ValueError for grids that do not go together.
        """
        if not 0 <= level < min(self.config.levels, len(tokens)):
            raise ValueError(f"level {level}: tokens of {len(tokens)} levels, the prior has {self.config.levels}")
        seen = tokens[level] if seen is None else seen
        rows, cols = seen.shape[1:]
        all_slots, everywhere = self.slots(level, (rows, cols)), slice(0, rows * cols)
        x = self._context(tokens[:level], level, all_slots, conditions, batch=len(seen))
        x = x + self._input(level)(self._around(seen.flatten(1), level, all_slots.neighbours))
        bias = self._bias(all_slots, everywhere, everywhere)
        for block in self.each_block():
            x = block(x, bias)
        logits = self.heads[level](self.norm(x))
        return torch.empty_like(logits).index_copy(1, all_slots.positions, logits).unflatten(1, (rows, cols))

    def slots(self, level: int, shape: tuple[int, int]) -> Slots:
        """Of a grid of a level. Raises ValueError for a grid without positions."""
        return slots(self.config.order(level), *shape, self.config.radius, self.relative.weight.device)

    @torch.inference_mode()
    def bits(self, tokens: Sequence[Tensor], level: int, conditions: Conditions = NO_CONDITIONS) -> Tensor:
        """(B, h, w) float32: what each token of a level costs, -log2 of its probability, in bits."""
        logits = self(tokens, level, conditions).float()
        nats = F.cross_entropy(logits.flatten(0, 2), tokens[level].flatten(), reduction="none")
        return nats.view(tokens[level].shape) / math.log(2)

    def begin(
        self,
        coarser: Sequence[Tensor],
        shape: tuple[int, int],
        *,
        batch: int = 1,
        conditions: Conditions = NO_CONDITIONS,
    ) -> LevelPass:
        """Predict the level after `coarser`, (B, h, w) int64 each, group by group. shape: (rows, cols) of its grid.

        Raises ValueError for grids that do not go together.
        """
        if len(coarser) >= self.config.levels:
            raise ValueError(f"{len(coarser)} coarser levels: the prior has {self.config.levels} in all")
        return LevelPass(self, coarser, shape, batch, conditions)

    def _context(
        self, coarser: Sequence[Tensor], level: int, where: Slots, conditions: Conditions, batch: int
    ) -> Tensor:
        """(B, N, D), in order: what is known of each slot before the first token of the level."""
        shape = where.grid.shape
        x = (self.levels.weight[level] + self.spacings(where.spacing)).expand(batch, -1, -1)
        below = [
            fitted(table(tokens), self.config.factors[number], self.config.factors[level], shape)
            for number, (table, tokens) in enumerate(zip(self.tokens, coarser, strict=False))
        ]
        if self.config.condition is not None:
            below += self._embedded_condition(self.config.condition, conditions.grid, level, shape, batch)
        elif conditions.grid is not None:
            raise ValueError("this prior takes no grid as condition")
        context = self._input(level).context(below)
        if context is not None:
            x = x + context[:, where.positions]
        if self.labels is not None:
            labels = conditions.labels
            none = torch.full((batch,), self.config.classes, device=x.device)
            x = x + self.labels(none if labels is None else labels)[:, None]
        elif conditions.labels is not None:
            raise ValueError("this prior knows no classes")
        if self.place is not None:
            x = x + self.place(_coordinates(where, conditions.origin).to(x.dtype))
        return x

    def _embedded_condition(
        self, config: ConditionConfig, grid: Tensor | None, level: int, shape: tuple[int, int], batch: int
    ) -> list[Tensor]:
        """(B, e, h, w) of each level of the condition, at the places of this level's tokens."""
        unknown = grid is None
        if grid is None:
            grid = torch.full((batch, len(config.codebook_sizes), *shape), -1, device=self.levels.weight.device)
        if grid.ndim != 4 or grid.shape[1] != len(config.codebook_sizes):
            raise ValueError(f"the condition has {len(config.codebook_sizes)} levels, not {tuple(grid.shape)}")
        embedded = [
            table(torch.where(tokens < 0, size, tokens))
            for table, size, tokens in zip(self.condition, config.codebook_sizes, grid.unbind(1), strict=True)
        ]
        factor = self.config.factors[level] if unknown else config.factor
        return [fitted(each, factor, self.config.factors[level], shape) for each in embedded]

    def _around(self, known: Tensor, level: int, neighbours: Tensor) -> Tensor:
        """Embedded tokens at `neighbours` (n, offsets). known: (B, N) in raster order -> (B, n, offsets, e)."""
        around = known[:, neighbours.clamp_min(0)]
        embedded: Tensor = self.tokens[level](torch.where(neighbours < 0, self.config.codebook_sizes[level], around))
        return embedded

    def _bias(self, where: Slots, queries: slice, keys: slice) -> Tensor:
        """(heads, n, m): what attention adds between two slots, -inf where the query must not look."""
        which, seen = where.relative(queries, keys)
        bias: Tensor = self.relative(which).masked_fill(~seen[..., None], -torch.inf)
        return bias.permute(2, 0, 1).contiguous()


class LevelPass:
    """One level of a batch, predicted group by group; keys and values of earlier groups are kept.

    grid: the order. groups: the positions (n,) of each group, int64, which must be asked for one after the other.
    """

    def __init__(
        self, prior: Prior, coarser: Sequence[Tensor], shape: tuple[int, int], batch: int, conditions: Conditions
    ) -> None:
        self.prior, self.level = prior, len(coarser)
        self._slots = prior.slots(self.level, shape)
        self.grid, starts = self._slots.grid, self._slots.starts
        self.groups = [self._slots.positions[start:end] for start, end in pairwise(starts)]
        self._context = prior._context(coarser, self.level, self._slots, conditions, batch)
        size = (batch, prior.config.heads, starts[-1], prior.config.width // prior.config.heads)
        self._keys, self._values = ([self._context.new_empty(size) for _ in prior.blocks] for _ in range(2))
        self._next = 0

    def logits(self, known: Tensor) -> Tensor:
        """(B, n, K) of the next of the groups.

        known: (B, N) int64 tokens in raster order, right for all groups before; what else is in it does not matter.
        """
        places = slice(*self._slots.starts[self._next : self._next + 2])
        self._next += 1
        prior, before = self.prior, self._slots.before(places)
        around = prior._around(known, self.level, self._slots.neighbours[places])
        x = self._context[:, places] + prior._input(self.level)(around)
        bias = prior._bias(self._slots, places, before)
        for block, keys, values in zip(prior.each_block(), self._keys, self._values, strict=True):
            query, keys[:, :, places], values[:, :, places] = block.attention.split(block.attention_norm(x))
            x = block.rest(x, block.attention.attend(query, keys[:, :, before], values[:, :, before], bias))
        logits: Tensor = prior.heads[self.level](prior.norm(x))
        return logits


def _head(width: int, size: int) -> nn.Linear:
    """All codes alike at the start."""
    layer = nn.Linear(width, size)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _coordinates(where: Slots, origin: tuple[tuple[int, int], tuple[int, int]] | None) -> Tensor:
    """(N, 2) row and column of each slot in the whole picture, -1..1."""
    (top, left), (rows, cols) = origin or ((0, 0), where.grid.shape)
    row, col = where.row + top, where.col + left
    return torch.stack([2 * row / max(1, rows - 1) - 1, 2 * col / max(1, cols - 1) - 1], dim=1)
