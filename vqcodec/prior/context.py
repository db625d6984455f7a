"""The context network as an entropy model: what `vqcodec.prior.context_network` computes, in numpy. Imports no torch.

It is fast where a level has many tokens: what a position is told of the coarser levels is computed for all of them at
once, and the tokens of a level in four groups, so that all products are of large matrices. The same on every machine,
see `vqcodec.prior.arithmetic`; docs/format.md, 5.6, is the text.

Shapes: rows cols of the level, n tokens of one group, C channels, K codes, T width of a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.bitstream.entropy_models import PRIOR_ID, CodingContext, entropy_name
from vqcodec.bitstream.frequencies import FREQUENCY_TOTAL, IntegerArray
from vqcodec.prior.arithmetic import LIMIT, Float32, IntegerLinear, clipped, rescaled, token_frequencies
from vqcodec.prior.context_checks import check_context_arrays, context_name
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_groups import CONTEXT_GROUPS, group_of, pieces_of_groups

#: positions whose convolution is computed at once, in whole rows
POSITIONS_AT_ONCE: Final = 4096
#: frequencies that are computed at once: more do not stay in a processor's caches
FREQUENCIES_AT_ONCE: Final = 1 << 18

Whole: TypeAlias = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class _Block:
    """around: of the rows of the kernel, each (3 C, C), with one scale and offset for their sum."""

    around: tuple[Float32, Float32, Float32]
    scale: Float32
    offset: Float32
    point: IntegerLinear


@dataclass(frozen=True, eq=False)
class _LevelNetwork:
    """below: of each coarser level, (K, C). start: (C,), where there is none. tokens: (K + 1, T). near: of groups."""

    start: Float32 | None
    below: list[Float32]
    repeats: list[int]
    blocks: list[_Block]
    tokens: Float32
    near: list[IntegerLinear]
    inner: IntegerLinear
    codes: IntegerLinear


class ContextModel:
    """An `EntropyModel` for the levels that its configuration covers.

    arrays: as `vqcodec.training.stage2.context_export` makes them. Raises InexactError for others.
    """

    entropy_id: int = PRIOR_ID
    name: str = entropy_name(PRIOR_ID)

    def __init__(self, config: ContextConfig, arrays: Mapping[str, NDArray[Any]]) -> None:
        check_context_arrays(config, arrays)
        self.config = config
        self.token_exponentials = arrays["token_exponentials"].astype(np.float64)
        self.networks = {level: _network(config, arrays, level) for level in config.covered}

    def begin_level(self, context: CodingContext) -> ContextLevel:
        """Start on one level. Raises `ValueError` for one that is not covered, has another codebook, or whose coarser
        grids do not cover it."""
        check_context_level(self.config, context)
        return ContextLevel(self.networks[context.level], self.token_exponentials, context)


def check_context_level(config: ContextConfig, context: CodingContext) -> None:
    """Raises ValueError for a level that a network does not cover, has another codebook, or whose coarser grids do not
    cover it."""
    level, sizes = context.level, config.codebook_sizes
    if level not in config.covered:
        covered = config.covered
        raise ValueError(
            f"the context network has the levels {covered.start} to {covered.stop - 1}; level {level} was asked for"
        )
    if sizes[level] != context.codebook_size:
        raise ValueError(
            f"the context network knows {sizes[level]} tokens of level {level}; the codebook has "
            f"{context.codebook_size}"
        )
    rows, cols = context.shape
    for coarser, grid in enumerate(context.coarser):
        repeats = config.repeats(coarser, level)
        if grid.shape[0] * repeats < rows or grid.shape[1] * repeats < cols:
            raise ValueError(f"a grid of {grid.shape} does not cover one of {(rows, cols)}")


class ContextLevel:
    """A `LevelModel`: one level at work."""

    def __init__(self, network: _LevelNetwork, token_exponentials: NDArray[np.float64], context: CodingContext) -> None:
        self._network, self._exponentials = network, token_exponentials
        self._known, self._codes = context.known, context.codebook_size
        x = _below(network, context)
        for block in network.blocks:
            x = _through(block, x)
        self._context = x.reshape(-1, x.shape[2])

    def groups(self) -> Iterator[IntegerArray]:
        """The four groups, in pieces."""
        tokens = max(1, FREQUENCIES_AT_ONCE // self._codes)
        for _, positions in pieces_of_groups(self._known.shape, tokens):
            yield positions

    def frequencies(self, positions: IntegerArray) -> IntegerArray:
        """(n, K), of positions of one group."""
        network, number = self._network, group_of(int(positions[0]), self._known.shape[1])
        hidden = self._context[positions].astype(np.float32)
        if number:
            hidden = clipped(hidden + network.near[number - 1](self._told(positions, CONTEXT_GROUPS[number].offsets)))
        logits = network.codes(_positive(network.inner(hidden)))
        return token_frequencies(logits, self._exponentials, FREQUENCY_TOTAL)

    def _told(self, positions: IntegerArray, offsets: tuple[tuple[int, int], ...]) -> Float32:
        """(n, offsets T): the vectors of the tokens around."""
        rows, cols = self._known.shape
        row, col = np.divmod(positions[:, None], cols)
        row, col = row + np.array([down for down, _ in offsets]), col + np.array([right for _, right in offsets])
        outside = (row < 0) | (row >= rows) | (col < 0) | (col >= cols)
        tokens = self._known[row.clip(0, rows - 1), col.clip(0, cols - 1)]
        vectors: Float32 = self._network.tokens[np.where(outside, self._codes, tokens)]
        return vectors.reshape(len(positions), -1)


def _below(network: _LevelNetwork, context: CodingContext) -> Whole:
    """(rows, cols, C): the sum of the vectors of the coarser tokens at each position, or `start`."""
    rows, cols = context.shape
    if network.start is not None:
        return np.broadcast_to(network.start.astype(np.int8), (rows, cols, len(network.start)))
    made = np.empty((rows, cols, network.below[0].shape[1]), np.int8)
    for band in _bands(rows, cols):
        row, col = np.arange(band.start, band.stop)[:, None], np.arange(cols)
        parts = zip(network.below, context.coarser, network.repeats, strict=True)
        summed = sum(table[grid.indices[row // repeats, col // repeats]] for table, grid, repeats in parts)
        made[band] = clipped(np.asarray(summed))
    return made


def _through(block: _Block, x: Whole) -> Whole:
    """(rows, cols, C) -> the same of a block, zeros around the grid."""
    rows, cols, channels = x.shape
    made = np.empty(x.shape, np.int8)
    for band in _bands(rows, cols):
        top, bottom = band.start, band.stop
        inside = x[max(0, top - 1) : bottom + 1]
        padded = np.pad(inside, ((int(top == 0), int(bottom == rows)), (1, 1), (0, 0))).astype(np.float32)
        wide = np.concatenate([padded[:, col : col + cols] for col in range(3)], axis=2)
        sums = np.zeros(((bottom - top) * cols, channels), np.float32)
        for row, weight in enumerate(block.around):
            sums += wide[row : row + bottom - top].reshape(len(sums), -1) @ weight
        added = block.point(_positive(rescaled(sums, block.scale, block.offset)))
        made[band] = clipped(added.reshape(-1, cols, channels) + x[band])
    return made


def _bands(rows: int, cols: int) -> Iterator[slice]:
    """Whole rows that are computed at once."""
    height = max(1, POSITIONS_AT_ONCE // cols)
    for top in range(0, rows, height):
        yield slice(top, min(top + height, rows))


def _positive(x: Float32) -> Float32:
    """x within 0..127, in its own memory."""
    return x.clip(np.float32(0), np.float32(LIMIT), out=x)


def _network(config: ContextConfig, arrays: Mapping[str, NDArray[Any]], level: int) -> _LevelNetwork:
    name = context_name(level)
    return _LevelNetwork(
        start=None if level else _single(arrays, f"{name}start"),
        below=[_single(arrays, f"{name}below.{coarser}") for coarser in range(level)],
        repeats=[config.repeats(coarser, level) for coarser in range(level)],
        blocks=[_block(arrays, f"{name}blocks.{number}.") for number in range(config.blocks)],
        tokens=_single(arrays, f"{name}tokens"),
        near=[_linear(arrays, f"{name}near.{number}.") for number in range(1, len(CONTEXT_GROUPS))],
        inner=_linear(arrays, f"{name}inner."),
        codes=_linear(arrays, f"{name}codes."),
    )


def _block(arrays: Mapping[str, NDArray[Any]], prefix: str) -> _Block:
    top, middle, bottom = np.split(np.ascontiguousarray(_single(arrays, f"{prefix}around.weight").T), 3)
    return _Block(
        around=(top, middle, bottom),
        scale=_single(arrays, f"{prefix}around.scale"),
        offset=_single(arrays, f"{prefix}around.offset"),
        point=_linear(arrays, f"{prefix}point."),
    )


def _linear(arrays: Mapping[str, NDArray[Any]], prefix: str) -> IntegerLinear:
    weight = np.ascontiguousarray(_single(arrays, f"{prefix}weight").T)
    return IntegerLinear(weight, _single(arrays, f"{prefix}scale"), _single(arrays, f"{prefix}offset"))


def _single(arrays: Mapping[str, NDArray[Any]], name: str) -> Float32:
    return arrays[name].astype(np.float32)
