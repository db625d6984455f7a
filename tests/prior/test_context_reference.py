"""A decoder written from docs/format.md alone reads what a context network writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from context_helpers import FACTORS, SIZES, context_models, grids
from reference_context import ReferenceContext
from reference_decoder import decode_stream
from reference_prior import ReferencePrior
from safetensors.numpy import load_file

from vqcodec.bitstream import GridSpec, StreamModel, TokenPyramid, write_stream
from vqcodec.cards.model_card import ENTROPY_FILE
from vqcodec.codec import Codec
from vqcodec.training.stage2.context_export import context_arrays


@pytest.mark.parametrize("size", [(1, 1), (41, 70)])
@pytest.mark.parametrize("levels", [1, 3])
def test_it_reads_a_stream(size: tuple[int, int], levels: int) -> None:
    network, model = context_models()
    pyramid = grids(size, seed=7)[:levels]
    specs = tuple(map(GridSpec, FACTORS, SIZES))
    stream_model = StreamModel(b"abcd", "small", specs, {2: model})
    height, width = size
    data = write_stream(TokenPyramid(pyramid), model=stream_model, width=width, height=height, entropy_id=2)
    reference = ReferenceContext(context_arrays(network), network.config.to_dict())
    read = decode_stream(data, list(zip(FACTORS, SIZES, strict=True)), prior=reference)
    assert len(read.levels) == levels
    for ours, grid in zip(read.levels, pyramid, strict=True):
        assert np.array_equal(ours, grid.indices)


def test_it_reads_a_stream_of_two_priors(two_priors_model: Path) -> None:
    codec = Codec.load(two_priors_model, device="cpu")
    picture = np.random.default_rng(4).integers(0, 256, (5, 7, 3), dtype=np.uint8).repeat(6, 0).repeat(6, 1)
    stream = codec.encode(picture, entropy="prior")
    stated = codec.card.entropy_prior
    assert stated is not None
    assert stated.prior is not None
    assert stated.context is not None
    arrays = load_file(two_priors_model / ENTROPY_FILE)
    reference = ReferenceContext(arrays, stated.context.to_dict(), ReferencePrior(arrays, stated.prior.to_dict()))
    shape = codec.card.autoencoder
    read = decode_stream(
        stream, list(zip(shape.level_factors, shape.quantizer.codebook_sizes, strict=True)), prior=reference
    )
    for ours, grid in zip(read.levels, codec.read(stream).tokens.levels, strict=True):
        assert np.array_equal(ours, grid.indices)
