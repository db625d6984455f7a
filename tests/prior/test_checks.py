"""Arrays of integer priors that are not what their arithmetic needs are refused by name, whatever computes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from integer_helpers import prior_arrays
from safetensors.numpy import load_file

from vqcodec.cards.finding import find_model
from vqcodec.cards.model_card import ENTROPY_FILE
from vqcodec.prior.arithmetic import InexactError
from vqcodec.prior.checks import array_forms, check_arrays
from vqcodec.prior.coding import prior_for_coding
from vqcodec.prior.integer import IntegerPrior

PRIOR, ARRAYS = prior_arrays(("wavefront",) * 3)
CONFIG = PRIOR.config


def changed(name: str, change: Callable[[Any], Any]) -> dict[str, Any]:
    return ARRAYS | {name: change(ARRAYS[name])}


def test_good_ones_pass() -> None:
    check_arrays(CONFIG, ARRAYS)
    assert set(array_forms(CONFIG)) == set(ARRAYS)
    model = find_model(Path(__file__).parents[2] / "released" / "photo-4")
    assert model.card.entropy_prior is not None
    check_arrays(model.card.entropy_prior.prior, load_file(Path(model.path) / ENTROPY_FILE))


@pytest.mark.parametrize("name", sorted(ARRAYS))
def test_every_array_is_needed_in_its_shape_and_finite(name: str) -> None:
    with pytest.raises(InexactError, match=f"^{name}: it is missing"):
        check_arrays(CONFIG, {key: array for key, array in ARRAYS.items() if key != name})
    for change in (lambda array: array[1:], lambda array: array[None], lambda array: array.astype(str)):
        with pytest.raises(InexactError, match=f"^{name}: numbers "):
            check_arrays(CONFIG, changed(name, change))
    with pytest.raises(InexactError, match=f"^{name}: values of "):
        check_arrays(CONFIG, changed(name, lambda array: np.full(array.shape, np.nan)))
    with pytest.raises(InexactError, match=f"^{name}: values of "):
        check_arrays(CONFIG, changed(name, lambda array: np.full(array.shape, 2.0**40)))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("blocks.0.gelu", lambda array: array * 0.5, "whole numbers are needed"),
        ("blocks.0.gelu", lambda array: np.full(array.shape, 128), "values of -127 to 127"),
        ("tokens.1", lambda array: np.full(array.shape, -128, np.int8), "values of -127 to 127"),
        ("relative", lambda array: array / 3, "whole numbers are needed"),
        ("relative", lambda array: array * 0, "a slot that is not seen"),
        ("attention_exponentials", lambda array: array + 1, "those of attention end with 0"),
        ("attention_exponentials", lambda array: array * 2, "values of 0 to 457"),
        ("token_exponentials", lambda array: array * 0, "exponentials begin above 0"),
        ("near.1.scale", lambda array: array * 2**18, "near.1: it can give"),
        ("heads.1.scale", lambda array: array * 2**18, "heads.1: it can give"),
        ("start.2", lambda array: np.full(array.shape, 2**24 - 1), "the state of level 2 can be"),
    ],
)
def test_what_exactness_rests_on(name: str, change: Callable[[Any], Any], message: str) -> None:
    arrays = changed(name, change)
    for make in (IntegerPrior, prior_for_coding):
        with pytest.raises(InexactError, match=message):
            make(CONFIG, arrays)
