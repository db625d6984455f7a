"""The codec with models whose streams a context network codes, alone or after a transformer."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from context_helpers import write_context
from prior_helpers import write_prior

from vqcodec.bitstream import PRIOR_ID, read_header, truncated_stream
from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import CARD_FILE, ENTROPY_FILE, load_model_folder
from vqcodec.cards.prior_card import load_prior_folder
from vqcodec.codec import Codec
from vqcodec.prior.context_config import ContextConfig
from vqcodec.training.data.pictures import ArrayPictures
from vqcodec.training.export import export_entropy_prior

ROWS, COLS = np.mgrid[:59, :83]
PICTURE = np.stack([128 + 90 * np.sin(ROWS / 9 + n) * np.cos(COLS / 7) for n in range(3)], axis=2).astype(np.uint8)
CROPS = ArrayPictures(np.random.default_rng(3).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))


@pytest.fixture(scope="module", params=["context", "both"])
def folder(request: pytest.FixtureRequest, context_model: Path, two_priors_model: Path) -> Path:
    return context_model if request.param == "context" else two_priors_model


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return Codec.load(folder, device="cpu")


def test_streams_come_back(codec: Codec) -> None:
    stream = codec.encode(PICTURE)
    assert read_header(stream).header.entropy_id == PRIOR_ID
    assert codec.read(stream).tokens == codec.read(codec.encode(PICTURE, entropy="uniform")).tokens
    assert codec.decode(stream).tobytes() == codec.decode(codec.encode(PICTURE, entropy="static")).tobytes()


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_first_levels_are_a_prefix(levels: int, codec: Codec) -> None:
    stream, model = codec.encode(PICTURE), codec.model.stream_model
    short = codec.encode(PICTURE, levels=levels)
    assert truncated_stream(stream, lambda _: model, levels=levels) == short
    assert read_header(stream).payload_bytes[:levels] == read_header(short).payload_bytes
    assert codec.decode(short).tobytes() == codec.decode(stream, levels=levels).tobytes()


def test_rates(codec: Codec) -> None:
    whole = codec.encode(PICTURE)
    smallest = codec.encode(PICTURE, quality=0)
    for limit in (len(whole) - 1, (len(whole) + len(smallest)) // 2, len(smallest)):
        limited = codec.encode(PICTURE, max_bytes=limit)
        assert len(smallest) <= len(limited) <= limit
        assert codec.decode(limited).size == (83, 59)
    assert len(codec.encode(PICTURE, weight=0.2)) < len(whole)


@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 130), (40, 9)])
def test_pictures_of_any_size(codec: Codec, size: tuple[int, int]) -> None:
    picture = np.resize(PICTURE, (*size, 3))
    assert codec.decode_stream(codec.encode(picture)).image.rgb.shape == picture.shape


def test_the_card_survives_json(codec: Codec, folder: Path, hierarchical_model: Path) -> None:
    load_model_folder.cache_clear()
    card = load_model_folder(folder).card
    assert card == codec.card
    stated = card.entropy_prior
    assert stated is not None
    assert stated.context is not None
    assert stated.context.first == (stated.prior.levels if stated.prior else 0)
    before = load_model_folder(hierarchical_model).card
    assert card.reads == (before.model_id.hex(),)
    other = dataclasses.replace(stated, context=dataclasses.replace(stated.context, hidden=11))
    assert dataclasses.replace(card, entropy_prior=other).fingerprint != card.fingerprint


def test_the_file_holds_what_is_used_alone(two_priors_model: Path) -> None:
    from safetensors.numpy import load_file

    names = load_file(two_priors_model / ENTROPY_FILE).keys()
    assert {name.split(".")[1] for name in names if name.startswith("context.")} == {"2", "3"}
    assert {name for name in names if name.startswith("heads.")} == {
        f"heads.{level}.{part}" for level in (0, 1) for part in ("weight", "scale", "offset")
    }


def test_a_damaged_network_is_told_when_it_is_needed(context_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(context_model, copy)
    path = copy / ENTROPY_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    codec = Codec.load(copy, device="cpu")
    with pytest.raises(ModelError, match=rf"{ENTROPY_FILE}: not the integer prior that model"):
        codec.encode(PICTURE, entropy="prior")


def test_arrays_that_do_not_fit_the_card(context_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(context_model, copy)
    card = load_model_folder(copy).card
    stated = card.entropy_prior
    assert stated is not None
    assert stated.context is not None
    wrong = dataclasses.replace(stated, context=dataclasses.replace(stated.context, hidden=11))
    dataclasses.replace(card, entropy_prior=wrong).save(copy)
    load_model_folder.cache_clear()
    with pytest.raises(ModelError, match=r"no integer prior of this card \(context.0.inner.weight: numbers \(11, 12\)"):
        Codec.load(copy, device="cpu").encode(PICTURE, entropy="prior")


@pytest.mark.parametrize(
    "change",
    [{"context": None}, {"context": 3}, {"context": {"kind": "context"}}, {"context": {}}, {"prior": {}}, {"more": 1}],
)
def test_a_card_that_is_no_card(change: dict[str, object], context_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(context_model, copy)
    card = json.loads((copy / CARD_FILE).read_text(encoding="utf-8"))
    card["entropy_prior"] |= change
    (copy / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    load_model_folder.cache_clear()
    with pytest.raises(ModelError, match="not a valid model card"):
        load_model_folder(copy)


# ---- making one ----


@pytest.fixture
def model(hierarchical_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(hierarchical_model, tmp_path / "model"))


def test_a_network_that_does_not_go_on_where_the_transformer_ends(model: Path, tmp_path: Path) -> None:
    transformer = load_prior_folder(write_prior(tmp_path / "t", model, classes=(), levels=2))
    late = load_prior_folder(write_context(tmp_path / "late", model, first=3))
    with pytest.raises(ModelError, match="late: has the levels 4 to 4; it must go on at level 3"):
        export_entropy_prior(model, transformer, CROPS, crops=1, context=late)
    with pytest.raises(ModelError, match="late: has the levels 4 to 4; it must go on at level 1"):
        export_entropy_prior(model, late, None, crops=1)
    early = load_prior_folder(write_context(tmp_path / "early", model, levels=2))
    with pytest.raises(ModelError, match="early: has the levels 1 to 2; it must go on at level 3"):
        export_entropy_prior(model, transformer, CROPS, crops=1, context=early)
    assert not (model / ENTROPY_FILE).exists()


def test_kinds_in_each_others_place(model: Path, tmp_path: Path) -> None:
    transformer = load_prior_folder(write_prior(tmp_path / "t", model, classes=(), levels=2))
    network = load_prior_folder(write_context(tmp_path / "c", model))
    with pytest.raises(ModelError, match="prior random is a context network, and no transformer, which is wanted here"):
        export_entropy_prior(model, network, CROPS, crops=1, context=network)
    with pytest.raises(ModelError, match="prior random is no context network"):
        export_entropy_prior(model, transformer, CROPS, crops=1, context=transformer)
    with pytest.raises(ModelError, match="t: pictures must show how large the activations of a transformer get"):
        export_entropy_prior(model, transformer, None, crops=1, context=network)


def test_a_network_of_another_model(model: Path, tiny_model: Path, tmp_path: Path) -> None:
    network = load_prior_folder(write_context(tmp_path / "c", tiny_model))
    with pytest.raises(ModelError, match="is for the tokens of model tiny"):
        export_entropy_prior(model, network, None, crops=1)


def test_a_model_of_one_resolution(tiny_model: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny_model, tmp_path / "model"))
    network = load_prior_folder(write_context(tmp_path / "c", model))
    card = export_entropy_prior(model, network, None, crops=1)
    assert card.entropy_prior is not None
    assert card.entropy_prior.prior is None
    assert isinstance(card.entropy_prior.context, ContextConfig)
    codec = Codec.load(model, device="cpu")
    stream = codec.encode(PICTURE)
    assert read_header(stream).header.entropy_id == PRIOR_ID
    assert codec.read(stream).tokens == codec.read(codec.encode(PICTURE, entropy="static")).tokens
