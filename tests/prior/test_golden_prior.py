"""The golden stream of the integer prior decodes, on this machine too."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from vqcodec.bitstream import GridSpec, StreamModel, read_stream
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
