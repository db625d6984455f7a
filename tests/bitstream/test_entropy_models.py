"""Static models, and what is none."""

from __future__ import annotations

import numpy as np
import pytest

from vqcodec.bitstream import CodingContext, StaticModel


@pytest.mark.parametrize("tables", [[], [[2**24 - 1]], [[0, 2**24]], [[[2**24]]], [[2.0**24]], [[]]])
def test_static_model_refuses(tables: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="table"):
        StaticModel(tables)


def test_static_model_refuses_a_level_it_was_not_made_for() -> None:
    model = StaticModel([[2**23, 2**23]])
    known = np.full((1, 1), -1, dtype=np.int32)
    with pytest.raises(ValueError, match="has 1 levels; level 1 was asked for"):
        model.begin_level(CodingContext(1, (1, 1), 2, (), known))
    with pytest.raises(ValueError, match="codebook has 3"):
        model.begin_level(CodingContext(0, (1, 1), 3, (), known))
