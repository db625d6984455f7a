"""Entropy models: how probable each token is, as integer frequencies, and in which order tokens are coded.

This package owns the protocol and the two models that need no network. A learned prior implements `EntropyModel`
elsewhere: it gets the coarser levels and the tokens known so far, and names the groups of tokens that it can
predict in one step. The container and the coder do not change for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from vqcodec.bitstream.frequencies import IntegerArray, check_frequencies, uniform_frequencies
from vqcodec.bitstream.limits import MAX_LEVELS
from vqcodec.bitstream.tokens import TokenGrid

UNIFORM_ID: Final = 0
STATIC_ID: Final = 1
PRIOR_ID: Final = 2  # learned, of the model itself

#: number of an entropy model in the header by its name for people; those that make smaller streams first
ENTROPY_IDS: Final = {"prior": PRIOR_ID, "static": STATIC_ID, "uniform": UNIFORM_ID}

_TABLE_GROUP_TOKENS: Final = 2**18


@dataclass(frozen=True, eq=False)
class CodingContext:
    """What is known while one level is coded.

    ``level`` counts from 0 (coarsest). ``shape`` is (rows, cols). ``coarser`` holds the levels coded before, coarse
    to fine. ``known`` is a read-only (rows, cols) int32 view. For a reader it fills up while the level is coded: the
    token where it is coded, -1 elsewhere. For a writer, ``complete`` says, it holds every token from the start, so that
    a level model can answer for many groups at once; it must answer as if it knew those before each group only.
    """

    level: int
    shape: tuple[int, int]
    codebook_size: int
    coarser: tuple[TokenGrid, ...]
    known: npt.NDArray[np.int32]
    complete: bool = False


class LevelModel(Protocol):
    """An entropy model at work on one level. It may keep state: one is made for each level and direction."""

    def groups(self) -> Iterable[IntegerArray]:
        """The order of coding: arrays (n,) of raster positions row * cols + col, n >= 1.

        The tokens of one group are coded in the order given and without knowledge of each other. All groups together
        hold every position once. A group is asked for only after the tokens of the group before are in ``known``.
        Where ``known`` is complete, an item may be several groups, one after the other.
        """

    def frequencies(self, positions: IntegerArray) -> IntegerArray:
        """The frequencies of the K values for the tokens of one group, as it came from `groups`.

        Integers (n, K), one row a token, each value at least 1 and each row summing to ``2**24``; or (1, K), one row
        for all n tokens, which is the fast path.
        """


class EntropyModel(Protocol):
    """Gives the frequencies that a stream is coded with. Must give the same integers on every machine, for ever."""

    @property
    def entropy_id(self) -> int:
        """The number in the header, 0 to 15."""

    @property
    def name(self) -> str:
        """The name for people, such as ``uniform``."""

    def begin_level(self, context: CodingContext) -> LevelModel:
        """Start on one level. Raises `ValueError` if the model has no such level or another codebook size."""


class CodedTokens(NamedTuple):
    """Of a level that has tokens at some places only. ``mask``: (rows, cols) bool, where they are. ``filler``: the
    token elsewhere, which is known in its turn and takes no bits."""

    mask: npt.NDArray[np.bool_]
    filler: int


class WholeLevels(Protocol):
    """Codes whole levels of one picture, all at once: the same payloads and tokens as group by group, but sooner.

    ``coded``: of the last level of the picture, where it has tokens at some places only.
    """

    def encode(self, levels: Sequence[TokenGrid], first: int, coded: CodedTokens | None = None) -> Sequence[bytes]:
        """The payloads of the levels from ``first`` on."""

    def decode(
        self, payloads: Sequence[bytes], coarser: Sequence[TokenGrid], coded: CodedTokens | None = None
    ) -> Sequence[npt.NDArray[np.integer[Any]]] | None:
        """The tokens (rows, cols) of the levels after ``coarser``; None for payloads that no encoder writes."""


@runtime_checkable
class CodesWholeLevels(Protocol):
    """An entropy model that may code whole levels by itself."""

    def whole_levels(self, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]) -> WholeLevels | None:
        """For all levels of a picture from the coarsest on, or None where it must be asked group by group."""


def whole_levels_of(
    model: EntropyModel, shapes: Sequence[tuple[int, int]], codebook_sizes: Sequence[int]
) -> WholeLevels | None:
    """What codes whole levels for an entropy model, if it can; see `CodesWholeLevels`."""
    return model.whole_levels(shapes, codebook_sizes) if isinstance(model, CodesWholeLevels) else None


def entropy_name(entropy_id: int) -> str:
    """The name in `ENTROPY_IDS`, or "unknown (N)"."""
    names = {number: name for name, number in ENTROPY_IDS.items()}
    return names.get(entropy_id, f"unknown ({entropy_id})")


class _TableLevel:
    """One table of frequencies (K,) for all tokens of a level, in raster order."""

    def __init__(self, frequencies: IntegerArray, token_count: int) -> None:
        self._frequencies = frequencies[np.newaxis, :]
        self._token_count = token_count

    def groups(self) -> Iterator[IntegerArray]:
        """Raster order, in long runs to bound memory; how it is cut does not change the payload."""
        for start in range(0, self._token_count, _TABLE_GROUP_TOKENS):
            yield np.arange(start, min(start + _TABLE_GROUP_TOKENS, self._token_count))

    def frequencies(self, positions: IntegerArray) -> IntegerArray:
        """The table, (1, K), whatever the positions."""
        return self._frequencies


class UniformModel:
    """All K values equally probable: log2 K bits a token (for K no power of two, within 1e-4 bit), no network.

    Examples:
        >>> UniformModel().entropy_id == UNIFORM_ID
        True
    """

    entropy_id: int = UNIFORM_ID
    name: str = entropy_name(UNIFORM_ID)

    def begin_level(self, context: CodingContext) -> LevelModel:
        """Any level, any codebook size."""
        rows, cols = context.shape
        return _TableLevel(uniform_frequencies(context.codebook_size), rows * cols)


class StaticModel:
    """One fixed table of frequencies for each level, such as `quantise_frequencies` makes from counts of tokens.

    ``frequencies_per_level`` has 1 to 16 tables (K,), coarse to fine, each summing to ``2**24``, every value at least
    1; K may differ from level to level. Raises `ValueError` for other tables.

    Examples:
        >>> from vqcodec.bitstream import quantise_frequencies
        >>> StaticModel(quantise_frequencies([[6, 1, 1, 0]])).entropy_id == STATIC_ID
        True
    """

    entropy_id: int = STATIC_ID
    name: str = entropy_name(STATIC_ID)

    def __init__(self, frequencies_per_level: Sequence[npt.ArrayLike] | npt.NDArray[np.int64]) -> None:
        if not 1 <= len(frequencies_per_level) <= MAX_LEVELS:
            raise ValueError(f"1 to {MAX_LEVELS} tables of frequencies, not {len(frequencies_per_level)}")
        tables = []
        for level, values in enumerate(frequencies_per_level):
            table = np.array(values)
            if table.ndim != 1 or table.size == 0:
                raise ValueError(f"the table of level {level} is (K,), not {table.shape}")
            try:
                check_frequencies(table[np.newaxis, :], table.size)
            except ValueError as error:
                raise ValueError(f"the table of level {level}: {error}") from None
            table = table.astype(np.int64)
            table.flags.writeable = False
            tables.append(table)
        self.frequencies_per_level: tuple[npt.NDArray[np.int64], ...] = tuple(tables)

    def begin_level(self, context: CodingContext) -> LevelModel:
        """The table of this level. Raises `ValueError` if there is none or it is for another codebook size."""
        if context.level >= len(self.frequencies_per_level):
            raise ValueError(
                f"the static model has {len(self.frequencies_per_level)} levels; level {context.level} was asked for"
            )
        table = self.frequencies_per_level[context.level]
        if len(table) != context.codebook_size:
            raise ValueError(
                f"the static table of level {context.level} is for {len(table)} values; the codebook has "
                f"{context.codebook_size}"
            )
        rows, cols = context.shape
        return _TableLevel(table, rows * cols)
