"""Sequence models of tokens as other projects publish them: the GPTs of taming-transformers and of LlamaGen.

Written anew after taming-transformers' `taming/modules/transformer/mingpt.py` (Esser et al., 2021, §3.2; MIT) and
LlamaGen's `autoregressive/models/gpt.py` (Sun et al., 2024, §2.2; MIT). They offer what
`vqcodec.prior.transformer.Prior` offers to whoever samples.

Shapes: B batch, h w rows and columns of the grid, N = h w, n tokens at a time, K codes, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.prior.conditions import NO_CONDITIONS, Conditions
from vqcodec.prior.sequence_config import SequenceConfig

#: keys and values of a block so far, (B, heads, n, D / heads) each
Cache = tuple[Tensor, Tensor]


class SequenceBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); each token looks at those before it and at itself."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        is_taming, width = config.kind == "taming", config.width
        self.heads, self.kv_heads = config.heads, config.kv_heads or config.heads
        self.attention_norm, self.mlp_norm = _norm(config), _norm(config)
        keys = self.kv_heads * width // config.heads
        self.into = nn.Linear(width, width + 2 * keys, bias=is_taming)
        self.out = nn.Linear(width, width, bias=is_taming)
        self.widen = nn.Linear(width, config.hidden, bias=is_taming)
        self.gate = None if is_taming else nn.Linear(width, config.hidden, bias=False)
        self.narrow = nn.Linear(config.hidden, width, bias=is_taming)

    def forward(self, x: Tensor, rotations: Tensor | None, cache: Cache | None) -> tuple[Tensor, Cache]:
        """x (B, n, D) after what `cache` holds; rotations (n, D / heads / 2, 2) or None."""
        size = x.shape[2] // self.heads
        sizes = [size * self.heads, size * self.kv_heads, size * self.kv_heads]
        parts = self.into(self.attention_norm(x)).split(sizes, dim=2)
        query, key, value = (part.unflatten(2, (-1, size)).transpose(1, 2) for part in parts)
        if rotations is not None:
            query, key = _rotated(query, rotations), _rotated(key, rotations)
        if cache is not None:
            key, value = torch.cat([cache[0], key], dim=2), torch.cat([cache[1], value], dim=2)
        shared = self.heads // self.kv_heads
        keys, values = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
        mixed = F.scaled_dot_product_attention(query, keys, values, is_causal=cache is None)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        hidden = self.widen(self.mlp_norm(x))
        hidden = F.gelu(hidden) if self.gate is None else F.silu(hidden) * self.gate(self.mlp_norm(x))
        return x + self.narrow(hidden), (key, value)


class SequencePrior(nn.Module):
    """forward(tokens) gives the logits of all tokens; `begin` predicts one after the other."""

    def __init__(self, config: SequenceConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.codes, config.width)
        is_taming = config.kind == "taming"
        #: of LlamaGen: one more than there are classes, for none. taming's first token is a token with that number.
        self.labels = None if is_taming else nn.Embedding(config.classes + 1, config.width)
        self.places = nn.Parameter(torch.zeros(config.positions, config.width)) if is_taming else None
        self.blocks = nn.ModuleList(SequenceBlock(config) for _ in range(config.depth))
        self.norm = _norm(config)
        self.head = nn.Linear(config.width, config.codes, bias=False)

    def forward(self, tokens: Sequence[Tensor], level: int = 0, conditions: Conditions = NO_CONDITIONS) -> Tensor:
        """tokens: [(B, h, w) int64] -> logits (B, h, w, K), each predicted from the tokens before it in the order.

        Raises ValueError for another level than 0, a grid that it cannot hold, and for conditions that it cannot take.
        """
        if level or len(tokens) != 1:
            raise ValueError(f"level {level} of {len(tokens)}: this prior is of one level")
        batch, rows, cols = tokens[0].shape
        positions = self._positions(rows, cols)
        sequence = tokens[0].flatten(1)[:, positions]
        first = self.first(conditions, batch)[:, None]
        logits, _ = self.step(torch.cat([first, self.tokens(sequence[:, :-1])], dim=1), 0, None)
        return torch.empty_like(logits).index_copy(1, positions, logits).unflatten(1, (rows, cols))

    def begin(
        self,
        coarser: Sequence[Tensor],
        shape: tuple[int, int],
        *,
        batch: int = 1,
        conditions: Conditions = NO_CONDITIONS,
    ) -> SequencePass:
        """Predict a grid of (rows, cols), one token after the other. Raises ValueError as `forward` does."""
        if coarser:
            raise ValueError("this prior is of one level")
        return SequencePass(self, self._positions(*shape), self.first(conditions, batch))

    def first(self, conditions: Conditions, batch: int) -> Tensor:
        """(B, D), what stands before the first token. Raises ValueError for conditions that it cannot take."""
        labels, device = conditions.labels, self.head.weight.device
        if conditions.grid is not None or (labels is not None and not self.config.classes):
            raise ValueError("this prior takes no grid as condition, and classes only where it knows some")
        if self.labels is None:
            if labels is None and self.config.classes:
                raise ValueError("this prior needs a class")
            first: Tensor = self.tokens(
                torch.zeros(batch, dtype=torch.int64, device=device) if labels is None else labels
            )
            return first
        none = torch.full((batch,), self.config.classes, device=device)
        embedded: Tensor = self.labels(none if labels is None else labels)
        return embedded

    def step(self, x: Tensor, start: int, caches: list[Cache] | None) -> tuple[Tensor, list[Cache]]:
        """Embedded tokens (B, n, D) from place `start` of the sequence -> their logits (B, n, K), and what to keep."""
        count = x.shape[1]
        if self.places is not None:
            x = x + self.places[start : start + count]
        rotations = None if self.places is not None else self._rotations(start, count).to(x)
        kept = []
        for number, block in enumerate(self.blocks):
            x, cache = block(x, rotations, None if caches is None else caches[number])
            kept.append(cache)
        logits: Tensor = self.head(self.norm(x))
        return logits, kept

    def _positions(self, rows: int, cols: int) -> Tensor:
        """(N,) the place in raster order of each token of the sequence."""
        if refusal := self.config.refusal(rows, cols):
            raise ValueError(refusal)
        order = self.config.order or range(rows * cols)
        return torch.tensor(list(order), device=self.head.weight.device)

    def _rotations(self, start: int, count: int) -> Tensor:
        """(n, D / heads / 2, 2): cosine and sine by which pairs of channels turn: half by the row, half by the column.

        Those of the first token are 0, as in LlamaGen.
        """
        side, half = int(self.config.positions**0.5), self.config.width // self.config.heads // 2
        frequencies = 1.0 / self.config.base ** (torch.arange(0, half, 2)[: half // 2].float() / half)
        angles = torch.outer(torch.arange(side).float(), frequencies)
        grid = torch.cat([angles[:, None].expand(-1, side, -1), angles[None].expand(side, -1, -1)], dim=2).flatten(0, 1)
        turns = torch.stack([grid.cos(), grid.sin()], dim=2)
        return torch.cat([torch.zeros_like(turns[:1]), turns])[start : start + count]


class SequencePass:
    """A grid of a batch, token by token. groups: the position (1,) of each, which must be asked for in turn."""

    def __init__(self, prior: SequencePrior, positions: Tensor, first: Tensor) -> None:
        self.prior, self._first = prior, first
        self.groups = list(positions.split(1))
        self._caches: list[Cache] | None = None
        self._next = 0

    def logits(self, known: Tensor) -> Tensor:
        """(B, 1, K) of the next of the groups. known: (B, N) int64 in raster order, right for all groups before."""
        before = self.groups[self._next - 1] if self._next else None
        x = self._first[:, None] if before is None else self.prior.tokens(known[:, before])
        logits, self._caches = self.prior.step(x, self._next, self._caches)
        self._next += 1
        return logits


def _norm(config: SequenceConfig) -> nn.Module:
    return nn.LayerNorm(config.width) if config.kind == "taming" else nn.RMSNorm(config.width, eps=1e-5)


def _rotated(x: Tensor, rotations: Tensor) -> Tensor:
    """(B, heads, n, D / heads), each pair of neighbouring channels turned."""
    left, right = x.unflatten(3, (-1, 2)).unbind(4)
    cosine, sine = rotations.unbind(2)
    return torch.stack([left * cosine - right * sine, right * cosine + left * sine], dim=4).flatten(3)
