"""What a stream carries: grids of tokens, coarse to fine. Immutable, compared by value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vqcodec.bitstream.limits import MAX_CODEBOOK_SIZE, MAX_LEVELS

TokenArray: TypeAlias = npt.NDArray[np.integer[Any]]


def token_dtype(codebook_size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """The smallest unsigned dtype that holds every token of a codebook of ``codebook_size`` code vectors."""
    return np.dtype(np.uint8 if codebook_size <= 2**8 else np.uint16 if codebook_size <= 2**16 else np.uint32)


@dataclass(frozen=True, eq=False)
class TokenGrid:
    """The tokens of one level.

    ``indices`` is (rows, cols), at least 1 x 1, every value in [0, codebook_size). Any integer array is taken; it is
    copied into a read-only array of the smallest unsigned dtype. ``codebook_size`` is 1 to ``2**18``.
    Raises `ValueError` for anything else.

    Examples:
        >>> grid = TokenGrid([[3, 1, 2], [0, 3, 3]], codebook_size=4)
        >>> grid.shape, str(grid.indices.dtype)
        ((2, 3), 'uint8')
    """

    indices: TokenArray
    codebook_size: int

    def __post_init__(self) -> None:
        indices = np.asarray(self.indices)
        size = self.codebook_size
        if not 1 <= size <= MAX_CODEBOOK_SIZE:
            raise ValueError(f"a codebook has 1 to {MAX_CODEBOOK_SIZE} code vectors, not {size}")
        if not np.issubdtype(indices.dtype, np.integer):
            raise ValueError(f"tokens are integers, not {indices.dtype}")
        if indices.ndim != 2 or indices.size == 0:
            raise ValueError(f"a token grid is (rows, cols) and not empty; its shape is {indices.shape}")
        if int(indices.min()) < 0 or int(indices.max()) >= size:
            raise ValueError(f"tokens range over {indices.min()}..{indices.max()}, outside 0..{size - 1}")
        frozen = np.array(indices, dtype=token_dtype(size), order="C", copy=True)
        frozen.flags.writeable = False
        object.__setattr__(self, "indices", frozen)
        object.__setattr__(self, "codebook_size", int(size))

    @property
    def rows(self) -> int:
        """Number of rows, at least 1."""
        return int(self.indices.shape[0])

    @property
    def cols(self) -> int:
        """Number of columns, at least 1."""
        return int(self.indices.shape[1])

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols) of the grid."""
        return self.rows, self.cols

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenGrid):
            return NotImplemented
        return self.codebook_size == other.codebook_size and np.array_equal(self.indices, other.indices)

    def __hash__(self) -> int:
        return hash((self.codebook_size, self.shape, self.indices.tobytes()))


@dataclass(frozen=True)
class TokenPyramid:
    """All tokens of a picture: 1 to 16 `TokenGrid`, coarse to fine. Raises `ValueError` for another number.

    The first n levels alone are the same picture at a lower rate.

    Examples:
        >>> pyramid = TokenPyramid((TokenGrid([[1]], 4), TokenGrid([[0, 2], [3, 1]], 4)))
        >>> len(pyramid), pyramid.token_count, len(pyramid.truncated(1))
        (2, 5, 1)
    """

    levels: tuple[TokenGrid, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", tuple(self.levels))
        if not 1 <= len(self.levels) <= MAX_LEVELS:
            raise ValueError(f"a pyramid has 1 to {MAX_LEVELS} levels, not {len(self.levels)}")

    def __len__(self) -> int:
        return len(self.levels)

    @property
    def token_count(self) -> int:
        """Number of tokens of all levels together."""
        return sum(grid.rows * grid.cols for grid in self.levels)

    def truncated(self, levels: int) -> TokenPyramid:
        """The first ``levels`` levels, 1 to len(self). Raises `ValueError` for another number."""
        if not 1 <= levels <= len(self.levels):
            raise ValueError(f"the pyramid has {len(self.levels)} levels; {levels} were asked for")
        return TokenPyramid(self.levels[:levels])
