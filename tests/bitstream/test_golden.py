"""Golden streams decode for ever, and docs/format.md alone is enough to decode them."""

from __future__ import annotations

import pytest
from golden_files import golden_names, load_golden
from reference_decoder import decode_stream

from vqcodec.bitstream import read_header, read_stream

NAMES = golden_names()


def test_golden_streams_are_there() -> None:
    assert len(NAMES) >= 18


@pytest.mark.parametrize("name", NAMES)
def test_golden_stream_decodes(name: str) -> None:
    golden = load_golden(name)
    stream = read_stream(golden.data, lambda model_id: golden.model)
    assert stream.complete
    assert stream.tokens == golden.tokens
    assert stream.boxes == golden.boxes
    assert (stream.header.width, stream.header.height) == (golden.record["width"], golden.record["height"])
    assert stream.header.entropy_id == golden.record["entropy_id"]
    assert stream.header.model_id.hex() == golden.record["model_id"]
    assert read_header(golden.data).payload_bytes == stream.payload_bytes


@pytest.mark.parametrize("name", NAMES)
def test_reference_decoder_agrees(name: str) -> None:
    golden = load_golden(name)
    record = golden.record
    stream = decode_stream(golden.data, record["grids"], record["static_tables"])
    assert stream.levels == record["tokens"]
    assert (stream.width, stream.height, stream.entropy_id) == (
        record["width"],
        record["height"],
        record["entropy_id"],
    )
    assert stream.model_id.hex() == record["model_id"]
