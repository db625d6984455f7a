"""Orders of coding: what holds of all of them, what each of them is, and small grids written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from vqcodec.prior.orders import ORDERS, OrderedGrid, TokenOrder

NAMES = ["raster", "wavefront", "quincunx", "subsampled", "z-curve", "spiral", "spiral-out", "alternate"]
ONE_AT_A_TIME = [name for name in NAMES if name not in ("wavefront", "quincunx")]

side = st.integers(1, 20)
every_order = pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
few = settings(max_examples=20, deadline=None)


def by_position(grid: OrderedGrid, values: NDArray[np.int64]) -> NDArray[np.int64]:
    """(rows, cols) of values that are listed in the order."""
    return values[grid.places()].reshape(grid.shape)


def group_of(grid: OrderedGrid) -> NDArray[np.int64]:
    """(rows, cols): the group of each position."""
    return by_position(grid, grid.ranks())


def path_of(grid: OrderedGrid) -> list[tuple[int, int]]:
    """(row, column) of each position in order."""
    return [divmod(position, grid.shape[1]) for position in grid.positions.tolist()]


def test_names() -> None:
    assert list(ORDERS) == NAMES
    assert all(order.name == name for name, order in ORDERS.items())


# ---- what holds of every order ----


@every_order
@few
@given(rows=side, cols=side)
@example(1, 1)
@example(20, 20)
def test_positions_are_a_permutation_in_groups(order: TokenOrder, rows: int, cols: int) -> None:
    grid = order(rows, cols)
    count = rows * cols
    assert grid.shape == (rows, cols)
    assert sorted(grid.positions.tolist()) == list(range(count))
    assert np.array_equal(grid.positions[grid.places()], np.arange(count))
    assert np.array_equal(grid.places()[grid.positions], np.arange(count))
    groups = grid.groups()
    assert len(groups) == len(grid)
    assert all(len(group) for group in groups)
    assert np.array_equal(np.concatenate(groups), grid.positions)
    ranks = grid.ranks()
    assert [ranks[start] for start in grid.starts[:-1]] == list(range(len(grid)))
    for number, group in enumerate(groups):
        assert set(ranks[grid.places()[group]].tolist()) == {number}
        assert group.tolist() == sorted(group)  # in raster order within a group
    for array in (grid.positions, grid.starts, grid.spacing, grid.places(), ranks):
        assert array.dtype == np.int64


@every_order
@few
@given(rows=side, cols=side)
@example(9, 17)
def test_neighbours_are_all_that_is_known_where_the_offsets_point(order: TokenOrder, rows: int, cols: int) -> None:
    grid = order(rows, cols)
    group, spacing = group_of(grid), by_position(grid, grid.spacing)
    found = grid.neighbours(order.offsets)
    assert found.shape == (rows * cols, len(order.offsets))
    for place, (row, col) in enumerate(path_of(grid)):
        expected = []
        for down, right in order.offsets:
            other_row, other_col = row + down * spacing[row, col], col + right * spacing[row, col]
            is_inside = 0 <= other_row < rows and 0 <= other_col < cols
            is_known = is_inside and group[other_row, other_col] < group[row, col]
            expected.append(other_row * cols + other_col if is_known else -1)
        assert found[place].tolist() == expected


@every_order
@few
@given(rows=side, cols=side)
def test_spacings_are_powers_of_two(order: TokenOrder, rows: int, cols: int) -> None:
    spacing = order(rows, cols).spacing
    assert spacing.min() >= 1
    assert not (spacing & (spacing - 1)).any()


@every_order
def test_a_prediction_never_looks_at_itself_or_twice_at_another(order: TokenOrder) -> None:
    assert (0, 0) not in order.offsets
    assert len(set(order.offsets)) == len(order.offsets)


@every_order
@few
@given(rows=side, cols=side)
def test_all_but_the_first_group_have_a_known_neighbour(order: TokenOrder, rows: int, cols: int) -> None:
    grid = order(rows, cols)
    known = (grid.neighbours(order.offsets) >= 0).any(axis=1)
    assert not known[: grid.starts[1]].any()
    assert known[grid.starts[1] :].all()


@every_order
@pytest.mark.parametrize(("rows", "cols"), [(0, 3), (3, 0), (-1, 3), (3, -1), (0, 0)])
def test_a_grid_without_positions_is_refused(order: TokenOrder, rows: int, cols: int) -> None:
    with pytest.raises(ValueError, match=rf"a grid of {rows} x {cols} has no positions to order"):
        order(rows, cols)


@every_order
def test_an_order_cannot_be_changed(order: TokenOrder) -> None:
    grid = order(3, 4)
    assert order(3, 4) is grid  # made once, so nobody may write to it
    for array in (grid.positions, grid.starts, grid.spacing):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


# ---- what each order is ----


@pytest.mark.parametrize("name", ONE_AT_A_TIME)
@few
@given(rows=side, cols=side)
def test_groups_of_one(name: str, rows: int, cols: int) -> None:
    assert np.array_equal(ORDERS[name](rows, cols).starts, np.arange(rows * cols + 1))


@few
@given(rows=side, cols=side)
def test_raster(rows: int, cols: int) -> None:
    assert np.array_equal(ORDERS["raster"](rows, cols).positions, np.arange(rows * cols))


@few
@given(rows=side, cols=side)
def test_alternate_reverses_every_second_row(rows: int, cols: int) -> None:
    lines = ORDERS["alternate"](rows, cols).positions.reshape(rows, cols)
    raster = np.arange(rows * cols).reshape(rows, cols)
    assert np.array_equal(lines[::2], raster[::2])
    assert np.array_equal(lines[1::2], raster[1::2, ::-1])


@few
@given(rows=side, cols=side)
def test_z_curve_sorts_by_interleaved_bits(rows: int, cols: int) -> None:
    def interleaved(row: int, col: int) -> int:
        return int("".join(f"{high}{low}" for high, low in zip(f"{row:05b}", f"{col:05b}", strict=True)), 2)

    keys = [interleaved(row, col) for row, col in path_of(ORDERS["z-curve"](rows, cols))]
    assert keys == sorted(keys)
    assert len(set(keys)) == rows * cols


@few
@given(rows=side, cols=side)
def test_spiral_goes_inwards_step_by_step(rows: int, cols: int) -> None:
    path = path_of(ORDERS["spiral"](rows, cols))
    assert path[0] == (0, 0)
    assert path[:cols] == [(0, col) for col in range(cols)]
    steps = np.abs(np.diff(path, axis=0)).sum(axis=1) if len(path) > 1 else np.ones(1)
    assert set(steps.tolist()) == {1}
    depths = [min(row, col, rows - 1 - row, cols - 1 - col) for row, col in path]
    assert depths == sorted(depths)


@few
@given(rows=side, cols=side)
def test_spiral_out_is_the_spiral_backwards(rows: int, cols: int) -> None:
    assert np.array_equal(ORDERS["spiral-out"](rows, cols).positions, ORDERS["spiral"](rows, cols).positions[::-1])


@few
@given(rows=side, cols=side)
@example(7, 1)
@example(1, 7)
def test_wavefront(rows: int, cols: int) -> None:
    order = ORDERS["wavefront"]
    grid = order(rows, cols)
    steepness = 2 * np.arange(rows)[:, None] + np.arange(cols)
    assert len(grid) == (2 * rows + cols - 2 if cols > 1 else rows)
    assert np.array_equal(np.unique(steepness)[group_of(grid)], steepness)
    neighbours = grid.neighbours(((-1, 1), (-1, 0), (0, -1), (-1, -1)))
    for place, (row, col) in enumerate(path_of(grid)):
        expected = [row and col < cols - 1, row, col, row and col]  # upper right, above, left, upper left
        assert [bool(is_there) for is_there in expected] == (neighbours[place] >= 0).tolist()
    assert set(order.offsets) >= {(-1, 1), (-1, 0), (0, -1), (-1, -1)}
    assert all(2 * down + right < 0 for down, right in order.offsets)


def nearest_known(grid: OrderedGrid) -> NDArray[np.float64]:
    """(N,) squared distance from each position, in order, to the nearest one of an earlier group; infinite if none."""
    path, ranks = np.array(path_of(grid)), grid.ranks()
    squares = ((path[:, None] - path[None]) ** 2).sum(axis=2)
    squared: NDArray[np.float64] = np.where(ranks[None] < ranks[:, None], squares, np.inf).min(axis=1)
    return squared


@few
@given(rows=side, cols=side)
@example(16, 16)
def test_quincunx_halves_the_area_around_a_known_token(rows: int, cols: int) -> None:
    grid = ORDERS["quincunx"](rows, cols)
    assert len(grid) <= 7
    squared = nearest_known(grid)
    by_group = [set(squared[start:end].tolist()) for start, end in zip(grid.starts, grid.starts[1:], strict=False)]
    distances = [distance for [distance] in map(list, by_group)]  # all tokens of a group have the same
    assert distances[0] == np.inf
    assert set(distances[1:]) <= {32, 16, 8, 4, 2, 1}
    assert distances == sorted(set(distances), reverse=True)
    if min(rows, cols) > 4:
        assert distances[1:] == [32, 16, 8, 4, 2, 1]
    later = slice(grid.starts[1], None)
    reached = np.where(np.log2(squared[later]) % 2 == 0, squared[later], squared[later] / 2)
    assert np.array_equal(grid.spacing[later] ** 2, reached)
    first = grid.positions[: grid.starts[1]]
    assert not (first // cols % 8).any()
    assert not (first % cols % 8).any()


@few
@given(rows=side, cols=side)
def test_subsampled_takes_the_quincunx_groups_one_token_at_a_time(rows: int, cols: int) -> None:
    single, grouped = ORDERS["subsampled"](rows, cols), ORDERS["quincunx"](rows, cols)
    assert np.array_equal(single.positions, grouped.positions)
    assert np.array_equal(single.spacing, grouped.spacing)


# ---- written out ----

FOUR_BY_FOUR = {
    "raster": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    "alternate": [0, 1, 2, 3, 7, 6, 5, 4, 8, 9, 10, 11, 15, 14, 13, 12],
    "z-curve": [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15],
    "spiral": [0, 1, 2, 3, 7, 11, 15, 14, 13, 12, 8, 4, 5, 6, 10, 9],
    "spiral-out": [9, 10, 6, 5, 4, 8, 12, 13, 14, 15, 11, 7, 3, 2, 1, 0],
    "wavefront": [0, 1, 2, 4, 3, 5, 6, 8, 7, 9, 10, 12, 11, 13, 14, 15],
    "quincunx": [0, 10, 2, 8, 5, 7, 13, 15, 1, 3, 4, 6, 9, 11, 12, 14],
    "subsampled": [0, 10, 2, 8, 5, 7, 13, 15, 1, 3, 4, 6, 9, 11, 12, 14],
}
FIVE_BY_THREE = {
    "raster": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    "alternate": [0, 1, 2, 5, 4, 3, 6, 7, 8, 11, 10, 9, 12, 13, 14],
    "z-curve": [0, 1, 3, 4, 2, 5, 6, 7, 9, 10, 8, 11, 12, 13, 14],
    "spiral": [0, 1, 2, 5, 8, 11, 14, 13, 12, 9, 6, 3, 4, 7, 10],
    "spiral-out": [10, 7, 4, 3, 6, 9, 12, 13, 14, 11, 8, 5, 2, 1, 0],
    "wavefront": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14],
    "quincunx": [0, 12, 8, 2, 6, 14, 4, 10, 1, 3, 5, 7, 9, 11, 13],
    "subsampled": [0, 12, 8, 2, 6, 14, 4, 10, 1, 3, 5, 7, 9, 11, 13],
}


@pytest.mark.parametrize("name", NAMES)
def test_small_grids(name: str) -> None:
    assert ORDERS[name](4, 4).positions.tolist() == FOUR_BY_FOUR[name]
    assert ORDERS[name](5, 3).positions.tolist() == FIVE_BY_THREE[name]


def test_groups_of_small_grids() -> None:
    assert group_of(ORDERS["wavefront"](4, 4)).tolist() == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]
    quincunx = ORDERS["quincunx"](4, 4)
    assert group_of(quincunx).tolist() == [[0, 4, 2, 4], [4, 3, 4, 3], [2, 4, 1, 4], [4, 3, 4, 3]]
    assert by_position(quincunx, quincunx.spacing).tolist() == [[8, 1, 2, 1], [1] * 4, [2, 1, 2, 1], [1] * 4]
    taller = ORDERS["quincunx"](5, 3)
    assert group_of(taller).tolist() == [[0, 5, 3], [5, 4, 5], [3, 5, 2], [5, 4, 5], [1, 5, 3]]
    assert [group.tolist() for group in taller.groups()][:4] == [[0], [12], [8], [2, 6, 14]]


def test_neighbours_of_small_grids() -> None:
    raster = ORDERS["raster"](3, 3).neighbours(((-1, 0), (0, -1), (-1, 1), (1, 0)))
    assert raster.tolist() == [
        [-1, -1, -1, -1],
        [-1, 0, -1, -1],
        [-1, 1, -1, -1],
        [0, -1, 1, -1],
        [1, 3, 2, -1],
        [2, 4, -1, -1],
        [3, -1, 4, -1],
        [4, 6, 5, -1],
        [5, 7, -1, -1],
    ]
    quincunx = ORDERS["quincunx"](4, 4)
    found = quincunx.neighbours(((-1, -1), (0, -1), (0, 1), (1, 1)))[quincunx.places()]
    assert found[0].tolist() == [-1, -1, -1, -1]
    assert found[10].tolist() == [0, -1, -1, -1]  # in steps of two
    assert found[8].tolist() == [-1, -1, 10, -1]
    assert found[5].tolist() == [0, -1, -1, 10]
    assert found[6].tolist() == [-1, 5, 7, -1]  # 1 and 11 are of its own group
