"""The context network in the core: what numpy says, whatever the unit of the processor and the number of threads."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from context_helpers import FACTORS, SIZES, SMALL, grids, random_network
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_helpers import frequencies
from native_builds import built

from vqcodec.bitstream import CorruptStreamError, TokenGrid
from vqcodec.bitstream.coder import decode_level, decode_levels, encode_level, encode_levels
from vqcodec.bitstream.entropy_models import CodedTokens
from vqcodec.native.context import ContextError, NativeContext
from vqcodec.native.library import core, load, missing
from vqcodec.prior.context import ContextModel
from vqcodec.prior.context_coding import CoreContext, context_for_coding
from vqcodec.prior.context_config import ContextConfig
from vqcodec.training.stage2.context_export import context_arrays

pytestmark = pytest.mark.skipif(core() is None, reason=missing() or "VQCODEC_CORE=torch")

#: shapes of networks that need padding, or much or little of everything
SHAPES: dict[str, dict[str, Any]] = {
    "small": {},
    "whole blocks": {"channels": 32, "token_width": 8, "hidden": 48, "blocks": 1},
    "one of all": {"channels": 1, "token_width": 1, "hidden": 1, "blocks": 3},
    "usual": {"channels": 64, "token_width": 16, "hidden": 128, "blocks": 2},
}


@lru_cache
def both(
    shape: str = "small", sizes: tuple[int, ...] = SIZES, factors: tuple[int, ...] = FACTORS, first: int = 0
) -> tuple[ContextModel, CoreContext]:
    """By numpy and by the core."""
    network = random_network(ContextConfig(sizes, factors, first, **SMALL | SHAPES[shape]))
    arrays = context_arrays(network)
    native = context_for_coding(network.config, arrays)
    assert isinstance(native, CoreContext)
    return ContextModel(network.config, arrays), native


def shapes_of(pyramid: tuple[TokenGrid, ...]) -> list[tuple[int, int]]:
    return [grid.shape for grid in pyramid]


@pytest.mark.parametrize("shape", SHAPES)
def test_frequencies_are_those_of_numpy(shape: str, unit: str) -> None:
    reference, native = both(shape)
    for size in ((1, 1), (8, 200), (57, 33)):
        pyramid = grids(size)
        for level in range(len(SIZES)):
            expected = frequencies(reference, pyramid, level)
            assert np.array_equal(frequencies(native, pyramid, level), expected)
            assert np.array_equal(frequencies(native, pyramid, level, complete=True), expected)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_payloads_are_those_of_numpy_and_come_back(threads: int, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_THREADS", str(threads))
    reference, native = both()
    pyramid = grids((500, 310))
    payloads = encode_levels(pyramid, native)
    assert payloads == encode_levels(pyramid, reference)
    assert decode_levels(payloads, native, shapes=shapes_of(pyramid), codebook_sizes=SIZES) == pyramid


@pytest.mark.parametrize("threads", [1, 3])
def test_tokens_in_some_places_only(threads: int, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_THREADS", str(threads))
    reference, native = both()
    for seed, size in enumerate(((500, 310), (40, 90), (9, 9))):
        pyramid = grids(size, seed)
        coded = CodedTokens(np.random.default_rng(seed).random(pyramid[-1].shape) < 0.6, filler=3)
        last = TokenGrid(np.where(coded.mask, pyramid[-1].indices, coded.filler), SIZES[-1])
        pyramid = (*pyramid[:-1], last)
        payloads = encode_levels(pyramid, native, coded)
        assert payloads == encode_levels(pyramid, reference, coded)
        for model in (native, reference):
            read = decode_levels(payloads, model, shapes=shapes_of(pyramid), codebook_sizes=SIZES, coded=coded)
            assert read == pyramid
        everywhere = CodedTokens(np.ones(last.shape, bool), 0)
        assert encode_levels(pyramid, native, everywhere) == encode_levels(pyramid, native)


def test_a_filler_that_is_no_token_is_refused() -> None:
    native, pyramid = both()[1], grids((40, 40))
    wrong = CodedTokens(np.zeros(pyramid[-1].shape, bool), SIZES[-1])
    with pytest.raises(ContextError, match="outside the codebook"):
        encode_levels(pyramid, native, wrong)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 3))
def test_levels_of_any_size_come_back_one_by_one(height: int, width: int, seed: int) -> None:
    reference, native = both()
    pyramid = grids((height, width), seed)
    for level, grid in enumerate(pyramid):
        coarser = pyramid[:level]
        payload = encode_level(grid, native, level=level, coarser=coarser)
        assert payload == encode_level(grid, reference, level=level, coarser=coarser)
        read = decode_level(
            payload, native, level=level, shape=grid.shape, codebook_size=grid.codebook_size, coarser=coarser
        )
        assert read == grid


def test_levels_of_one_code_and_resolutions_that_grow() -> None:
    sizes, factors = (1, 300, 1, 7), (32, 16, 8, 4)
    reference, native = both(sizes=sizes, factors=factors)
    pyramid = grids((77, 130), sizes=sizes, factors=factors)
    payloads = encode_levels(pyramid, native)
    assert payloads == encode_levels(pyramid, reference)
    assert payloads[0] == payloads[2] == b""
    assert decode_levels(payloads, native, shapes=shapes_of(pyramid), codebook_sizes=sizes) == pyramid


def test_networks_that_begin_at_a_finer_level() -> None:
    reference, native = both(first=1)
    pyramid = grids((130, 90))
    for level in (1, 2):
        coarser = pyramid[:level]
        payload = encode_level(pyramid[level], native, level=level, coarser=coarser)
        assert payload == encode_level(pyramid[level], reference, level=level, coarser=coarser)
    with pytest.raises(ValueError, match="has the levels 1 to 2; level 0 was asked for"):
        encode_level(pyramid[0], native, level=0, coarser=())


def test_what_no_encoder_writes_is_corrupt() -> None:
    reference, native = both()
    pyramid = grids((160, 160))
    payloads = encode_levels(pyramid, native)
    rng = np.random.default_rng(1)
    errors = 0
    for number in range(60):
        damaged = [bytearray(payload) for payload in payloads]
        place = rng.integers(len(damaged[number % 3]))
        damaged[number % 3][place] ^= 1 << rng.integers(8)
        read = []
        for model in (native, reference):
            try:
                levels = decode_levels(
                    [bytes(each) for each in damaged], model, shapes=shapes_of(pyramid), codebook_sizes=SIZES
                )
                read.append(str([grid.indices.tolist() for grid in levels]))
            except CorruptStreamError as error:
                read.append(type(error).__name__)
        assert read[0] == read[1]
        errors += read[0] == "CorruptStreamError"
    assert errors


@pytest.mark.parametrize("name", ["scalar", "clang"])
def test_compilers_change_nothing(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    reference, native = both()
    other = NativeContext(load(built(name, tmp_path_factory)), native._native.shape, native._native._arrays)
    tokens = [np.array(grid.indices, np.int32) for grid in grids((200, 90))]
    payloads = other.encode(tokens, 0, 2)
    assert payloads == encode_levels(grids((200, 90)), reference)
    read = other.decode([each.shape for each in tokens], [], payloads, 3)
    assert read is not None
    assert all(map(np.array_equal, read, tokens))


def test_webassembly_gives_the_same(tmp_path_factory: pytest.TempPathFactory) -> None:
    pytest.importorskip("wasmtime")
    from vqcodec.benchmarks.priors import webassembly

    reference, native = both()
    core_in_wasm = webassembly.WebAssemblyCore(built("wasm", tmp_path_factory))
    with webassembly.remembering_sizes(core_in_wasm):
        other = NativeContext(core_in_wasm, native._native.shape, native._native._arrays)
    pyramid = grids((200, 90))
    tokens = [np.array(grid.indices, np.int32) for grid in pyramid]
    payloads = other.encode(tokens, 0, 1)
    assert payloads == encode_levels(pyramid, reference)
    read = other.decode([each.shape for each in tokens], tokens[:1], payloads[1:], 1)
    assert read is not None
    assert all(map(np.array_equal, read, tokens[1:]))
    coded = np.random.default_rng(0).random(tokens[-1].shape) < 0.5, 3
    some = [*tokens[:-1], np.where(coded[0], tokens[-1], 3).astype(np.int32)]
    payloads = other.encode(some, 0, 1, coded)
    assert payloads == native._native.encode(some, 0, 1, coded)
    read = other.decode([each.shape for each in some], some[:1], payloads[1:], 1, coded)
    assert read is not None
    assert np.array_equal(read[-1], some[-1])


def native_of() -> NativeContext:
    return both()[1]._native


def test_grids_that_do_not_go_together_are_refused() -> None:
    large, small = np.zeros((9, 9), np.int32), np.zeros((2, 2), np.int32)
    with pytest.raises(ContextError, match="do not go together"):
        native_of().encode([small, large, large], 0, 1)
    with pytest.raises(ContextError, match="do not go together"):
        native_of().encode([large] * 4, 0, 1)
    with pytest.raises(ContextError, match="do not go together"):
        native_of().begin([small, large], 1)


def test_tokens_outside_the_codebook_are_refused() -> None:
    levels = [np.zeros((2, 2), np.int32), np.full((3, 3), SIZES[1], np.int32)]
    with pytest.raises(ContextError, match="tokens outside the codebook"):
        native_of().encode(levels, 0, 1)
    with pytest.raises(ContextError, match="do not go together"):
        native_of().begin([*levels, np.zeros((3, 3), np.int32)], 1)


def test_positions_outside_the_grid_are_refused() -> None:
    level = native_of().begin([np.zeros((4, 4), np.int32)], 1)
    for position in (-1, 16):
        with pytest.raises(ContextError, match="positions outside"):
            level.frequencies(np.array([position], np.int32))


def test_tokens_of_other_types_are_refused() -> None:
    with pytest.raises(ContextError, match="tokens int64"):
        native_of().begin([np.zeros((4, 4), np.int64)], 1)


def test_without_the_core_numpy_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(ContextConfig(SIZES, FACTORS, **SMALL))
    arrays = context_arrays(network)
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    assert isinstance(context_for_coding(network.config, arrays), ContextModel)
