"""Arrays of context networks that are not what their arithmetic needs are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from context_helpers import context_models

from vqcodec.prior.arithmetic import InexactError
from vqcodec.prior.context import ContextModel
from vqcodec.prior.context_checks import check_context_arrays, context_forms
from vqcodec.training.stage2.context_export import context_arrays

NETWORK, _ = context_models()
CONFIG, ARRAYS = NETWORK.config, context_arrays(NETWORK)


def test_good_ones_pass() -> None:
    check_context_arrays(CONFIG, ARRAYS)
    assert set(context_forms(CONFIG)) == set(ARRAYS)


@pytest.mark.parametrize("name", sorted(name for name in ARRAYS if name[:10] != "context.1."))
def test_every_array_is_needed_in_its_shape_and_finite(name: str) -> None:
    with pytest.raises(InexactError, match=f"^{name}: it is missing"):
        check_context_arrays(CONFIG, {key: array for key, array in ARRAYS.items() if key != name})
    for change in (lambda array: array[1:], lambda array: array[None], lambda array: array.astype(str)):
        with pytest.raises(InexactError, match=f"^{name}: numbers "):
            check_context_arrays(CONFIG, ARRAYS | {name: change(ARRAYS[name])})
    for value in (np.nan, 2.0**40):
        with pytest.raises(InexactError, match=f"^{name}: values of "):
            check_context_arrays(CONFIG, ARRAYS | {name: np.full(ARRAYS[name].shape, value)})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("context.1.below.0", lambda array: array * 0.3, "whole numbers are needed"),
        ("context.0.start", lambda array: np.full(array.shape, 128), "values of -127 to 127"),
        ("context.2.tokens", lambda array: np.full(array.shape, -128, np.int8), "values of -127 to 127"),
        ("context.2.codes.offset", lambda array: array + 0.5, "whole numbers are needed"),
        ("token_exponentials", lambda array: array * 0, "exponentials begin above 0"),
        ("context.1.codes.scale", lambda array: array * 2**18, "context.1.codes: it can give"),
        ("context.2.blocks.1.point.scale", lambda array: array * 0 + 2**19, "context.2.blocks.1.point: it can give"),
    ],
)
def test_what_exactness_rests_on(name: str, change: Callable[[Any], Any], message: str) -> None:
    with pytest.raises(InexactError, match=message):
        ContextModel(CONFIG, ARRAYS | {name: change(ARRAYS[name])})


def test_sums_that_could_be_rounded_are_refused() -> None:
    """As they could be with many channels: here 9 x 120 of the largest products."""
    network, _ = context_models(channels=120)
    arrays = context_arrays(network)
    name = "context.2.blocks.0.around.weight"
    full = {name: np.full(arrays[name].shape, 127, np.int8)}
    with pytest.raises(InexactError, match=r"context.2.blocks.0.around: it can give inf"):
        ContextModel(network.config, arrays | full)
    ContextModel(network.config, arrays | {name: full[name] * np.int8(0)})
