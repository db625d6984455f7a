"""What the arrays of an integer prior must be for its arithmetic to be exact, checked when they are loaded. No torch.

One table says of every array its shape and what it holds; then the sums that the arithmetic relies on are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vqcodec.prior.arithmetic import (
    ATTENTION_RANGE,
    EXACT_FLOAT32,
    LARGEST_EXPONENTIAL,
    LIMIT,
    TOKEN_RANGE,
    InexactError,
)
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.places import SPACINGS

#: largest index of the table of GELU: it is of -GELU_LIMIT..GELU_LIMIT
GELU_LIMIT: Final = 511
#: what attention adds where a slot must not look: less than any logit by more than ATTENTION_RANGE
UNSEEN: Final = -EXACT_FLOAT32
#: scales and gains are smaller, so that no product of them with a sum is infinite
LARGEST_SCALE: Final = 1 << 20

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class ArrayForm:
    """shape: of the array. least, most: of its values. is_whole: whether these are whole numbers."""

    shape: tuple[int, ...]
    least: float
    most: float
    is_whole: bool = True


def array_forms(config: PriorConfig) -> dict[str, ArrayForm]:
    """Of every array of a prior, by name."""
    width, vector, heads = config.width, config.token_width, config.heads
    seen = (2 * config.radius + 1) ** 2
    forms = {
        "attention_exponentials": ArrayForm((ATTENTION_RANGE + 1,), 0, LARGEST_EXPONENTIAL),
        "token_exponentials": ArrayForm((TOKEN_RANGE + 1,), 0, EXACT_FLOAT32),
        "relative": ArrayForm((heads, seen + 1), UNSEEN, EXACT_FLOAT32),
        "spacings": ArrayForm((SPACINGS, width), -EXACT_FLOAT32, EXACT_FLOAT32),
        "head_gain": _scales(1),
    }
    for block in range(config.depth):
        name = f"blocks.{block}"
        forms |= {f"{name}.{gain}": _scales(1) for gain in ("attention_gain", "mlp_gain", "value_scale")}
        forms[f"{name}.logit_scale"] = _scales(heads)
        forms[f"{name}.gelu"] = ArrayForm((2 * GELU_LIMIT + 1,), -LIMIT, LIMIT)
    for level, codes in enumerate(config.codebook_sizes):
        forms[f"start.{level}"] = ArrayForm((width,), -EXACT_FLOAT32, EXACT_FLOAT32)
        forms[f"tokens.{level}"] = ArrayForm((codes + 1, vector), -LIMIT, LIMIT)
    for name, outputs, inputs in linear_shapes(config):
        forms |= linear_forms(name, outputs, inputs)
    return forms


def linear_forms(name: str, outputs: int, inputs: int) -> dict[str, ArrayForm]:
    """Of the arrays of a linear map, by name."""
    return {
        f"{name}.weight": ArrayForm((outputs, inputs), -LIMIT, LIMIT),
        f"{name}.scale": _scales(outputs),
        f"{name}.offset": ArrayForm((outputs,), -EXACT_FLOAT32, EXACT_FLOAT32),
    }


def linear_shapes(config: PriorConfig) -> Iterator[tuple[str, int, int]]:
    """Name, outputs and inputs of every linear map."""
    width = config.width
    for block in range(config.depth):
        yield f"blocks.{block}.into", 3 * width, width
        yield f"blocks.{block}.out", width, width
        yield f"blocks.{block}.widen", 4 * width, width
        yield f"blocks.{block}.narrow", width, 4 * width
    for level, codes in enumerate(config.codebook_sizes):
        yield f"heads.{level}", codes, width
        yield f"near.{level}", width, len(config.order(level).offsets) * config.token_width
        for row in range(3 if level else 0):
            yield f"below.{level}.{row}", width, 3 * level * config.token_width


def _scales(count: int) -> ArrayForm:
    return ArrayForm((count,), -LARGEST_SCALE, LARGEST_SCALE, is_whole=False)


def check_arrays(config: PriorConfig, arrays: Arrays) -> None:
    """Raises InexactError, naming the array, unless all are there, of their form, and all sums exact."""
    for name, form in array_forms(config).items():
        check_form(name, form, arrays.get(name))
    attention, tokens, relative = (
        arrays[name] for name in ("attention_exponentials", "token_exponentials", "relative")
    )
    if attention[0] < 1 or attention[-1] or tokens[0] < 1:
        raise InexactError("exponentials begin above 0, and those of attention end with 0")
    if np.any(relative[:, -1] != UNSEEN) or np.any(relative[:, :-1] <= UNSEEN // 2):
        raise InexactError("relative: a slot that is not seen has -2^24, others more than half of it")
    largest = {name: largest_output(arrays, name) for name, _, _ in linear_shapes(config)}
    for name, value in largest.items():
        if value >= EXACT_FLOAT32:
            raise InexactError(f"{name}: it can give {value:.0f}: float32 is exact below 2^24")
    by_blocks = sum(largest[f"blocks.{b}.{part}"] for b in range(config.depth) for part in ("out", "narrow"))
    for level in range(config.levels):
        start = np.abs(arrays[f"start.{level}"].astype(np.float64)).max()
        start += np.abs(arrays["spacings"].astype(np.float64)).max() + largest[f"near.{level}"]
        start += sum(largest[f"below.{level}.{row}"] for row in range(3 if level else 0))
        if start + by_blocks >= EXACT_FLOAT32:
            raise InexactError(f"the state of level {level} can be {start + by_blocks:.0f}: it must stay below 2^24")


def check_form(name: str, form: ArrayForm, array: NDArray[Any] | None) -> None:
    """Raises InexactError, naming the array, unless it is there and of its form."""
    if array is None:
        raise InexactError(f"{name}: it is missing")
    if array.shape != form.shape or array.dtype.kind not in "if":
        raise InexactError(f"{name}: numbers {form.shape} are needed, not {array.dtype} {array.shape}")
    if not np.isfinite(array).all() or array.min() < form.least or array.max() > form.most:
        raise InexactError(f"{name}: values of {form.least:g} to {form.most:g} are needed")
    if form.is_whole and array.dtype.kind == "f" and np.any(array != np.rint(array)):
        raise InexactError(f"{name}: whole numbers are needed")


def largest_output(arrays: Arrays, name: str) -> float:
    """The largest number that a linear map of whole numbers of -LIMIT..LIMIT gives; infinite if its sums are inexact.

    Each of the products of a map that is applied in parts is rounded by itself: one more for each input is enough.
    """
    weight = arrays[f"{name}.weight"]
    sums = np.abs(weight.astype(np.int32)).sum(axis=1) * LIMIT
    if sums.max(initial=0) >= EXACT_FLOAT32:
        return np.inf
    scale, offset = (np.abs(arrays[f"{name}.{part}"].astype(np.float64)) for part in ("scale", "offset"))
    return float((sums * scale + offset).max()) + weight.shape[1] + 1
