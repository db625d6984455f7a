"""Grids of a condition at the places of a level."""

from __future__ import annotations

import pytest
import torch

from vqcodec.prior.conditions import fitted


def test_a_coarser_grid_is_repeated() -> None:
    embedded = torch.arange(6.0).view(1, 2, 3, 1)
    made = fitted(embedded, 16, 8, (3, 5))
    assert made.tolist() == [[[[0, 0, 1, 1, 2], [0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]]]


def test_a_finer_grid_is_averaged_at_the_border_over_what_there_is() -> None:
    embedded = torch.tensor([[1.0, 3.0, 10.0], [5.0, 7.0, 20.0], [2.0, 4.0, 50.0]]).view(1, 3, 3, 1)
    assert fitted(embedded, 8, 16, (2, 2)).tolist() == [[[[4, 15], [3, 50]]]]


def test_one_of_the_same_factor_is_cut() -> None:
    embedded = torch.arange(12.0).view(1, 3, 2, 2)
    assert torch.equal(fitted(embedded, 8, 8, (2, 2)), embedded[:, :2].permute(0, 3, 1, 2))


def test_one_that_does_not_cover_the_level() -> None:
    with pytest.raises(ValueError, match=r"a grid of \(2, 2\) does not cover one of \(2, 5\)"):
        fitted(torch.zeros(1, 2, 2, 3), 16, 8, (2, 5))
