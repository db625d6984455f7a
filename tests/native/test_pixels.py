"""8-bit pixels to numbers and back, in the core."""

from __future__ import annotations

import numpy as np
import pytest
from native_builds import installed
from native_program import Program

from vqcodec.native.library import Library


@pytest.fixture(scope="module")
def core() -> Library:
    return installed()


@pytest.mark.parametrize(("top", "left", "rows", "cols"), [(0, 0, 5, 7), (-3, -4, 12, 14), (2, 3, 2, 2), (4, 6, 3, 3)])
def test_pixels_beyond_the_border_are_the_nearest_ones(
    core: Library, top: int, left: int, rows: int, cols: int
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    program = Program(core)
    grid, _ = program.grid(np.zeros((rows, cols, 3), np.float32), "grid")
    program.call("vq_from_pixels", program.place(picture), 5, 7, top, left, grid)
    program.run(core)
    near = picture[np.arange(top, top + rows).clip(0, 4)][:, np.arange(left, left + cols).clip(0, 6)]
    assert (program.outputs["grid"][1] == near.astype(np.float32) / np.float32(127.5) - np.float32(1)).all()


def test_every_pixel_comes_back(core: Library) -> None:
    picture = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    program = Program(core)
    grid, _ = program.grid(np.zeros((16, 16, 3), np.float32))
    back = program.place(np.zeros((16, 16, 3), np.uint8), "back")
    program.call("vq_from_pixels", program.place(picture), 16, 16, 0, 0, grid)
    program.call("vq_to_pixels", grid, 0, 0, 16, 16, back, 16, 0, 0)
    program.run(core)
    assert (program.outputs["back"][1] == picture).all()


def test_numbers_are_rounded_and_limited_and_written_where_they_belong(core: Library) -> None:
    numbers = np.array([0, 1 / 255, -0.9, -7, 0.99, 3, 1e30, -1e30, np.inf, -np.inf, np.nan, -1], np.float32)
    scaled = np.nan_to_num((numbers + np.float32(1)) * np.float32(127.5), nan=127.5)
    expected = np.rint(scaled.clip(0, 255)).astype(np.uint8).reshape(2, 2, 3)  # halves to the even one
    assert expected[0, 0, 0] == expected[1, 1, 1] == 128
    program = Program(core)
    grid, _ = program.grid(numbers.reshape(2, 2, 3))
    made = program.place(np.full((4, 5, 3), 9, np.uint8), "made")
    program.call("vq_to_pixels", grid, 1, 0, 1, 2, made, 5, 2, 3)
    program.call("vq_to_pixels", grid, 0, 0, 2, 2, made, 5, 0, 0)
    program.run(core)
    picture = np.full((4, 5, 3), 9, np.uint8)
    picture[2, 3:], picture[:2, :2] = expected[1], expected
    assert (program.outputs["made"][1] == picture).all()
