"""The context network in numpy: that of torch to the last bit, any grid, and only what is coded before a token."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from context_helpers import FACTORS, SIZES, context_models, grids, tensors
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_helpers import frequencies

from vqcodec.bitstream import TokenGrid
from vqcodec.bitstream.coder import decode_level, encode_level
from vqcodec.bitstream.entropy_models import PRIOR_ID, CodingContext
from vqcodec.prior.arithmetic import token_frequencies

SIDES = st.integers(1, 90)


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (40, 72), (57, 33)])
def test_it_gives_the_logits_of_torch_to_the_last_bit(size: tuple[int, int]) -> None:
    network, model = context_models()
    pyramid = grids(size)
    for level, codes in enumerate(SIZES):
        logits = network(tensors(pyramid), level)[0].permute(1, 2, 0).reshape(-1, codes).contiguous().numpy()
        assert np.array_equal(logits, np.rint(logits))
        expected = token_frequencies(logits, model.token_exponentials, 2**24)
        assert np.array_equal(frequencies(model, pyramid, level), expected)
        assert len(np.unique(expected, axis=0)) > len(expected) // 2  # positions differ


@settings(max_examples=25, deadline=None)
@given(SIDES, SIDES, st.integers(0, 3))
def test_levels_of_any_size_come_back(height: int, width: int, seed: int) -> None:
    _, model = context_models()
    pyramid = grids((height, width), seed)
    for level, grid in enumerate(pyramid):
        payload = encode_level(grid, model, level=level, coarser=pyramid[:level])
        read = decode_level(
            payload, model, level=level, shape=grid.shape, codebook_size=grid.codebook_size, coarser=pyramid[:level]
        )
        assert np.array_equal(read.indices, grid.indices)


@pytest.mark.parametrize("positions", [1, 7, 10_000])
@pytest.mark.parametrize("numbers", [1, 60, 10**6])
def test_how_much_is_computed_at_once_does_not_matter(
    positions: int, numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = context_models()
    pyramid = grids((57, 75))
    expected = [frequencies(model, pyramid, level) for level in range(3)]
    monkeypatch.setattr("vqcodec.prior.context.POSITIONS_AT_ONCE", positions)
    monkeypatch.setattr("vqcodec.prior.context.FREQUENCIES_AT_ONCE", numbers)
    for level in range(3):
        assert np.array_equal(frequencies(model, pyramid, level), expected[level])
        assert np.array_equal(frequencies(model, pyramid, level, complete=True), expected[level])


def changed(grid: TokenGrid, row: int, col: int) -> TokenGrid:
    other = grid.indices.copy()
    other[row, col] = (int(other[row, col]) + 1) % grid.codebook_size
    return TokenGrid(other, grid.codebook_size)


def test_a_token_matters_to_later_groups_next_to_it_alone() -> None:
    _, model = context_models()
    first, second, third = grids((96, 96))
    whole = frequencies(model, (first, second, third), 1).reshape(12, 12, -1)
    for place, reached in (((4, 4), (3, 3)), ((5, 5), (3, 2)), ((4, 5), (3, 1)), ((5, 4), (0, 0))):
        other = frequencies(model, (first, changed(second, *place), third), 1).reshape(12, 12, -1)
        touched = {tuple(each) for each in np.argwhere((whole != other).any(axis=2)).tolist()}
        assert all(max(abs(row - place[0]), abs(col - place[1])) == 1 for row, col in touched)
        assert bool(touched) == bool(reached[0])


def test_coarser_tokens_matter_where_they_lie_and_around() -> None:
    _, model = context_models()
    first, second, third = grids((128, 128))
    whole = frequencies(model, (first, second, third), 2).reshape(16, 16, -1)
    other = frequencies(model, (changed(first, 3, 3), second, third), 2).reshape(16, 16, -1)
    touched = (whole != other).any(axis=2)
    assert touched[6:8, 6:8].all()
    assert not touched[:4].any()
    assert not touched[10:].any()


def test_a_network_of_the_later_levels() -> None:
    network, model = context_models(first=1)
    pyramid = grids((33, 47))
    with pytest.raises(ValueError, match="the context network has the levels 1 to 2; level 0 was asked for"):
        encode_level(pyramid[0], model, level=0, coarser=())
    with pytest.raises(ValueError, match="level 0: the context network covers"):
        network(tensors(pyramid), 0)
    payload = encode_level(pyramid[2], model, level=2, coarser=pyramid[:2])
    read = decode_level(payload, model, level=2, shape=(5, 6), codebook_size=9, coarser=pyramid[:2])
    assert np.array_equal(read.indices, pyramid[2].indices)
    assert (model.entropy_id, model.name) == (PRIOR_ID, "prior")


@pytest.mark.parametrize(
    ("level", "codes", "message"),
    [(3, 9, "levels 0 to 2; level 3"), (1, 9, "knows 12 tokens of level 1; the codebook has 9")],
)
def test_levels_that_it_does_not_have(level: int, codes: int, message: str) -> None:
    _, model = context_models()
    with pytest.raises(ValueError, match=message):
        model.begin_level(CodingContext(level, (2, 2), codes, (), np.full((2, 2), -1, np.int32)))


def test_coarser_grids_that_are_too_small() -> None:
    network, model = context_models()
    small, large = grids((16, 16))[:1], grids((16, 40))
    with pytest.raises(ValueError, match=r"a grid of \(1, 1\) does not cover one of \(2, 5\)"):
        encode_level(large[1], model, level=1, coarser=small)
    with pytest.raises(ValueError, match=r"a grid of \(1, 1\) does not cover one of \(2, 5\)"):
        network([*tensors(small), *tensors(large)[1:]], 1)
    with pytest.raises(ValueError, match="level 2: tokens of 1 levels"):
        network(tensors(small), 2)


def test_costs_are_those_of_the_frequencies() -> None:
    network, model = context_models()
    pyramid = grids((40, 40))
    found = frequencies(model, pyramid, 1)[np.arange(25), pyramid[1].indices.reshape(-1)]
    with torch.inference_mode():
        nats = network.nats(tensors(pyramid), 1).reshape(-1).numpy()
    assert np.exp(-nats) == pytest.approx(found / 2**24, rel=1e-3)


def test_factors_of_the_sample_are_those_of_two_resolutions() -> None:
    assert len(set(FACTORS)) == 2
