"""8-bit pixels to numbers and back, in the core."""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from collections.abc import Iterator

import numpy as np
import pytest
from native_builds import installed
from native_program import Address, Program

from vqcodec.native.library import Library


@pytest.fixture(scope="module")
def core() -> Library:
    return installed()


@pytest.mark.parametrize(("top", "left", "rows", "cols"), [(0, 0, 5, 7), (0, 0, 8, 8), (2, 3, 2, 2), (4, 6, 4, 2)])
def test_pixels_beyond_the_border_are_reflected_up_to_a_multiple(
    core: Library, top: int, left: int, rows: int, cols: int
) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    program = Program(core)
    grid, _ = program.grid(np.zeros((rows, cols, 3), np.float32), "grid")
    program.call("vq_from_pixels", program.place(picture), 5, 7, 8, top, left, grid)
    program.run(core)
    whole = np.pad(picture, ((0, 3), (0, 1), (0, 0)), "reflect")
    part = whole[top : top + rows, left : left + cols]
    assert (program.outputs["grid"][1] == part.astype(np.float32) / np.float32(127.5) - np.float32(1)).all()


def test_a_picture_that_is_too_small_to_reflect_is_repeated(core: Library) -> None:
    picture = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    program = Program(core)
    grid, _ = program.grid(np.zeros((4, 4, 3), np.float32), "grid")
    program.call("vq_from_pixels", program.place(picture), 1, 2, 4, 0, 0, grid)
    program.run(core)
    expected = np.pad(picture, ((0, 3), (0, 2), (0, 0)), "edge").astype(np.float32) / np.float32(127.5) - np.float32(1)
    assert (program.outputs["grid"][1] == expected).all()


def test_every_pixel_comes_back(core: Library) -> None:
    picture = np.arange(256 * 3, dtype=np.uint8).reshape(16, 16, 3)
    program = Program(core)
    grid, _ = program.grid(np.zeros((16, 16, 3), np.float32))
    back = program.place(np.zeros((16, 16, 3), np.uint8), "back")
    program.call("vq_from_pixels", program.place(picture), 16, 16, 16, 0, 0, grid)
    program.call("vq_to_pixels", grid, 0, 0, 16, 16, back, 16)
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
    program.call("vq_to_pixels", grid, 1, 0, 1, 2, Address(made + 3 * (2 * 5 + 3)), 5)
    program.call("vq_to_pixels", grid, 0, 0, 2, 2, made, 5)
    program.run(core)
    picture = np.full((4, 5, 3), 9, np.uint8)
    picture[2, 3:], picture[:2, :2] = expected[1], expected
    assert (program.outputs["made"][1] == picture).all()


@pytest.fixture
def rounding_up() -> Iterator[None]:
    """The thread's arithmetic, as `fesetround` sets it."""
    upwards = {"x86_64": 0x800, "aarch64": 0x400000}.get(platform.machine())
    mathematics = ctypes.util.find_library("m")
    if upwards is None or mathematics is None:
        pytest.skip("how to set rounding is not known here")
    library = ctypes.CDLL(mathematics)
    assert library.fesetround(upwards) == 0
    yield
    assert library.fesetround(0) == 0


def test_pixels_do_not_depend_on_how_the_process_rounds(core: Library, rounding_up: None) -> None:
    numbers = np.linspace(-1, 1, 48 * 48 * 3, dtype=np.float32).reshape(48, 48, 3)
    program = Program(core)
    grid, _ = program.grid(numbers)
    back = program.place(np.zeros((48, 48, 3), np.uint8), "back")
    program.call("vq_to_pixels", grid, 0, 0, 48, 48, back, 48)
    program.run(core)
    made = program.outputs["back"][1]
    assert np.abs(made - (numbers.astype(np.float64) + 1) * 127.5).max() <= 0.5001
    assert 1.0 + np.float64(2) ** -60 > 1.0  # it does round up here
