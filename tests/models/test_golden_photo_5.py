"""The embedded model's golden streams decode to the same tokens and the same pixels: for ever, on every machine."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_pixels
from reference_context import ReferenceContext
from reference_decoder import decode_stream
from reference_prior import ReferencePrior
from safetensors.numpy import load_file

from vqcodec.bitstream.truncation import truncated_stream
from vqcodec.cards.finding import _FORMER_MODELS, find_model, installed_models
from vqcodec.cards.model_card import ENTROPY_FILE, WEIGHTS_FILE, load_model_folder
from vqcodec.codec import Codec
from vqcodec.native.library import core, units
from vqcodec.pictures import tiling

GOLDEN = Path(__file__).parents[1] / "golden" / "photo_5_v1"
ABOUT = json.loads((GOLDEN / "golden.json").read_text(encoding="utf-8"))
EXPECTED: dict[str, dict[str, Any]] = ABOUT["streams"]
KEPT = [name for name, about in EXPECTED.items() if about["picture"]]
SMALL = [name for name in KEPT if name.startswith(("dot", "small"))]

needs_core = pytest.mark.skipif(core() is None, reason="the core in C is not there")


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec.load("photo-5")


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def stream_of(name: str) -> bytes:
    return (GOLDEN / f"{name}.vq").read_bytes()


def check_tokens(codec: Codec, name: str) -> None:
    tokens = codec.read(stream_of(name)).tokens.levels
    assert [sha256(grid.indices.astype("<u4")) for grid in tokens] == EXPECTED[name]["tokens"]


def test_the_model_is_the_one_of_the_golden_streams() -> None:
    assert find_model("photo-5").card.fingerprint == ABOUT["fingerprint"]


def test_no_embedded_model_decodes_streams_of_another_one() -> None:
    models = [model.card for model in installed_models() if "pretrained" in model.path.parts]
    others = {card.model_id.hex() for card in models} | {name for ids in _FORMER_MODELS.values() for name in ids}
    assert "photo-5" in {card.name for card in models}
    assert not others.intersection(*[card.reads for card in models])


@pytest.mark.parametrize("name", EXPECTED)
def test_golden_streams_have_their_tokens(codec: Codec, name: str) -> None:
    check_tokens(codec, name)


@pytest.mark.parametrize("name", EXPECTED)
def test_golden_streams_have_their_tokens_without_the_core(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    load_model_folder.cache_clear()
    check_tokens(Codec.load("photo-5", device="cpu"), name)
    load_model_folder.cache_clear()


@needs_core
@pytest.mark.parametrize("name", EXPECTED)
def test_golden_streams_have_their_pixels(codec: Codec, name: str) -> None:
    for levels, pixels in enumerate(EXPECTED[name]["pixels"], start=1):
        assert sha256(codec.decode_stream(stream_of(name), levels=levels).image.rgb) == pixels


@needs_core
@pytest.mark.parametrize("name", ["photo", "photo-part-3", "photo-regions"])
@pytest.mark.parametrize("threads", ["1", "3"])
def test_no_unit_thread_or_tile_changes_a_pixel(
    codec: Codec, name: str, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = core()
    assert library is not None
    monkeypatch.setenv("VQCODEC_THREADS", threads)
    monkeypatch.setattr(tiling, "TILE_TOKENS", 3 if threads == "3" else tiling.TILE_TOKENS)
    best = library.vq_unit()
    try:
        for unit in units(library):
            assert not library.vq_unit_choose(unit.encode())
            assert sha256(codec.decode_stream(stream_of(name)).image.rgb) == EXPECTED[name]["pixels"][-1]
    finally:
        library.vq_unit_choose(best)


@needs_core
@pytest.mark.parametrize("name", ["photo", "photo-part-2", "photo-part-6", "photo-regions"])
def test_a_crop_is_a_part_of_the_picture(codec: Codec, name: str) -> None:
    whole = codec.decode_stream(stream_of(name)).image.rgb
    for left, top, width, height in ((0, 0, 1, 1), (206, 134, 1, 1), (63, 30, 90, 64), (0, 100, 207, 9)):
        part = codec.decode_stream(stream_of(name), crop=(left, top, width, height)).image.rgb
        assert np.array_equal(part, whole[top : top + height, left : left + width])


@needs_core
@pytest.mark.parametrize("levels", range(1, 7))
def test_a_truncated_stream_is_one_of_fewer_levels(codec: Codec, levels: int) -> None:
    truncated = truncated_stream(stream_of("photo"), lambda _: codec.model.stream_model, levels)
    assert sha256(codec.decode_stream(truncated).image.rgb) == EXPECTED["photo"]["pixels"][levels - 1]


@needs_core
def test_a_stream_that_is_cut_off_has_its_whole_levels(codec: Codec) -> None:
    decoded = codec.decode_stream(stream_of("photo")[:-1], allow_partial=True)
    assert (len(decoded.stream.tokens), decoded.stream.complete) == (5, False)
    assert sha256(decoded.image.rgb) == EXPECTED["photo"]["pixels"][4]


@needs_core
@pytest.mark.parametrize("name", SMALL)
def test_a_decoder_written_from_the_format_gives_the_same(codec: Codec, name: str) -> None:
    card, folder = codec.card, codec.model.path
    assert card.entropy_prior is not None
    shapes, arrays = card.entropy_prior.to_dict(), load_file(folder / ENTROPY_FILE)
    prior = ReferenceContext(arrays, shapes["context"], ReferencePrior(arrays, shapes["prior"]))
    grids = [(grid.downsampling_factor, grid.codebook_size) for grid in codec.model.stream_model.grids]
    read, reference = codec.read(stream_of(name)), decode_stream(stream_of(name), grids, prior=prior)
    assert [grid.indices.tolist() for grid in read.tokens.levels] == reference.levels
    weights = {key: value.astype(np.float32) for key, value in load_file(folder / WEIGHTS_FILE).items()}
    size = (read.header.width, read.header.height)
    made = reference_pixels.decode(weights, card.autoencoder.to_dict(), read.grids(len(read.tokens)), size)
    assert sha256(made) == EXPECTED[name]["pixels"][-1]


@needs_core
@pytest.mark.parametrize("name", KEPT)
def test_golden_pictures_become_their_streams(codec: Codec, name: str) -> None:
    """Not a promise: another way to choose tokens may change what pictures become, but nothing else."""
    made = codec.encode(GOLDEN / EXPECTED[name]["picture"], **EXPECTED[name]["how"])
    assert made == stream_of(name)
