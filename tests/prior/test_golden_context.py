"""The golden stream of the context network decodes, on this machine too: by numpy, by the core, and by the text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from reference_context import ReferenceContext
from reference_decoder import decode_stream
from safetensors.numpy import load_file

from vqcodec.bitstream import PRIOR_ID, GridSpec, StreamModel, read_stream, write_stream
from vqcodec.native.library import core
from vqcodec.prior.context import ContextModel
from vqcodec.prior.context_coding import CoreContext, context_for_coding
from vqcodec.prior.context_config import ContextConfig

GOLDEN = Path(__file__).parent.parent / "golden" / "context_v1"
CONFIG = json.loads((GOLDEN / "config.json").read_text(encoding="utf-8"))
ARRAYS = load_file(GOLDEN / "arrays.safetensors")
TOKENS = json.loads((GOLDEN / "tokens.json").read_text(encoding="utf-8"))
STREAM = (GOLDEN / "stream.vq").read_bytes()
GRIDS = list(zip(CONFIG["factors"], CONFIG["codebook_sizes"], strict=True))


@pytest.mark.parametrize("by", ["numpy", "core"])
def test_the_golden_stream_decodes_and_is_written_again(by: str) -> None:
    if by == "core" and core() is None:
        pytest.skip("there is no core")
    config = ContextConfig.from_dict(CONFIG)
    network = ContextModel(config, ARRAYS) if by == "numpy" else context_for_coding(config, ARRAYS)
    assert isinstance(network, CoreContext) is (by == "core")
    specs = tuple(GridSpec(factor, codes) for factor, codes in GRIDS)
    model = StreamModel(bytes.fromhex("c017e871"), "golden", specs, {PRIOR_ID: network})
    stream = read_stream(STREAM, lambda _: model)
    assert len(stream.tokens) == len(TOKENS) == 3
    for grid, tokens in zip(stream.tokens.levels, TOKENS, strict=True):
        assert np.array_equal(grid.indices, tokens)
    again = write_stream(stream.tokens, model=model, width=214, height=140, entropy_id=PRIOR_ID)
    assert again == STREAM


def test_a_decoder_written_from_the_format_reads_the_golden_stream() -> None:
    read = decode_stream(STREAM, GRIDS, prior=ReferenceContext(ARRAYS, CONFIG))
    assert read.levels == TOKENS
