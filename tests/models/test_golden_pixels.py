"""Golden streams decode to the same pixels, golden pictures become the same tokens: for ever, on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from vqcodec.codec import Codec
from vqcodec.native.library import core

GOLDEN = Path(__file__).parents[1] / "golden" / "pixels_v1"
RELEASED = Path(__file__).parents[2] / "released"
PARTIAL = GOLDEN.with_name("partial_v1")
PIXELS_OF_PARTS = json.loads((PARTIAL / "golden.json").read_text(encoding="utf-8"))
EXPECTED = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))

pytestmark = pytest.mark.skipif(core() is None, reason="the core in C is not there")


def codec_and_stream(name: str) -> tuple[Codec, bytes]:
    folder = GOLDEN / name
    if folder.is_dir():
        return Codec.load(folder, device="cpu"), (folder / "stream.vq").read_bytes()
    return Codec.load(RELEASED / name, device="cpu"), (GOLDEN / f"{name}.vq").read_bytes()


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@pytest.mark.parametrize("name", EXPECTED)
def test_golden_streams_have_their_pixels(name: str) -> None:
    codec, stream = codec_and_stream(name)
    for levels, expected in enumerate(EXPECTED[name]["pixels"], start=1):
        assert sha256(codec.decode_stream(stream, levels=levels).image.rgb) == expected


@pytest.mark.parametrize("name", EXPECTED)
def test_the_golden_picture_becomes_its_tokens(name: str) -> None:
    codec, stream = codec_and_stream(name)
    made = codec.encode(GOLDEN / "picture.png")
    for data in (made, stream):
        assert [sha256(grid.indices.astype("<u4")) for grid in codec.read(data).tokens.levels] == EXPECTED[name][
            "tokens"
        ]
    assert made == stream


@pytest.mark.parametrize("name", PIXELS_OF_PARTS)
def test_golden_streams_of_parts_have_their_pixels(name: str) -> None:
    codec = Codec.load(GOLDEN / name.split("-")[0], device="cpu")
    stream = (PARTIAL / f"{name}.vq").read_bytes()
    decoded = codec.decode_stream(stream)
    assert decoded.stream.blocks is not None
    assert sha256(decoded.image.rgb) == PIXELS_OF_PARTS[name]
