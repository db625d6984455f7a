"""The codec with a model of two resolutions: streams, partial ones, rates, and what cannot be done with it yet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vqcodec.bitstream import truncated_stream
from vqcodec.codec import Codec
from vqcodec.pictures.image import to_tensor

ROWS, COLS = np.mgrid[:59, :83]
PICTURE = np.stack([128 + 90 * np.sin(ROWS / 9 + n) * np.cos(COLS / 7) for n in range(3)], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def codec(hierarchical_model: Path) -> Codec:
    return Codec.load(hierarchical_model, device="cpu", dtype=torch.float32)


def error(codec: Codec, stream: bytes, levels: int | None = None) -> float:
    decoded = codec.decode_stream(stream, levels=levels).image.rgb
    return float(np.square(decoded.astype(float) - PICTURE).mean())


def test_a_stream_holds_grids_of_both_resolutions(codec: Codec) -> None:
    stream = codec.encode(PICTURE)
    read = codec.read(stream)
    assert [grid.shape for grid in read.tokens.levels] == [(8, 11), (8, 11), (15, 21), (15, 21)]
    tokens = codec.tokenize(to_tensor(PICTURE, 4))
    assert all(np.array_equal(grid.indices, t[0]) for grid, t in zip(read.tokens.levels, tokens, strict=True))
    assert codec.decode(stream).size == (83, 59)


def test_each_level_brings_the_picture_nearer(codec: Codec) -> None:
    stream, model = codec.encode(PICTURE), codec.model.stream_model
    errors = [error(codec, stream, levels) for levels in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    for levels in (1, 2, 3):
        short = codec.encode(PICTURE, levels=levels)
        assert error(codec, short) == errors[levels - 1]
        assert codec.read(truncated_stream(stream, lambda _: model, levels=levels)).tokens == codec.read(short).tokens


def test_rates(codec: Codec) -> None:
    sizes = [len(codec.encode(PICTURE, quality=quality)) for quality in (0, 20, 45, 70, 100)]
    assert sizes == sorted(sizes)
    whole = codec.encode(PICTURE)
    assert len(whole) == sizes[-1]
    for limit in (len(whole) - 1, len(whole) - 40, sizes[0] + 5):
        limited = codec.encode(PICTURE, max_bytes=limit)
        assert len(limited) <= limit
        assert codec.decode(limited).size == (83, 59)


def test_a_level_for_a_part_of_the_picture_lies_between_levels(codec: Codec) -> None:
    for levels in (1, 2, 3):
        low, between, high = (
            codec.encode(PICTURE, quality=25 * q, entropy="uniform") for q in (levels, levels + 0.5, levels + 1)
        )
        assert len(low) < len(between) < len(high)
        assert error(codec, low) > error(codec, between) > error(codec, high)
        read = codec.read(between)
        assert read.blocks is not None
        assert read.header.level_count == levels + 1
        assert error(codec, between, levels) == error(codec, low)


def test_tokens_that_are_not_there(codec: Codec) -> None:
    tokens = [np.array(grid) for grid in codec.tokenize(to_tensor(PICTURE, 4).numpy(), levels=3)]
    nothing = [*tokens[:-1], np.full_like(tokens[-1], -1, dtype=np.int64)]
    assert np.abs(codec.detokenize(nothing) - codec.detokenize(tokens)).max() > 0.01
    with pytest.raises(ValueError, match="tokens range over -1"):
        codec.detokenize([np.full_like(tokens[0], -1, dtype=np.int64)])
    with pytest.raises(ValueError, match="tokens range over -1"):
        codec.detokenize([nothing[0], np.full_like(tokens[1], -1, dtype=np.int64), tokens[2]])


def test_weight(codec: Codec) -> None:
    whole = codec.encode(PICTURE)
    assert len(codec.encode(PICTURE, weight=0.2)) < len(whole)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 130), (40, 9)])
def test_pictures_of_any_size(codec: Codec, size: tuple[int, int]) -> None:
    picture = np.resize(PICTURE, (*size, 3))
    assert codec.decode_stream(codec.encode(picture)).image.rgb.shape == picture.shape
