"""What the arrays of a context network must be for its arithmetic to be exact, checked at loading. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vqcodec.prior.arithmetic import EXACT_FLOAT32, LIMIT, TOKEN_RANGE, InexactError
from vqcodec.prior.checks import ArrayForm, Arrays, check_form, largest_output, linear_forms
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_groups import CONTEXT_GROUPS

#: the names of all its arrays begin so, but for the exponentials, which it shares with other priors
CONTEXT_PREFIX: Final = "context."


def context_name(level: int) -> str:
    """What the names of the arrays of a level, counted from 0, begin with."""
    return f"{CONTEXT_PREFIX}{level}."


def context_forms(config: ContextConfig) -> dict[str, ArrayForm]:
    """Of every array of a context network, by name."""
    channels = config.channels
    forms = {"token_exponentials": ArrayForm((TOKEN_RANGE + 1,), 0, EXACT_FLOAT32)}
    for level in config.covered:
        name, sizes = context_name(level), config.codebook_sizes
        if not level:
            forms[f"{name}start"] = ArrayForm((channels,), -LIMIT, LIMIT)
        for coarser in range(level):
            forms[f"{name}below.{coarser}"] = ArrayForm((sizes[coarser], channels), -LIMIT, LIMIT)
        forms[f"{name}tokens"] = ArrayForm((sizes[level] + 1, config.token_width), -LIMIT, LIMIT)
    for name, outputs, inputs in context_linear_shapes(config):
        forms |= linear_forms(name, outputs, inputs)
    return forms


def context_linear_shapes(config: ContextConfig) -> Iterator[tuple[str, int, int]]:
    """Name, outputs and inputs of every linear map."""
    channels = config.channels
    for level in config.covered:
        name = context_name(level)
        for block in range(config.blocks):
            yield f"{name}blocks.{block}.around", channels, 9 * channels
            yield f"{name}blocks.{block}.point", channels, channels
        for number, group in enumerate(CONTEXT_GROUPS[1:], start=1):
            yield f"{name}near.{number}", channels, len(group.offsets) * config.token_width
        yield f"{name}inner", config.hidden, channels
        yield f"{name}codes", config.codebook_sizes[level], config.hidden


def check_context_arrays(config: ContextConfig, arrays: Arrays) -> None:
    """Raises InexactError, naming the array, unless all are there, of their form, and all sums exact."""
    for name, form in context_forms(config).items():
        check_form(name, form, arrays.get(name))
    if arrays["token_exponentials"][0] < 1:
        raise InexactError("exponentials begin above 0")
    for name, _, _ in context_linear_shapes(config):
        value = largest_output(arrays, name)
        if value >= EXACT_FLOAT32 - LIMIT:  # what it gives is added to numbers up to LIMIT
            raise InexactError(f"{name}: it can give {value:.0f}: float32 is exact below 2^24")
