"""The shape of a context network: what can be, and its JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vqcodec.cards.model_card import load_model_folder
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.context_config import ContextConfig, check_together, context_config

CONFIG = ContextConfig((8, 6, 4), (16, 8, 8), first=1, channels=5)
TRANSFORMER = PriorConfig((8,), (16,), ("wavefront",))


def test_json_keeps_it() -> None:
    assert ContextConfig.from_dict(json.loads(json.dumps(CONFIG.to_dict()))) == CONFIG
    assert (CONFIG.levels, list(CONFIG.covered)) == (3, [1, 2])
    assert [CONFIG.repeats(coarser, 2) for coarser in (0, 1)] == [2, 1]
    with pytest.raises(ValueError, match="not a context network"):
        ContextConfig.from_dict(CONFIG.to_dict() | {"kind": "taming"})
    with pytest.raises(TypeError, match="depth"):
        ContextConfig.from_dict(CONFIG.to_dict() | {"depth": 2})


def test_of_a_model(hierarchical_model: Path) -> None:
    autoencoder = load_model_folder(hierarchical_model).card.autoencoder
    whole = context_config(autoencoder)
    assert (whole.codebook_sizes, whole.factors, whole.first) == ((16, 8, 8, 8), (8, 8, 4, 4), 0)
    assert context_config(autoencoder, first=2, levels=3, hidden=7) == ContextConfig((16, 8, 8), (8, 8, 4), 2, hidden=7)
    with pytest.raises(ValueError, match="5 levels: the model has 1 to 4"):
        context_config(autoencoder, levels=5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"factors": (16, 8)}, "as many as levels"),
        ({"codebook_sizes": (), "factors": ()}, "one or more"),
        ({"codebook_sizes": (8, 0, 4)}, "are 1 or more"),
        ({"first": 3}, "a first level of 4: there are 3"),
        ({"first": -1}, "a first level of 0"),
        ({"factors": (16, 12, 8)}, "level 2 has 12 pixels a token, one before it 16"),
        ({"factors": (8, 16, 8)}, "level 2 has 16 pixels a token, one before it 8"),
        ({"hidden": 0}, "channels, token_width, hidden and blocks are 1 or more"),
    ],
)
def test_shapes_that_cannot_be(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ContextConfig(**{"codebook_sizes": (8, 6, 4), "factors": (16, 8, 8), "first": 0} | values)


def test_levels_that_are_not_covered_may_be_of_any_shape() -> None:
    assert ContextConfig((8, 6, 4), (16, 32, 8), first=2).covered == range(2, 3)


def test_two_priors_go_together_where_one_goes_on() -> None:
    check_together(TRANSFORMER, CONFIG)
    check_together(TRANSFORMER, None)
    check_together(None, ContextConfig((8,), (16,)))
    for prior, context, message in (
        (None, None, "neither"),
        (None, CONFIG, "from level 2 on: it must be from level 1 on"),
        (TRANSFORMER, ContextConfig((8, 6), (16, 8)), "from level 1 on: it must be from level 2 on"),
        (TRANSFORMER, ContextConfig((9, 6), (16, 8), 1), "levels of other shapes"),
        (TRANSFORMER, ContextConfig((8, 6), (8, 8), 1), "levels of other shapes"),
    ):
        with pytest.raises(ValueError, match=message):
            check_together(prior, context)
