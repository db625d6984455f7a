"""The codec with a model for pictures of one size, VAR's: streams, rates, commands, and what cannot be done with it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_helpers import only_error, vqcodec
from official_layouts import scales_network, var
from PIL import Image

from vqcodec.bitstream import truncated_stream, write_stream
from vqcodec.cards.errors import ModelError
from vqcodec.checkpoints.importing import import_checkpoint
from vqcodec.codec import Codec
from vqcodec.dataset.reader import TokenDataset
from vqcodec.generation.conditions import Condition
from vqcodec.generation.guidance import optimize_latents, optimize_tokens
from vqcodec.generation.refinement import RefinementError, Refiner
from vqcodec.pictures.image import to_tensor
from vqcodec.prior.config import prior_config

ROWS, COLS = np.mgrid[:24, :24]
PICTURE = np.stack([128 + 90 * np.sin(ROWS / 5 + n) * np.cos(COLS / 4) for n in range(3)], axis=2).astype(np.uint8)
ONLY = "takes pictures of 24 x 24 pixels only, and this one has"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    torch.save(var(scales_network()), folder / "vae.pth")
    (folder / "config.json").write_text(json.dumps({"z_channels": 6, "v_patch_nums": [1, 2, 3, 6]}))
    return import_checkpoint(str(folder), "var", folder=folder / "var").model.path


@pytest.fixture(scope="module")
def codec(model: Path) -> Codec:
    return Codec.load(model, device="cpu")


def test_a_stream_holds_grids_that_grow(codec: Codec) -> None:
    stream = codec.encode(PICTURE)
    read = codec.read(stream)
    assert [grid.shape for grid in read.tokens.levels] == [(1, 1), (2, 2), (3, 3), (6, 6)]
    tokens = scales_network().tokenize(to_tensor(PICTURE, 4))
    assert [grid.indices.tolist() for grid in read.tokens.levels] == [grid[0].tolist() for grid in tokens]
    decoded = np.asarray(codec.decode(stream)).astype(int)
    expected = scales_network().detokenize(tokens)[0].permute(1, 2, 0).numpy() * 127.5 + 127.5
    assert np.abs(decoded - expected.clip(0, 255)).max() < 0.51


def test_fewer_levels_are_a_prefix(codec: Codec) -> None:
    stream, card = codec.encode(PICTURE), codec.model.stream_model
    for levels in (1, 2, 3):
        short = codec.encode(PICTURE, levels=levels)
        assert codec.read(truncated_stream(stream, lambda _: card, levels=levels)).tokens == codec.read(short).tokens
        assert codec.decode(short).size == (24, 24)


def test_rates(codec: Codec) -> None:
    whole = codec.encode(PICTURE)
    assert codec.encode(PICTURE, quality=100) == whole
    limited = codec.encode(PICTURE, max_bytes=len(whole) - 1)
    assert len(limited) < len(whole)
    assert codec.decode(limited).size == (24, 24)


@pytest.mark.parametrize("shape", [(24, 23), (23, 24), (48, 48), (1, 1)])
def test_pictures_of_other_sizes_are_refused(shape: tuple[int, int], codec: Codec) -> None:
    pixels = np.zeros((*shape, 3), np.uint8)
    for refused in (codec.encode, codec.tokenize_pixels):
        with pytest.raises(ModelError, match=f"model var {ONLY} {shape[1]} x {shape[0]}; crop or resize it"):
            refused(pixels)
    with pytest.raises(ModelError, match=ONLY):
        codec.write([np.zeros((1, side, side), np.int64) for side in (1, 2, 3, 6)], shape[1], shape[0])


def test_tensors_of_other_sizes_are_refused(codec: Codec) -> None:
    with pytest.raises(ValueError, match="expected pictures of 24 x 24 pixels, got"):
        codec.tokenize(np.zeros((1, 3, 24, 28), np.float32))
    for sides in ((2,), (1, 2, 3, 7), (2, 4, 6, 12)):
        with pytest.raises(ValueError, match="expected token"):
            codec.detokenize([np.zeros((1, side, side), np.int64) for side in sides])


def test_a_stream_that_states_another_size_is_refused(codec: Codec) -> None:
    tokens = codec.read(codec.encode(PICTURE)).tokens
    other = write_stream(tokens, model=codec.model.stream_model, width=23, height=24, entropy_id=0)
    with pytest.raises(ModelError, match=f"{ONLY} 23 x 24"):
        codec.decode(other)


def test_commands(model: Path, tmp_path: Path) -> None:
    assert "pictures    of 24 x 24 pixels only" in vqcodec("models", "add", model, "--out", tmp_path / "copy").stdout
    photo, stream, made = tmp_path / "a.png", tmp_path / "a.vq", tmp_path / "b.png"
    Image.fromarray(PICTURE).save(photo)
    assert vqcodec("encode", photo, stream, "--model", model).exit_code == 0
    assert vqcodec("decode", stream, made, "--model", model).exit_code == 0
    with Image.open(made) as decoded:
        assert decoded.size == (24, 24)
    Image.fromarray(PICTURE[:20]).save(tmp_path / "c.png")
    assert f"c.png: model var {ONLY} 24 x 20" in only_error(
        vqcodec("encode", tmp_path / "c.png", tmp_path / "c.vq", "--model", model)
    )
    assert "levels of several resolutions" in only_error(vqcodec("export", "onnx", model, tmp_path / "onnx"))


def test_a_dataset_of_tokens_has_crops_of_that_size(model: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(np.tile(PICTURE, (2, 2, 1))).save(pictures / "a.png")
    arguments = ("tokenize", pictures, "-o", tmp_path / "out", "--model", model, "--workers", 1)
    for size in (256, "native"):
        assert f"size {size}: model var takes pictures of 24 x 24 pixels only; take 24" in only_error(
            vqcodec(*arguments, "--size", size)
        )
    assert vqcodec(*arguments, "--size", 24).exit_code == 0
    row = TokenDataset(str(tmp_path / "out"))[0]
    assert [grid.shape for grid in row["levels"]] == [(1, 1), (2, 2), (3, 3), (6, 6)]


def test_what_cannot_be_done_yet(codec: Codec, tmp_path: Path) -> None:
    for guided in (optimize_latents, optimize_tokens):
        with pytest.raises(ValueError, match="levels with grids of one size: it cannot be guided yet"):
            guided(codec, lambda images: images.mean(dim=(1, 2, 3)), start=(24, 24))
    refiner = Refiner.__new__(Refiner)
    with pytest.raises(RefinementError, match="levels with grids of one size, which are not refined"):
        refiner(codec, PICTURE, 2)
    with pytest.raises(ValueError, match="priors of levels with grids of one size are not learned yet"):
        prior_config(codec.card.autoencoder, "tiny")


def test_it_makes_no_conditions(codec: Codec) -> None:
    with pytest.raises(ModelError, match="has levels with grids of one size: it cannot make conditions"):
        Condition("low-4", codec)
