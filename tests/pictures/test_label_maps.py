"""Label maps made from pictures: where the edges lie, which colours win, and drawing a map and reading it back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.pictures.label_maps import COLOURS, EDGES, LABEL_MAPS

edges, colours = LABEL_MAPS[EDGES], LABEL_MAPS[COLOURS]
few_examples = settings(max_examples=25, deadline=None)
every_map = pytest.mark.parametrize("name", LABEL_MAPS)


def step(left: int, right: int, middle: int | None = None) -> np.ndarray:
    """20 x 24 pixels: two gray levels that meet before column 10, or in it where it has a level of its own."""
    picture = np.full((20, 24, 3), left, np.uint8)
    picture[:, 10:] = right
    if middle is not None:
        picture[:, 10] = middle
    return picture


# ---- any picture ----


@every_map
@few_examples
@given(picture=arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_a_picture_of_any_size_has_a_map_as_large(name: str, picture: np.ndarray) -> None:
    label_map = LABEL_MAPS[name]
    labels = label_map.of(picture)
    assert (labels.shape, labels.dtype) == (picture.shape[:2], np.uint8)
    assert int(labels.max()) < label_map.classes


@every_map
def test_the_maps_of_several_pictures_are_those_of_each(name: str) -> None:
    pictures = np.stack([synthetic_picture(30, 20, seed=seed) for seed in range(3)])
    maps = LABEL_MAPS[name].of_each(pictures)
    assert maps.shape == (3, 20, 30)
    for labels, picture in zip(maps, pictures, strict=True):
        assert np.array_equal(labels, LABEL_MAPS[name].of(picture))


@every_map
@few_examples
@given(data=st.data())
def test_a_drawn_map_is_read_back(name: str, data: st.DataObject) -> None:
    label_map = LABEL_MAPS[name]
    shape = st.tuples(st.integers(1, 6), st.integers(1, 6))
    labels = data.draw(arrays.arrays(np.uint8, shape, elements=st.integers(0, label_map.classes - 1)))
    drawn = label_map.render(labels)
    assert (drawn.shape, drawn.dtype) == ((*labels.shape, 3), np.uint8)
    assert np.array_equal(label_map.drawn(drawn), labels)


@every_map
def test_a_map_drawn_by_hand_need_not_have_the_very_colours(name: str) -> None:
    label_map = LABEL_MAPS[name]
    labels = np.arange(label_map.classes, dtype=np.uint8)[None]
    close = label_map.render(labels).astype(int) + np.array([3, -3, 3])
    assert np.array_equal(label_map.drawn(close.clip(0, 255).astype(np.uint8)), labels)


@every_map
def test_the_colours_of_a_palette_differ(name: str) -> None:
    palette = LABEL_MAPS[name].palette
    assert palette.dtype == np.uint8
    assert len(np.unique(palette, axis=0)) == LABEL_MAPS[name].classes == len(palette)


def test_label_maps_load_no_torch() -> None:
    program = "import sys\nimport vqcodec.pictures.label_maps\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


# ---- edges ----


@pytest.mark.parametrize(("left", "right"), [(0, 255), (255, 0), (50, 90), (90, 50), (200, 160)])
def test_a_step_gives_one_line_three_pixels_wide(left: int, right: int) -> None:
    """The two columns beside the step and one more."""
    labels = edges.of(step(left, right))
    assert (labels == labels[0]).all()
    columns = np.flatnonzero(labels[0]).tolist()
    assert len(columns) == 3
    assert {9, 10} < set(columns) <= {8, 9, 10, 11}


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize(("left", "right"), [(0, 255), (90, 50)])
def test_a_line_turns_with_the_picture(left: int, right: int, turns: int) -> None:
    picture = step(left, right, (left + right) // 2)
    labels = edges.of(np.rot90(picture, turns).copy())
    wanted = np.zeros((20, 24), np.uint8)
    wanted[:, 9:12] = 1
    assert np.array_equal(labels, np.rot90(wanted, turns))


def test_a_slanting_step_gives_an_unbroken_line() -> None:
    rows, cols = np.mgrid[:40, :40]
    for inside in (rows > cols, rows + cols > 40, 2 * rows > cols + 9):
        labels = edges.of(np.repeat(np.where(inside, 210, 40).astype(np.uint8)[..., None], 3, axis=2))
        away = np.abs(np.gradient(inside.astype(float))).sum(axis=0) > 0  # the pixels beside the step
        assert labels[away][4:-4].mean() > 0.95
        assert 0.05 < labels.mean() < 0.2


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_flat_picture_has_no_edges(level: int) -> None:
    assert not edges.of(np.full((9, 8, 3), level, np.uint8)).any()


def test_what_hardly_differs_is_no_edge() -> None:
    assert not edges.of(step(100, 112)).any()
    grain = np.random.default_rng(3).integers(120, 126, (30, 30, 3), dtype=np.uint8)
    assert not edges.of(grain).any()


# ---- colours ----


@pytest.mark.parametrize("number", range(16))
def test_a_colour_of_the_palette_is_itself(number: int) -> None:
    labels = colours.of(np.broadcast_to(colours.palette[number], (9, 7, 3)).copy())
    assert (labels == number).all()


def test_the_nearest_colour_wins() -> None:
    picture = synthetic_picture(30, 20, seed=2)
    distances = np.square(picture[:, :, None].astype(int) - colours.palette.astype(int)).sum(axis=3)
    assert np.array_equal(colours.drawn(picture), distances.argmin(axis=2))


def test_spots_are_lost_in_their_area_and_areas_stay() -> None:
    picture = np.empty((32, 48, 3), np.uint8)
    picture[:, :24], picture[:, 24:] = colours.palette[1], colours.palette[11]
    picture[10, 8] = picture[20, 40] = 255
    labels = colours.of(picture)
    assert (labels[:, :18] == 1).all()
    assert (labels[:, 30:] == 11).all()
