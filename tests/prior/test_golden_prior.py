"""The golden stream of the integer prior decodes, on this machine too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from reference_decoder import decode_stream
from reference_prior import ReferencePrior
from safetensors.numpy import load_file

from vqcodec.bitstream import GridSpec, StreamModel, read_stream
from vqcodec.codec import Codec
from vqcodec.prior.config import PriorConfig
from vqcodec.prior.integer import IntegerPrior

GOLDEN = Path(__file__).parent.parent / "golden" / "prior_v1"


def test_the_golden_stream_decodes() -> None:
    config = PriorConfig.from_dict(json.loads((GOLDEN / "config.json").read_text(encoding="utf-8")))
    integer = IntegerPrior(config, load_file(GOLDEN / "arrays.safetensors"))
    grids = tuple(GridSpec(16, size) for size in config.codebook_sizes)
    stream = read_stream(
        (GOLDEN / "stream.vq").read_bytes(), lambda model_id: StreamModel(model_id, "golden", grids, {2: integer})
    )
    expected = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
    assert len(stream.tokens) == len(expected) == 3
    for grid, tokens in zip(stream.tokens.levels, expected, strict=True):
        assert np.array_equal(grid.indices, tokens)


def test_a_decoder_written_from_the_format_reads_the_golden_stream() -> None:
    config = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
    prior = ReferencePrior(load_file(GOLDEN / "arrays.safetensors"), config)
    grids = [(16, size) for size in config["codebook_sizes"]]
    read = decode_stream((GOLDEN / "stream.vq").read_bytes(), grids, prior=prior)
    assert read.levels == json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))


def test_it_reads_a_level_of_a_released_model() -> None:
    """Whose widths, radius and exponentials are those that users have."""
    codec = Codec.load(Path(__file__).parents[2] / "released" / "photo-4")
    picture = np.random.default_rng(1).integers(0, 256, (5, 9, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    stream = codec.encode(picture, levels=2, entropy="prior")
    entropy_prior = codec.card.entropy_prior
    assert entropy_prior is not None
    prior = ReferencePrior(load_file(codec.model.path / "entropy.safetensors"), entropy_prior.prior.to_dict())
    read = decode_stream(stream, [(16, 1024)] * 4, prior=prior)
    for ours, grid in zip(read.levels, codec.read(stream).tokens.levels, strict=True):
        assert np.array_equal(ours, grid.indices)
