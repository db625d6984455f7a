"""The four groups of a level: every token once, told only what is coded before it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.prior.context_groups import CONTEXT_GROUPS, group_of, pieces_of_groups

SIDES = st.integers(1, 9)


@given(SIDES, SIDES, st.integers(1, 30))
def test_every_token_comes_once_in_pieces_of_one_group(rows: int, cols: int, tokens: int) -> None:
    pieces = list(pieces_of_groups((rows, cols), tokens))
    assert sorted(np.concatenate([positions for _, positions in pieces]).tolist()) == list(range(rows * cols))
    numbers = [number for number, _ in pieces]
    assert numbers == sorted(numbers)
    for number, positions in pieces:
        assert 1 <= len(positions) <= tokens
        assert positions.tolist() == sorted(positions.tolist())
        assert {group_of(int(position), cols) for position in positions} == {number}


@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (5, 1), (4, 7)])
def test_a_group_is_as_large_as_it_says(shape: tuple[int, int]) -> None:
    counts = np.zeros(4, int)
    for number, positions in pieces_of_groups(shape, 3):
        counts[number] += len(positions)
    assert counts.tolist() == [int(np.prod(group.size(shape))) for group in CONTEXT_GROUPS]


def test_what_a_token_is_told_is_coded_before_it() -> None:
    cols, told = 10, [0, 4, 4, 8]
    for number, group in enumerate(CONTEXT_GROUPS):
        assert len(set(group.offsets)) == told[number]
        for down, right in group.offsets:
            assert max(abs(down), abs(right)) == 1
            assert group_of((4 + group.row + down) * cols + 4 + group.col + right, cols) < number


def test_the_last_group_is_told_all_that_the_others_leave() -> None:
    """Of eight neighbours, those that are coded before a token are all told, in each group."""
    for number, group in enumerate(CONTEXT_GROUPS):
        around = {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)} - {(0, 0)}
        before = {o for o in around if group_of((4 + group.row + o[0]) * 10 + 4 + group.col + o[1], 10) < number}
        assert set(group.offsets) <= before
    assert len(CONTEXT_GROUPS[3].offsets) == 8
