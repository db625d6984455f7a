"""The range coder: exact frequencies, both directions, overhead, carries, speed."""

from __future__ import annotations

import contextlib
import time

import constriction
import numpy as np
import numpy.typing as npt
import pytest
from bitstream_helpers import level_frequencies
from reference_decoder import decode_payload, uniform_table

from vqcodec.bitstream import (
    FREQUENCY_TOTAL,
    CodingContext,
    CorruptStreamError,
    EntropyModel,
    LevelModel,
    StaticModel,
    TokenGrid,
    UniformModel,
    quantise_frequencies,
)
from vqcodec.bitstream.coder import _model_arguments, check_range_coder, decode_level, encode_level
from vqcodec.bitstream.errors import RangeCoderError
from vqcodec.bitstream.frequencies import IntegerArray


def skewed(codebook_size: int, seed: int = 0) -> npt.NDArray[np.int64]:
    counts = np.random.default_rng(seed).gamma(0.1, size=codebook_size) * 1e6
    return quantise_frequencies(np.floor(counts).astype(np.int64))


def draw(frequencies: npt.NDArray[np.int64], shape: tuple[int, int], seed: int = 0) -> TokenGrid:
    chances = frequencies / FREQUENCY_TOTAL
    tokens = np.random.default_rng(seed).choice(len(frequencies), size=shape, p=chances)
    return TokenGrid(tokens, len(frequencies))


def encode(grid: TokenGrid, model: EntropyModel) -> bytes:
    return encode_level(grid, model, level=0, coarser=())


def decode(payload: bytes, model: EntropyModel, shape: tuple[int, int], codebook_size: int) -> TokenGrid:
    return decode_level(payload, model, level=0, shape=shape, codebook_size=codebook_size, coarser=())


@pytest.mark.parametrize("codebook_size", [2, 3, 5, 255, 1000, 4096, 70_000, 2**18])
@pytest.mark.parametrize("count", [1, 2])
def test_constriction_codes_with_exactly_our_frequencies(codebook_size: int, count: int) -> None:
    """From a fresh coder the interval after one token is (2**64 - 1 >> 24) times (cumulative frequency, frequency)."""
    rng = np.random.default_rng(codebook_size)
    scale = (2**64 - 1) >> 24
    for seed in range(3):
        frequencies = skewed(codebook_size, seed)
        starts = np.concatenate([[0], np.cumsum(frequencies)])
        arguments = _model_arguments(frequencies[np.newaxis], count)
        values = {0, 1, codebook_size - 1, int(frequencies.argmax()), *rng.integers(codebook_size, size=30).tolist()}
        for value in values:
            encoder = constriction.stream.queue.RangeEncoder()
            encoder.encode(np.array([value], dtype=np.int32), *arguments)
            words, (lower, span) = encoder.pos()
            shift = 32 * words
            assert words <= 1
            assert span == scale * int(frequencies[value]) << shift
            assert lower == (scale * int(starts[value]) << shift) % 2**64


@pytest.mark.parametrize("codebook_size", [1, 2, 3, 256, 1000, 1024, 65_536, 70_000])
@pytest.mark.parametrize("token_count", [1, 2, 10, 333, 1536, 100_000])
@pytest.mark.parametrize("kind", ["uniform", "static"])
def test_round_trip_costs_at_most_four_bytes_over_ideal(codebook_size: int, token_count: int, kind: str) -> None:
    model: EntropyModel = UniformModel() if kind == "uniform" else StaticModel([skewed(codebook_size)])
    shape = (1, token_count)
    frequencies = level_frequencies(model, shape, codebook_size)
    grid = draw(frequencies, shape, seed=token_count)
    payload = encode(grid, model)
    ideal_bits = -np.log2(frequencies[grid.indices] / FREQUENCY_TOTAL).sum()
    assert len(payload) <= np.ceil(ideal_bits / 8) + 4
    assert decode(payload, model, shape, codebook_size) == grid


@pytest.mark.parametrize("codebook_size", [3, 1000, 1024, 65_536, 70_000, 2**18 - 1])
def test_uniform_model_costs_log2_k(codebook_size: int) -> None:
    frequencies = level_frequencies(UniformModel(), (1, 1), codebook_size)
    assert frequencies.tolist() == uniform_table(codebook_size)
    assert frequencies.max() - frequencies.min() <= 1
    mean_bits = -np.log2(frequencies / FREQUENCY_TOTAL).mean()
    assert np.log2(codebook_size) <= mean_bits + 1e-12 <= np.log2(codebook_size) + 1e-4


def test_payload_is_the_shortest_that_decodes() -> None:
    for seed in range(200):
        rng = np.random.default_rng(seed)
        frequencies = skewed(int(rng.integers(2, 40)), seed)
        model = StaticModel([frequencies])
        shape = (1, int(rng.integers(1, 30)))
        grid = draw(frequencies, shape, seed)
        payload = encode(grid, model)
        assert not payload.endswith(b"\0")
        if payload:
            cut = int.from_bytes(payload[:-1], "big")
            for shorter in (cut, cut + 1):
                if shorter < 256 ** (len(payload) - 1):
                    text = shorter.to_bytes(len(payload) - 1, "big").rstrip(b"\0")
                    with contextlib.suppress(CorruptStreamError):
                        assert decode(text, model, shape, len(frequencies)) != grid


@pytest.mark.parametrize("last", [0, 1, 2])
@pytest.mark.parametrize("run", range(1, 24))
def test_carries_run_through_held_back_words(run: int, last: int) -> None:
    """The middle value keeps the interval astride the middle of the range, so that words are held back."""
    table = [2**23 - 1, 2, 2**23 - 1]
    model = StaticModel([table])
    for before in ([], [0], [2], [0, 2, 0]):
        tokens = [*before, *[1] * run, last, 1, 0]
        grid = TokenGrid(np.array([tokens]), 3)
        payload = encode(grid, model)
        assert decode(payload, model, grid.shape, 3) == grid
        assert decode_payload(payload, table, 1, len(tokens), {}) == tokens
        assert encode(TokenGrid(np.array([tokens[:-2]]), 3), model) is not None


def test_reference_decoder_agrees_on_random_tables() -> None:
    for seed in range(30):
        rng = np.random.default_rng(seed)
        frequencies = skewed(int(rng.integers(2, 500)), seed)
        grid = draw(frequencies, (1, 200), seed)
        payload = encode(grid, StaticModel([frequencies]))
        assert decode_payload(payload, frequencies.tolist(), 1, 200, {}) == grid.indices[0].tolist()


def test_garbage_payload_never_raises_an_error_of_constriction() -> None:
    rng = np.random.default_rng(0)
    model = StaticModel([skewed(50)])
    payloads = [rng.bytes(int(rng.integers(1, 60))).rstrip(b"\0") for _ in range(300)] + [b"\xff" * n for n in range(9)]
    for payload in payloads:
        with contextlib.suppress(CorruptStreamError):
            decode(payload, model, (10, 10), 50)
    with pytest.raises(CorruptStreamError, match="range coder"):
        decode(b"\xff" * 8, model, (10, 10), 50)


def test_payload_that_no_writer_makes_is_refused() -> None:
    with pytest.raises(CorruptStreamError, match="zero byte"):
        decode(b"a\0", UniformModel(), (4, 4), 256)
    with pytest.raises(CorruptStreamError, match="more than they can cost"):
        decode(b"a" * 73, UniformModel(), (4, 4), 256)


class BrokenLevel:
    """A level model whose groups or frequencies are given."""

    entropy_id, name = 3, "broken"

    def __init__(self, groups: list[list[int]], frequencies: npt.NDArray[np.int64]) -> None:
        self._groups, self._frequencies = groups, frequencies

    def begin_level(self, context: CodingContext) -> LevelModel:
        with pytest.raises(ValueError, match="read-only"):
            context.known[0, 0] = 1
        return self

    def groups(self) -> list[npt.NDArray[np.int64]]:
        return [np.array(group) for group in self._groups]

    def frequencies(self, positions: IntegerArray) -> npt.NDArray[np.int64]:
        return self._frequencies


HALVES = np.full((1, 2), 2**23)


@pytest.mark.parametrize(
    ("groups", "frequencies", "message"),
    [
        ([[0, 1, 2]], HALVES, "every token"),
        ([[0, 1], [1, 2]], HALVES, "twice"),
        ([[0, 1, 2, 2]], HALVES, "every token"),
        ([[0, 1, 2, 3, 3]], HALVES, "twice"),
        ([[0, 1, 2, 3]], HALVES - 1, "sum to"),
        ([[0, 1, 2, 3]], np.array([[0, 2**24]]), "every frequency"),
        ([[0, 1, 2, 3]], np.full((1, 3), 2**23), "shape"),
        ([[0, 1, 2, 3]], HALVES.repeat(3, axis=0), "3 rows for 4"),
        ([[0, 1, 2, 3]], HALVES / 1.0, "integers"),
    ],
)
def test_entropy_model_that_breaks_its_protocol_is_refused(
    groups: list[list[int]], frequencies: npt.NDArray[np.int64], message: str
) -> None:
    grid = TokenGrid(np.zeros((2, 2), dtype=int), 2)
    with pytest.raises(ValueError, match=message):
        encode(grid, BrokenLevel(groups, frequencies))


@pytest.mark.parametrize("groups", [[[3, 1], [0], [2]], [[0], [1], [2], [3]], [[3, 2, 1, 0]]])
@pytest.mark.parametrize("rows", [1, "n"])
def test_any_order_of_groups_round_trips(groups: list[list[int]], rows: object) -> None:
    class AnyOrder(BrokenLevel):
        def frequencies(self, positions: IntegerArray) -> npt.NDArray[np.int64]:
            return HALVES if rows == 1 else HALVES.repeat(len(positions), axis=0)

    grid = TokenGrid(np.array([[0, 1], [1, 1]]), 2)
    payload = encode(grid, AnyOrder(groups, HALVES))
    assert decode(payload, AnyOrder(groups, HALVES), (2, 2), 2) == grid


@pytest.mark.parametrize(
    ("before", "last"),
    [
        pytest.param("0101100101110010110101110100100001110111", [6843884, 3], id="its words have carried"),
        pytest.param("11100000011111111111011001", [85004, 3], id="its end is the rounder number"),
    ],
)
def test_intervals_that_chance_does_not_find(before: str, last: list[int]) -> None:
    """One in 2^32 or so: the last token's interval crosses a power of 2^64, or ends before one with more zero bits.

    The tokens before it have a chance of about a half each.
    """

    class Rows(BrokenLevel):
        def frequencies(self, positions: IntegerArray) -> npt.NDArray[np.int64]:
            rows = [2**23 - 1, 2**23, 1] if len(positions) > 1 else [*last, 2**24 - sum(last)]
            return np.array([rows])

    grid = TokenGrid(np.array([[*map(int, before), 1]]), 3)
    model = Rows([list(range(len(before))), [len(before)]], HALVES)
    assert decode(encode(grid, model), model, grid.shape, 3) == grid


def test_speed_targets() -> None:
    """1536 uniform tokens in 5 ms and 400,000 static tokens in 1.5 s, each way: best of three."""
    cases: list[tuple[EntropyModel, tuple[int, int], int, float]] = [
        (UniformModel(), (32, 48), 1024, 5e-3),
        (StaticModel([skewed(1024)]), (400, 1000), 1024, 1.5),
    ]
    for model, shape, codebook_size, limit_seconds in cases:
        grid = draw(level_frequencies(model, shape, codebook_size), shape)
        encode_seconds, decode_seconds = [], []
        for _ in range(3):
            start = time.perf_counter()
            payload = encode(grid, model)
            middle = time.perf_counter()
            assert decode(payload, model, shape, codebook_size) == grid
            encode_seconds.append(middle - start)
            decode_seconds.append(time.perf_counter() - middle)
        assert min(encode_seconds) < limit_seconds
        assert min(decode_seconds) < limit_seconds


def test_another_range_coder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_range_coder.cache_clear()
    check_range_coder()
    categorical = constriction.stream.model.Categorical

    def rounded_otherwise(*arguments: object, perfect: bool, **options: object) -> object:
        return categorical(*arguments, perfect=True, **({} if arguments == () else options))

    check_range_coder.cache_clear()
    monkeypatch.setattr(constriction.stream.model, "Categorical", rounded_otherwise)
    with pytest.raises(RangeCoderError, match="install version"):
        encode_level(TokenGrid([[0, 1]], 2), UniformModel(), level=0, coarser=())
    check_range_coder.cache_clear()


def test_a_level_of_one_code_has_no_payload() -> None:
    arguments = {"level": 0, "shape": (2, 3), "codebook_size": 1, "coarser": ()}
    assert decode_level(b"", UniformModel(), **arguments) == TokenGrid(np.zeros((2, 3), int), 1)  # type: ignore[arg-type]
    with pytest.raises(CorruptStreamError, match="one code and 1 payload bytes"):
        decode_level(b"\x80", UniformModel(), **arguments)  # type: ignore[arg-type]
