"""Random windows lie inside of the pictures, each in one of its own, and are cut where they say."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.training.stage1.windows import cut_windows, random_windows


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=50, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(1, 12), st.integers(1, 12)),
    count=st.integers(1, 7),
    side=st.integers(1, 15),
    seed=st.integers(0, 99),
)
def test_windows_lie_in_pictures_of_their_own(
    shape: tuple[int, int, int, int], count: int, side: int, seed: int
) -> None:
    batch, channels, height, width = shape
    windows = random_windows(torch.Size(shape), count, side, seeded(seed))
    expected_side = min(side, height, width)
    assert len(windows) == len({picture for picture, *_ in windows}) == min(count, batch)
    for picture, rows, cols in windows:
        assert 0 <= picture < batch
        assert 0 <= rows.start <= rows.stop <= height
        assert 0 <= cols.start <= cols.stop <= width
        assert rows.stop - rows.start == cols.stop - cols.start == expected_side
    images = torch.arange(batch * channels * height * width).float().view(shape)
    cut = cut_windows(images, windows)
    assert cut.shape == (len(windows), channels, expected_side, expected_side)
    assert cut.is_contiguous(memory_format=torch.channels_last)
    for made, (picture, rows, cols) in zip(cut, windows, strict=True):
        assert torch.equal(made, images[picture, :, rows, cols])


def test_every_place_is_drawn() -> None:
    generator = seeded()
    drawn = [random_windows(torch.Size((2, 3, 4, 5)), 1, 3, generator)[0] for _ in range(200)]
    places = {(picture, rows.start, cols.start) for picture, rows, cols in drawn}
    assert places == {(picture, top, left) for picture in range(2) for top in range(2) for left in range(3)}


def test_without_a_generator_the_global_seed_decides() -> None:
    shape = torch.Size((4, 3, 40, 40))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        first = random_windows(shape, 3, 8)
        assert random_windows(shape, 3, 8) != first
        torch.manual_seed(5)
        assert random_windows(shape, 3, 8) == first
    assert random_windows(shape, 3, 8, seeded(5)) == first


def test_the_gradient_reaches_the_windows_alone() -> None:
    images = torch.zeros(2, 3, 6, 6, requires_grad=True)
    windows = random_windows(images.shape, 1, 4, seeded())
    cut_windows(images, windows).sum().backward()
    assert images.grad is not None
    picture, rows, cols = windows[0]
    assert float(images.grad.sum()) == 3 * 16
    assert (images.grad[picture, :, rows, cols] == 1).all()
