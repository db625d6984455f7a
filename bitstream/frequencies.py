"""Integer frequencies: what the range coder is fed. No float decides anything here.

The frequencies of one token's K possible values are integers, each at least 1, that sum to exactly 2**24. 24 bits
is the precision of the range coder, and the largest total whose partial sums are all exact in float32.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from vqcodec.bitstream.limits import MAX_CODEBOOK_SIZE

FREQUENCY_BITS: Final = 24
FREQUENCY_TOTAL: Final = 1 << FREQUENCY_BITS

IntegerArray: TypeAlias = npt.NDArray[np.integer[Any]]


def check_frequencies(frequencies: IntegerArray, codebook_size: int) -> None:
    """Raise `ValueError` unless ``frequencies`` (rows, K) are integers, all >= 1, each row summing to 2**24."""
    if not np.issubdtype(frequencies.dtype, np.integer):
        raise ValueError(f"frequencies are integers, not {frequencies.dtype}")
    if frequencies.ndim != 2 or frequencies.shape[1] != codebook_size or frequencies.shape[0] < 1:
        raise ValueError(f"frequencies are (rows, {codebook_size}); their shape is {frequencies.shape}")
    if int(frequencies.min()) < 1 or int(frequencies.max()) > FREQUENCY_TOTAL:
        raise ValueError(f"every frequency is 1 to {FREQUENCY_TOTAL}")
    totals = frequencies.sum(axis=1, dtype=np.int64)
    if not bool((totals == FREQUENCY_TOTAL).all()):
        raise ValueError(f"the frequencies of a token sum to {FREQUENCY_TOTAL}, not {totals.min()}..{totals.max()}")


@lru_cache(maxsize=32)
def uniform_frequencies(codebook_size: int) -> npt.NDArray[np.int64]:
    """Equal frequencies (K,), read-only: the cumulative frequency of value i is floor(i * 2**24 / K).

    Raises `ValueError` unless K is 1 to ``2**18``.
    """
    if not 1 <= codebook_size <= MAX_CODEBOOK_SIZE:
        raise ValueError(f"a codebook has 1 to {MAX_CODEBOOK_SIZE} code vectors, not {codebook_size}")
    bounds = np.arange(codebook_size + 1, dtype=np.int64) * FREQUENCY_TOTAL // codebook_size
    frequencies: npt.NDArray[np.int64] = np.diff(bounds)
    frequencies.flags.writeable = False
    return frequencies


def quantise_frequencies(counts: npt.ArrayLike, total_bits: int = FREQUENCY_BITS) -> npt.NDArray[np.int64]:
    """Turn counts into integers >= 1 of the same shape whose rows sum to exactly ``2**total_bits``.

    ``counts`` is (K,) or (L, K), integers >= 0 with a row sum of at most ``2**38``; a row of zeros counts as equal
    counts.
    Every value gets 1, the rest is shared out in proportion by the method of the largest remainder; equal remainders
    go to the lower index first. Integer arithmetic only, so the same counts give the same frequencies everywhere.
    Raises `ValueError` for other counts, or if K values do not fit into ``2**total_bits``.

    Examples:
        >>> quantise_frequencies([6, 1, 1, 0], total_bits=4).tolist()
        [10, 3, 2, 1]
    """
    table = np.asarray(counts)
    if table.ndim not in (1, 2) or table.size == 0 or not np.issubdtype(table.dtype, np.integer):
        raise ValueError(f"counts are integers (K,) or (L, K), not {table.dtype} {table.shape}")
    if not 1 <= total_bits <= FREQUENCY_BITS or table.shape[-1] > 1 << total_bits:
        raise ValueError(f"{table.shape[-1]} values, each at least 1, do not fit into a total of 2**{total_bits}")
    if int(table.min()) < 0 or int(table.max()) > 2**38:
        raise ValueError("counts are 0 to 2**38; scale them down by a common shift")
    rows = np.atleast_2d(table).astype(np.int64)
    return np.stack([_quantise_row(row, 1 << total_bits) for row in rows]).reshape(table.shape)


def _quantise_row(counts: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """`quantise_frequencies` for one row (K,)."""
    if not counts.any():
        counts = np.ones_like(counts)
    count_sum = int(counts.sum())
    if count_sum > 2**38:
        raise ValueError("a row of counts sums to more than 2**38; scale it down by a common shift")
    shared = counts * (total - len(counts))  # below 2**62
    frequencies = 1 + shared // count_sum
    left = total - int(frequencies.sum())
    largest_first = np.argsort(-(shared % count_sum), kind="stable")
    frequencies[largest_first[:left]] += 1
    return frequencies
