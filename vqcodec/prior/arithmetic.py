"""Arithmetic that gives the same integers on every machine, in numpy. Imports no torch.

Arrays of float32 hold whole numbers here. What makes that exact, whatever the machine, its number of threads and its
linear algebra:

- Matrix products are of whole numbers whose every partial sum is below 2^24: exact in float32, in any order, with or
  without fused multiplication and addition. `IntegerLinear` checks the bound for its weights.
- Other sums are of whole numbers, below 2^24 in float32 or 2^53 in float64: exact in any order.
- Everything else is one IEEE 754 operation an element: +, -, x, /, square root, rounding to the nearest even. These are
  correctly rounded everywhere, and numpy's ufuncs do one at a time.
- What would need exp or the like are tables, which are stored with the model and not computed.

Eight bits for weights and activations, as in Jacob et al., 2018 (§2), but with products rescaled in floating point.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Float64: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]

#: activations and weights are whole numbers from -127 to 127
LIMIT: Final = 127
#: every sum of a float32 product stays below it
EXACT_FLOAT32: Final = 1 << 24
#: what is larger counts as this in the sum of squares of a normalisation, which is exact for it
LARGEST_STATE: Final = 1 << 20
#: fractional bits of logits, which are in units of log2
LOGIT_BITS: Final = 8
#: a logit so far below the largest one has probability 0 in attention, and the least one among tokens
ATTENTION_RANGE, TOKEN_RANGE = 12 << LOGIT_BITS, 24 << LOGIT_BITS
#: a product of at most FEW_ROWS is computed COLUMNS at a time, whose weights lie together: it is faster so
FEW_ROWS: Final = 64
COLUMNS: Final = 64
#: slots that attention may look at: those within 8 rows and columns
MOST_SEEN: Final = 17**2
#: of attention: sums of so many values times exponentials are exact up to it
LARGEST_EXPONENTIAL: Final = (EXACT_FLOAT32 - 1) // (MOST_SEEN * LIMIT)
#: the exponential of the largest logit of attention: exact in bfloat16 as well, in which some libraries multiply
ATTENTION_ONE: Final = 256


class InexactError(ValueError):
    """Weights or shapes whose sums could be rounded."""


@dataclass(frozen=True, eq=False)
class IntegerLinear:
    """x (n, in) of -127..127 -> rint(x @ weight * scale + offset), (n, out).

    weight: (in, out), whole numbers. scale, offset: (out,). All float32. Raises InexactError where x @ weight could be
    2^24 or more.
    """

    weight: Float32
    scale: Float32
    offset: Float32

    def __post_init__(self) -> None:
        largest = int(np.abs(self.weight.astype(np.float64)).sum(axis=0).max(initial=0)) * LIMIT
        if largest >= EXACT_FLOAT32:
            raise InexactError(f"a sum of products can be {largest}: float32 is exact below 2^24")

    def __call__(self, x: Float32) -> Float32:
        if len(x) > FEW_ROWS or self.weight.shape[1] % COLUMNS:
            return rescaled(x @ self.weight, self.scale, self.offset)
        sums = np.empty((len(x), self.weight.shape[1]), np.float32)
        np.matmul(x, self._parts, out=sums.reshape(len(x), -1, COLUMNS).transpose(1, 0, 2))
        return rescaled(sums, self.scale, self.offset)

    @cached_property
    def _parts(self) -> Float32:
        """The weight, (out / COLUMNS, in, COLUMNS)."""
        inside, outside = self.weight.shape
        return np.ascontiguousarray(self.weight.reshape(inside, outside // COLUMNS, COLUMNS).transpose(1, 0, 2))


def rescaled(sums: Float32, scale: Float32, offset: Float32) -> Float32:
    """rint(sums * scale + offset), in the memory of `sums`."""
    sums *= scale
    sums += offset
    return np.rint(sums, out=sums)


def looked_up(table: Float32, x: Float32, first: int) -> Float32:
    """What a table of first, first + 1, ... holds for whole numbers x below 2^31; beyond its ends, what is there."""
    found: Float32 = table.take((x - np.float32(first)).astype(np.intp), mode="clip")
    return found


def clipped(x: Float32, limit: int = LIMIT) -> Float32:
    """x within -limit..limit, in its own memory."""
    return x.clip(np.float32(-limit), np.float32(limit), out=x)


def normalised(x: Float32, gain: Float32) -> Float32:
    """Root-mean-square normalisation of (n, D) whole numbers: rint(x * (gain / rms(x))) within -127..127."""
    states = x.clip(np.float32(-LARGEST_STATE), np.float32(LARGEST_STATE)).astype(np.float64)
    mean = (states[:, None] @ states[:, :, None])[:, 0] / x.shape[1]  # of sums of whole numbers below 2^53
    rms = np.sqrt(np.maximum(mean, 1.0, out=mean), out=mean)  # 1 at least: nothing is divided by zero
    scaled: Float32 = x * (gain / rms).astype(np.float32)
    return clipped(np.rint(scaled, out=scaled))


def attended(logits: Float32, values: Float32, exponentials: Float32, scale: Float32) -> Float32:
    """Softmax of logits (..., n, m), in units of log2 / 2^8, over m; then the mean of values (..., m, d) by it.

    -> (..., n, d), rint(mean * scale) within -127..127. exponentials: (ATTENTION_RANGE + 1,), of 0, 1, 2, ... below the
    largest logit, what is between rounded up; the last is 0. Changes `logits`.
    """
    np.subtract(logits.max(axis=-1, keepdims=True), logits, out=logits)
    powers: Float32 = exponentials.take(logits.astype(np.intp), mode="clip")
    mixed: Float32 = powers @ values
    mixed *= scale / (powers @ np.ones((powers.shape[-1], 1), np.float32))  # their sum, faster so
    return clipped(np.rint(mixed, out=mixed))


def token_frequencies(logits: Float32, exponentials: Float64, total: int) -> Integers:
    """Softmax over the last axis of logits (n, K) in units of log2 / 2^8: integers of 1 or more that sum to `total`.

    exponentials: (TOKEN_RANGE + 1,), of 0, 1, 2, ... below the largest logit. What rounding down leaves goes to the
    most probable token, the first of equal ones.
    """
    each, first = np.arange(len(logits)), logits.argmax(axis=1)
    below = logits[each, first][:, None] - logits
    powers = exponentials.take(below.astype(np.intp), mode="clip")
    powers *= (total - logits.shape[1]) / (powers @ np.ones((powers.shape[1], 1)))  # their sum, faster so
    frequencies: Integers = powers.astype(np.int64)  # rounds down
    frequencies += 1
    frequencies[each, first] += total - frequencies.sum(axis=1)
    return frequencies
