"""The prior as an entropy model: the transformer of `vqcodec.prior.transformer` in whole numbers, the same on every
machine.

This is the text that says what comes out; `vqcodec.prior.coding` has the core in C do the same where it can.

Imports no torch. What makes it exact is in `vqcodec.prior.arithmetic`; how it is made of a trained prior, in
`vqcodec.training.stage2.integer_export`. Slots and caches are in the order of coding, known tokens in raster order.

Shapes: n tokens of one group, m slots that they look at, N = rows cols, D width, d = D / heads, K codes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from vqcodec.bitstream.entropy_models import PRIOR_ID, CodingContext, entropy_name
from vqcodec.bitstream.frequencies import FREQUENCY_TOTAL, IntegerArray
from vqcodec.prior.arithmetic import (
    EXACT_FLOAT32,
    LIMIT,
    MOST_SEEN,
    Float32,
    InexactError,
    IntegerLinear,
    attended,
    clipped,
    looked_up,
    normalised,
    token_frequencies,
)
from vqcodec.prior.checks import GELU_LIMIT, check_arrays
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.places import places

#: tokens in one pass where all are known
TOKENS_AT_ONCE: Final = 192
#: slots whose attention is computed at once
SLOTS_AT_ONCE: Final = 32
#: numbers in a line of a processor's cache
CACHE_LINE: Final = 16
#: fractional bits of what flows from block to block
RESIDUAL_BITS: Final = 10


@dataclass(frozen=True, eq=False)
class IntegerBlock:
    """One block. Gains are of the two normalisations, gelu is a table of -GELU_LIMIT..GELU_LIMIT."""

    attention_gain: Float32
    into: IntegerLinear
    logit_scale: Float32
    value_scale: Float32
    out: IntegerLinear
    mlp_gain: Float32
    widen: IntegerLinear
    gelu: Float32
    narrow: IntegerLinear


class IntegerPrior:
    """An `EntropyModel`. arrays: as `vqcodec.training.stage2.integer_export` makes them. Raises
    InexactError for others."""

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, config: PriorConfig, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.config = config
        if (2 * config.radius + 1) ** 2 > MOST_SEEN or config.width // config.heads > EXACT_FLOAT32 // (LIMIT + 1) ** 2:
            raise InexactError(
                f"radius {config.radius}, {config.width // config.heads} channels a head: too many to add up"
            )
        check_arrays(config, arrays)
        self.attention_exponentials = arrays["attention_exponentials"].astype(np.float32)
        self.token_exponentials = arrays["token_exponentials"].astype(np.float64)
        self.relative = arrays["relative"].astype(np.float32)
        self.spacings = arrays["spacings"].astype(np.float32)
        self.blocks = [_block(arrays, f"blocks.{number}.") for number in range(config.depth)]
        self.head_gain = arrays["head_gain"].astype(np.float32)
        self.heads = [_linear(arrays, f"heads.{level}.") for level in range(config.levels)]
        self.near = [_near(arrays, level, config) for level in range(config.levels)]
        self.start = [arrays[f"start.{level}"].astype(np.float32) for level in range(config.levels)]
        self.below = [_below(arrays, level) for level in range(config.levels)]
        self.tokens = [arrays[f"tokens.{level}"].astype(np.float32) for level in range(config.levels)]

    def begin_level(self, context: CodingContext) -> IntegerLevel:
        """Start on one level. Raises `ValueError` for one that this prior does not have."""
        check_level(self.config, context)
        return IntegerLevel(self, context)


def check_level(config: PriorConfig, context: CodingContext) -> None:
    """Raise `ValueError` for a level that a prior does not have."""
    level = context.level
    if level >= config.levels:
        raise ValueError(f"the prior has {config.levels} levels; level {level} was asked for")
    if config.codebook_sizes[level] != context.codebook_size:
        raise ValueError(
            f"the prior knows {config.codebook_sizes[level]} tokens of level {level}; the codebook has "
            f"{context.codebook_size}"
        )


@dataclass(frozen=True, eq=False)
class _Look:
    """Some slots, the m slots that they look at, and what is added to their logits, (heads, n, m)."""

    queries: slice
    keys: slice | NDArray[np.int64]
    bias: Float32


class IntegerLevel:
    """A `LevelModel`: one level at work."""

    def __init__(self, prior: IntegerPrior, context: CodingContext) -> None:
        self._prior, self._level = prior, context.level
        self._known = context.known.reshape(-1)
        self._places = places(prior.config.order(context.level), *context.shape, prior.config.radius)
        self._context = self._before_the_first_token(context)
        self._is_complete = context.complete
        self._bias = prior.relative.take(self._places.seen, axis=1)
        depth, (count, width) = prior.config.depth, self._context.shape
        lines = -(-count // CACHE_LINE) | 1  # odd, or few rows of keys would fit into a cache together
        self._keys = np.zeros((depth, width, lines * CACHE_LINE), np.float32)  # slots last: products are faster so
        self._values = np.zeros((depth, count, width), np.float32)
        self._done = 0

    def groups(self) -> Iterator[IntegerArray]:
        """Those of the order; several at once where all tokens are known, as fewer and larger products are faster."""
        groups = self._places.grid.groups()
        with _ONE_THREAD:  # more only wait for each other in products so small
            yield from joined(groups, TOKENS_AT_ONCE) if self._is_complete else groups

    def frequencies(self, positions: IntegerArray) -> IntegerArray:
        """(n, K), of the next group or groups."""
        prior = self._prior
        own = slice(self._done, self._done + len(positions))
        self._done = own.stop
        looks = [self._look(piece) for piece in pieces(own)]
        x = self._context[own] + self._around(own)
        for number, block in enumerate(prior.blocks):
            x += self._attended(number, block, x, own, looks)
            hidden = block.widen(normalised(x, block.mlp_gain))
            x += block.narrow(looked_up(block.gelu, hidden, -GELU_LIMIT))
        logits = prior.heads[self._level](normalised(x, prior.head_gain))
        return token_frequencies(logits, prior.token_exponentials, FREQUENCY_TOTAL)

    def _look(self, queries: slice) -> _Look:
        """What some slots look at, and which of it each."""
        keys = self._places.looked_at(queries)
        return _Look(queries, keys, self._bias.take(self._places.differences(queries, keys), axis=1, mode="clip"))

    def _attended(self, number: int, block: IntegerBlock, x: Float32, group: slice, looks: list[_Look]) -> Float32:
        """What attention adds to x (n, D)."""
        exponentials, width = self._prior.attention_exponentials, x.shape[1]
        projected = clipped(block.into(normalised(x, block.attention_gain)))
        keys, values = self._keys[number], self._values[number]
        keys[:, group], values[group] = projected[:, width : 2 * width].T, projected[:, 2 * width :]
        query, mixed = self._by_head(projected[:, :width]), np.empty_like(x)
        for look in looks:
            part = slice(look.queries.start - group.start, look.queries.stop - group.start)
            logits: Float32 = query[:, part] @ keys[:, look.keys].reshape(len(query), query.shape[2], -1)
            logits *= block.logit_scale
            logits += look.bias
            seen = self._by_head(values[look.keys])
            self._by_head(mixed[part])[:] = attended(logits, seen, exponentials, block.value_scale)
        return block.out(mixed)

    def _by_head(self, x: Float32) -> Float32:
        """(n, D) -> (heads, n, d), of the same memory."""
        heads: Float32 = x.reshape(len(x), self._prior.config.heads, -1).transpose(1, 0, 2)
        return heads

    def _around(self, group: slice) -> Float32:
        """(n, D) of the tokens around each slot."""
        neighbours = self._places.neighbours[group]
        unknown = self._prior.config.codebook_sizes[self._level]
        around = np.where(neighbours < 0, unknown, self._known[neighbours])
        near = self._prior.near[self._level]
        around += np.arange(0, len(near), unknown + 1)
        summed: Float32 = near.take(around, axis=0).sum(axis=1)
        return summed

    def _before_the_first_token(self, context: CodingContext) -> Float32:
        """(N, D): level, spacing and coarser levels at each slot."""
        prior, places = self._prior, self._places
        x = prior.start[self._level] + prior.spacings[places.spacing]
        below = prior.below[self._level]
        if below is not None:
            tables = zip(prior.tokens, context.coarser, strict=False)
            stacked = np.concatenate([table[grid.indices] for table, grid in tables], axis=2)
            x += _convolved(below, stacked)[places.grid.positions]
        return x


def pieces(slots: slice) -> list[slice]:
    """Cut into parts of at most SLOTS_AT_ONCE."""
    starts = range(slots.start, slots.stop, SLOTS_AT_ONCE)
    return [slice(start, min(start + SLOTS_AT_ONCE, slots.stop)) for start in starts]


class _OneThread:
    """Keeps linear algebra to one thread while anyone is within: what it was before is for the last one out to restore,
    as levels are coded in several threads, and the limit is one of the process.

    A thread of its own sets and restores the limit, as threadpoolctl listens to the one that set it alone. It ends with
    the process.
    """

    def __init__(self) -> None:
        self._lock, self._within = Lock(), 0
        self._changes: SimpleQueue[Event] = SimpleQueue()
        self._owner: Thread | None = None

    def __enter__(self) -> None:
        with self._lock:
            if self._owner is None:
                self._owner = Thread(target=self._own, daemon=True, name="vqcodec-blas")
                self._owner.start()
            if not self._within:
                self._change()
            self._within += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._within -= 1
            if not self._within:
                self._change()

    def _change(self) -> None:
        """Set the limit, or restore what was before: by turns."""
        done = Event()
        self._changes.put(done)
        done.wait()

    def _own(self) -> None:
        while True:
            done = self._changes.get()
            with ThreadpoolController().limit(limits=1, user_api="blas"):
                done.set()
                done = self._changes.get()
            done.set()


_ONE_THREAD: Final = _OneThread()


def joined(groups: Sequence[IntegerArray], tokens: int) -> Iterator[IntegerArray]:
    """The groups, one after the other, in as few pieces of whole groups as hold no more than `tokens`, or one group."""
    piece: list[IntegerArray] = []
    for group in groups:
        if piece and sum(map(len, piece)) + len(group) > tokens:
            yield np.concatenate(piece)
            piece = []
        piece.append(group)
    yield np.concatenate(piece)


def _convolved(linear: list[IntegerLinear], grids: Float32) -> Float32:
    """A 3 x 3 convolution, zeros around, of (rows, cols, e) as a sum of products -> (N, D).

    linear: of each row of the kernel, (3 e, D), so that sums stay small.
    """
    rows, cols, _ = grids.shape
    padded = np.pad(grids, ((1, 1), (1, 1), (0, 0)))
    wide = np.concatenate([padded[:, col : col + cols] for col in range(3)], axis=2)
    made = np.zeros((rows * cols, len(linear[0].scale)), np.float32)
    for row, part in enumerate(linear):
        made += part(wide[row : row + rows].reshape(rows * cols, -1))
    return made


def _linear(arrays: Mapping[str, NDArray[Any]], prefix: str) -> IntegerLinear:
    weight = np.ascontiguousarray(arrays[prefix + "weight"].T.astype(np.float32))
    return IntegerLinear(
        weight, arrays[prefix + "scale"].astype(np.float32), arrays[prefix + "offset"].astype(np.float32)
    )


def _block(arrays: Mapping[str, NDArray[Any]], prefix: str) -> IntegerBlock:
    return IntegerBlock(
        attention_gain=arrays[prefix + "attention_gain"].astype(np.float32),
        into=_linear(arrays, prefix + "into."),
        logit_scale=arrays[prefix + "logit_scale"].astype(np.float32)[:, None, None],
        value_scale=arrays[prefix + "value_scale"].astype(np.float32),
        out=_linear(arrays, prefix + "out."),
        mlp_gain=arrays[prefix + "mlp_gain"].astype(np.float32),
        widen=_linear(arrays, prefix + "widen."),
        gelu=arrays[prefix + "gelu"].astype(np.float32),
        narrow=_linear(arrays, prefix + "narrow."),
    )


def _near(arrays: Mapping[str, NDArray[Any]], level: int, config: PriorConfig) -> Float32:
    """(offsets (K + 1), D): what each token adds to a slot from each of the places around it."""
    whole, tokens = _linear(arrays, f"near.{level}."), arrays[f"tokens.{level}"].astype(np.float32)
    parts = np.split(whole.weight, len(config.order(level).offsets))
    offsets = [whole.offset, *[np.zeros_like(whole.offset)] * (len(parts) - 1)]
    added = [IntegerLinear(part, whole.scale, each)(tokens) for part, each in zip(parts, offsets, strict=True)]
    return np.concatenate(added)


def _below(arrays: Mapping[str, NDArray[Any]], level: int) -> list[IntegerLinear] | None:
    return [_linear(arrays, f"below.{level}.{row}.") for row in range(3)] if level else None
