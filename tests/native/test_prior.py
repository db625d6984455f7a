"""The prior in the core: what the one in numpy says, whatever the unit of the processor and the number of threads."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from integer_helpers import SIZES, frequencies, grids, prior_arrays
from safetensors.numpy import load_file

from vqcodec.bitstream import CorruptStreamError, GridSpec, StreamModel, TokenGrid, read_stream, write_stream
from vqcodec.bitstream.coder import decode_level, decode_levels, encode_level, encode_levels
from vqcodec.bitstream.entropy_models import CodedTokens, CodingContext, EntropyModel
from vqcodec.native.library import core, missing
from vqcodec.native.prior import PriorError
from vqcodec.prior.coding import CorePrior, prior_for_coding
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.integer import IntegerPrior
from vqcodec.prior.orders import ORDERS

pytestmark = pytest.mark.skipif(core() is None, reason=missing() or "VQCODEC_CORE=torch")

GOLDEN = Path(__file__).parent.parent / "golden" / "prior_v1"
#: shapes of transformers that need padding, or much or little of everything
SHAPES = {
    "heads of 6": {"width": 18, "heads": 3, "token_width": 5, "radius": 1},
    "heads of 20": {"width": 40, "heads": 2, "token_width": 12, "radius": 8},
    "one of all": {"width": 7, "heads": 1, "depth": 1, "token_width": 1, "radius": 2},
    "heads of 48": {"width": 48, "heads": 1, "depth": 3, "radius": 5},
    "tokens wider than all else": {"width": 7, "heads": 1, "depth": 1, "token_width": 200, "radius": 2},
}


@lru_cache
def both(
    order: str = "wavefront", shape: str = "", sizes: tuple[int, ...] = SIZES, others: tuple[str, ...] = ()
) -> tuple[IntegerPrior, CorePrior]:
    """By numpy and by the core. others: orders of the last levels, if they are not that of the first."""
    orders = (order,) * (len(sizes) - len(others)) + others
    prior, arrays = prior_arrays(orders, sizes, **SHAPES.get(shape, {}))
    library = core()
    assert library is not None
    return IntegerPrior(prior.config, arrays), CorePrior(prior.config, arrays, library)


def payloads_of(pyramid: tuple[TokenGrid, ...], model: EntropyModel) -> list[bytes]:
    return [encode_level(grid, model, level=level, coarser=pyramid[:level]) for level, grid in enumerate(pyramid)]


def read_by(
    model: EntropyModel, payloads: list[bytes], shape: tuple[int, int], sizes: tuple[int, ...] = SIZES
) -> object:
    """The tokens of all levels, or that the payloads are damaged."""
    try:
        return decode_levels(payloads, model, shapes=[shape] * len(payloads), codebook_sizes=sizes[: len(payloads)])
    except CorruptStreamError as error:
        return str(error)


@pytest.mark.parametrize("order", ORDERS)
def test_frequencies_are_those_of_numpy(order: str, unit: str) -> None:
    integer, native = both(order)
    for shape in ((1, 1), (1, 9), (7, 1), (6, 11)):
        pyramid = grids(shape)
        for level in range(len(SIZES)):
            assert np.array_equal(frequencies(native, pyramid, level), frequencies(integer, pyramid, level))


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_of_every_shape(shape: str, unit: str) -> None:
    integer, native = both(shape=shape)
    pyramid = grids((9, 21))
    for level in range(len(SIZES)):
        assert np.array_equal(frequencies(native, pyramid, level), frequencies(integer, pyramid, level))


@pytest.mark.parametrize("order", ORDERS)
def test_grids_larger_than_what_is_kept_of_them(order: str) -> None:
    integer, native = both(order, "heads of 6")
    for shape in ((33, 20), (5, 90)):
        pyramid = grids(shape)
        payload = encode_level(pyramid[1], native, level=1, coarser=pyramid[:1])
        assert payload == encode_level(pyramid[1], integer, level=1, coarser=pyramid[:1])
        read = decode_level(payload, native, level=1, shape=shape, codebook_size=SIZES[1], coarser=pyramid[:1])
        assert read == pyramid[1]


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_payloads_are_those_of_numpy_and_come_back(threads: int, unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_THREADS", str(threads))
    integer, native = both()
    pyramid = grids((12, 17))
    payloads = payloads_of(pyramid, integer)
    assert encode_levels(pyramid, native) == payloads == payloads_of(pyramid, native)
    assert read_by(native, payloads, (12, 17)) == pyramid
    for level, grid in enumerate(pyramid):
        read = decode_level(
            payloads[level],
            native,
            level=level,
            shape=grid.shape,
            codebook_size=grid.codebook_size,
            coarser=pyramid[:level],
        )
        assert read == grid


@pytest.mark.parametrize("threads", [1, 3])
def test_levels_in_several_orders(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_THREADS", str(threads))
    integer, native = both("quincunx", others=("wavefront", "spiral"))
    pyramid = grids((11, 13))
    payloads = encode_levels(pyramid, native)
    assert payloads == encode_levels(pyramid, integer)
    assert read_by(native, payloads, (11, 13)) == pyramid


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [1, 3])
def test_tokens_in_some_places_only(order: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_THREADS", str(threads))
    integer, native = both(order)
    for seed, shape in enumerate(((12, 17), (1, 9), (5, 1))):
        pyramid = grids(shape)
        coded = CodedTokens(np.random.default_rng(seed).random(shape) < 0.6, filler=2)
        last = TokenGrid(np.where(coded.mask, pyramid[-1].indices, coded.filler), SIZES[-1])
        pyramid = (*pyramid[:-1], last)
        payloads = encode_levels(pyramid, native, coded)
        assert payloads == encode_levels(pyramid, integer, coded)
        for model in (native, integer):
            shapes = [shape] * len(pyramid)
            assert decode_levels(payloads, model, shapes=shapes, codebook_sizes=SIZES, coded=coded) == pyramid


def test_codebooks_of_one_and_of_many() -> None:
    sizes = (1, 700, 1, 33)
    integer, native = both(sizes=sizes)
    pyramid = grids((4, 6), sizes=sizes)
    payloads = encode_levels(pyramid, native)
    assert payloads == encode_levels(pyramid, integer)
    assert payloads[0] == payloads[2] == b""
    assert read_by(native, payloads, (4, 6), sizes) == pyramid


@settings(max_examples=25, deadline=None)
@given(
    rows=st.integers(1, 12),
    cols=st.integers(1, 30),
    order=st.sampled_from(sorted(ORDERS)),
    seed=st.integers(0, 2**16),
    levels=st.integers(1, 3),
)
def test_any_grid(rows: int, cols: int, order: str, seed: int, levels: int) -> None:
    integer, native = both(order)
    pyramid = grids((rows, cols), seed)[:levels]
    payloads = encode_levels(pyramid, native)
    assert payloads == encode_levels(pyramid, integer)
    assert read_by(native, payloads, (rows, cols)) == pyramid


@settings(max_examples=60, deadline=None)
@given(payloads=st.lists(st.binary(max_size=40), min_size=1, max_size=3), threads=st.sampled_from(["1", "4"]))
def test_damaged_payloads_read_as_in_numpy(payloads: list[bytes], threads: str) -> None:
    integer, native = both()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VQCODEC_THREADS", threads)
        assert read_by(native, payloads, (9, 8)) == read_by(integer, payloads, (9, 8))


def test_what_no_encoder_writes_is_refused() -> None:
    _, native = both()
    assert "no output of the range coder" in str(read_by(native, [b"\xff" * 12], (9, 8)))


def test_the_golden_stream_decodes(unit: str) -> None:
    config = PriorConfig.from_dict(json.loads((GOLDEN / "config.json").read_text(encoding="utf-8")))
    native = prior_for_coding(config, load_file(GOLDEN / "arrays.safetensors"))
    assert isinstance(native, CorePrior)
    specs = tuple(GridSpec(16, size) for size in config.codebook_sizes)
    data = (GOLDEN / "stream.vq").read_bytes()
    stream = read_stream(data, lambda model_id: StreamModel(model_id, "golden", specs, {2: native}))
    expected = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
    for grid, tokens in zip(stream.tokens.levels, expected, strict=True):
        assert np.array_equal(grid.indices, tokens)
    header = stream.header
    again = write_stream(
        stream.tokens,
        model=StreamModel(header.model_id, "golden", specs, {2: native}),
        width=header.width,
        height=header.height,
        entropy_id=2,
        boxes=stream.boxes,
    )
    assert again == data


# ---- what cannot be ----


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("blocks.0.gelu", lambda array: array.astype(np.int16)),
        ("blocks.1.logit_scale", lambda array: array * 10_000),
    ],
)
def test_priors_that_the_core_leaves_to_numpy(name: str, change: object) -> None:
    prior, arrays = prior_arrays(("wavefront",) * 3)
    assert callable(change)
    assert isinstance(prior_for_coding(prior.config, arrays | {name: change(arrays[name])}), IntegerPrior)


def test_numpy_codes_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    prior, arrays = prior_arrays(("wavefront",) * 3)
    assert isinstance(prior_for_coding(prior.config, arrays), IntegerPrior)


@pytest.mark.parametrize(
    ("level", "codes", "message"), [(3, 9, "the prior has 3 levels; level 3"), (1, 9, "24 tokens of level 1")]
)
def test_levels_that_it_does_not_have(level: int, codes: int, message: str) -> None:
    _, native = both()
    with pytest.raises(ValueError, match=message):
        native.begin_level(CodingContext(level, (2, 2), codes, (), np.full((2, 2), -1, np.int32)))
    assert native.whole_levels([(2, 2)] * 2, (SIZES[0], 9)) is None
    assert native.whole_levels([(2, 2), (4, 4)], SIZES[:2]) is None


def test_there_are_no_frequencies_after_the_last_group() -> None:
    _, native = both()
    grid = grids((1, 2))[0]
    level = native.begin_level(CodingContext(0, (1, 2), SIZES[0], (), grid.indices.astype(np.int32)))
    for positions in level.groups():
        level.frequencies(positions)
    with pytest.raises(PriorError, match="no more groups"):
        level.frequencies(np.array([0]))


def test_tokens_outside_the_codebook_are_refused() -> None:
    _, native = both()
    orders = native._orders(1, (2, 3), 1)
    with pytest.raises(PriorError, match="outside the codebook"):
        native._native.encode(orders, [np.full((2, 3), SIZES[0], np.int32)], 0, 1)
    with pytest.raises(PriorError, match="in an order for"):
        native._native.encode(orders, [np.zeros((3, 3), np.int32)], 0, 1)
