"""How vectors lie for matrix units: as few of their 16 dimensions as hold all parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqcodec.kernels.layout import Layout


@pytest.mark.parametrize(
    ("dimension", "expected", "multiplications"),
    [
        (1, Layout(16, 1, True), (16, 16)),
        (4, Layout(16, 1, True), (16, 16)),
        (5, Layout(32, 1, True), (32, 32)),
        (9, Layout(32, 1, True), (32, 32)),
        (10, Layout(16, 1, False), (48, 32)),
        (17, Layout(32, 1, False), (96, 64)),
        (65, Layout(64, 2, False), (384, 256)),
    ],
)
def test_layouts(dimension: int, expected: Layout, multiplications: tuple[int, int]) -> None:
    layout = Layout.of(dimension)
    assert layout == expected
    assert (layout.multiplications(split=True), layout.multiplications(split=False)) == multiplications


@given(st.integers(1, 2000))
def test_everything_has_a_place(dimension: int) -> None:
    layout = Layout.of(dimension)
    needed = 3 * dimension + 4 if layout.packed else dimension
    assert layout.width - layout.slice_width < needed <= layout.width
    assert layout.slice_width & (layout.slice_width - 1) == 0
