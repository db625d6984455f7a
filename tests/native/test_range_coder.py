"""The range coder in the core: the payloads of constriction, with carries, and back."""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vqcodec.bitstream import StaticModel, TokenGrid, quantise_frequencies
from vqcodec.bitstream.coder import encode_level
from vqcodec.native.library import core, missing

pytestmark = pytest.mark.skipif(core() is None, reason=missing() or "VQCODEC_CORE=torch")

Int32 = npt.NDArray[np.int32]


def encoded(frequencies: Int32, tokens: Int32) -> bytes:
    library = core()
    assert library is not None
    payload = np.empty(4 * len(tokens) + 16, np.uint8)
    library.vq_range_encode.restype = ctypes.c_int64
    size = library.vq_range_encode(
        ctypes.c_void_p(frequencies.ctypes.data),
        ctypes.c_int64(0),
        ctypes.c_void_p(tokens.ctypes.data),
        ctypes.c_int64(len(tokens)),
        ctypes.c_void_p(payload.ctypes.data),
    )
    return payload[:size].tobytes()


def decoded(frequencies: Int32, payload: bytes, count: int) -> Int32 | None:
    library = core()
    assert library is not None
    held, tokens = np.frombuffer(payload + b"\0", np.uint8), np.empty(count, np.int32)
    failed = library.vq_range_decode(
        ctypes.c_void_p(frequencies.ctypes.data),
        ctypes.c_int64(0),
        ctypes.c_int32(len(frequencies)),
        ctypes.c_void_p(held.ctypes.data),
        ctypes.c_int64(len(payload)),
        ctypes.c_void_p(tokens.ctypes.data),
        ctypes.c_int64(count),
    )
    return None if failed else tokens


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.sampled_from([0, 0, 1, 7, 1000, 2**20, 2**30]), min_size=2, max_size=90),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=400),
)
def test_payloads_are_those_of_constriction(counts: list[int], draws: list[float]) -> None:
    frequencies = quantise_frequencies(counts).astype(np.int32)
    tokens = (np.array(draws) * len(counts)).astype(np.int32)
    payload = encoded(frequencies, tokens)
    grid = TokenGrid(tokens[None], len(counts))
    assert payload == encode_level(grid, StaticModel([frequencies]), level=0, coarser=())
    assert np.array_equal(decoded(frequencies, payload, len(tokens)), tokens)


def test_carries_run_through_words_of_ones() -> None:
    """The last of two values, almost certain, keeps `low` just below what its words can hold."""
    frequencies = np.array([2**24 - 1, 1], np.int32)
    for seed in range(200):
        tokens = (np.random.default_rng(seed).random(60) < 0.9).astype(np.int32)
        payload = encoded(frequencies, tokens)
        assert payload == encode_level(TokenGrid(tokens[None], 2), StaticModel([frequencies]), level=0, coarser=())
        assert np.array_equal(decoded(frequencies, payload, len(tokens)), tokens)


def test_what_no_encoder_writes_is_refused() -> None:
    frequencies = quantise_frequencies([1, 2, 3]).astype(np.int32)
    assert decoded(frequencies, b"\xff" * 16, 1) is None
    assert decoded(frequencies, b"", 3) is not None
