"""Tokens of one level to the bytes of a stream, and back; and the header alone."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from vqcodec.bitstream import (
    STATIC_ID,
    UNIFORM_ID,
    GridSpec,
    StaticModel,
    StreamModel,
    TokenGrid,
    TokenPyramid,
    UniformModel,
    expect_model,
    quantise_frequencies,
    read_header,
    read_stream,
    write_stream,
)

CODES: Final = 1024
FACTOR: Final = 16
#: how often each token is met: the law of Zipf, so that no photograph and no model is needed
COUNTS: Final = 10**6 // np.arange(1, CODES + 1)
MODEL: Final = StreamModel(
    model_id=bytes(4),
    name="bench",
    grids=(GridSpec(FACTOR, CODES),),
    entropy_models={UNIFORM_ID: UniformModel(), STATIC_ID: StaticModel([quantise_frequencies(COUNTS)])},
)

by_size = pytest.mark.parametrize(("width", "height"), [(768, 512), (3072, 2048)], ids=["1536", "24576"])
by_entropy = pytest.mark.parametrize("entropy_id", [UNIFORM_ID, STATIC_ID], ids=["uniform", "static"])


def draw_tokens(width: int, height: int) -> TokenPyramid:
    """One grid of tokens for a picture of so many pixels, as often as `COUNTS` says; always the same."""
    shape = height // FACTOR, width // FACTOR
    indices = np.random.default_rng(0).choice(CODES, shape, p=COUNTS / COUNTS.sum())
    return TokenPyramid((TokenGrid(indices, CODES),))


@by_size
@by_entropy
def test_write_stream(benchmark: BenchmarkFixture, entropy_id: int, width: int, height: int) -> None:
    tokens = draw_tokens(width, height)
    stream = benchmark(write_stream, tokens, model=MODEL, width=width, height=height, entropy_id=entropy_id)
    assert read_header(stream).complete


@by_size
@by_entropy
def test_read_stream(benchmark: BenchmarkFixture, entropy_id: int, width: int, height: int) -> None:
    tokens = draw_tokens(width, height)
    data = write_stream(tokens, model=MODEL, width=width, height=height, entropy_id=entropy_id)
    stream = benchmark(read_stream, data, partial(expect_model, model=MODEL))
    assert stream.tokens == tokens


def test_read_header(benchmark: BenchmarkFixture) -> None:
    data = write_stream(draw_tokens(768, 512), model=MODEL, width=768, height=512, entropy_id=STATIC_ID)
    info = benchmark(read_header, data)
    assert (info.header.width, info.header.height) == (768, 512)
