"""Models whose streams a prior codes: their card and id, what they write and read, and what goes wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prior_helpers import CLASSES, write_prior

from vqcodec.bitstream import PRIOR_ID, STATIC_ID, read_header
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cards.model_card import CARD_FILE, ENTROPY_FILE, load_model_folder
from vqcodec.cards.prior_card import find_prior
from vqcodec.codec import Codec
from vqcodec.pictures.image import LoadedImage
from vqcodec.training.data.pictures import ArrayPictures
from vqcodec.training.export import export_entropy_prior

PICTURE = LoadedImage(np.random.default_rng(2).integers(0, 256, (37, 50, 3), dtype=np.uint8))
CROPS = ArrayPictures(np.random.default_rng(3).integers(0, 256, (2, 256, 256, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def codec(coding_model: Path) -> Codec:
    return Codec.load(coding_model, device="cpu")


@pytest.fixture
def copy(coding_model: Path, tmp_path: Path) -> Path:
    shutil.copytree(coding_model, tmp_path / "copy")
    load_model_folder.cache_clear()
    return tmp_path / "copy"


def test_streams_are_coded_by_the_prior_and_come_back(codec: Codec) -> None:
    stream = codec.encode(PICTURE, entropy="prior")
    assert read_header(stream).header.entropy_id == PRIOR_ID
    same = codec.read(codec.encode(PICTURE, entropy="uniform")).tokens
    assert codec.read(stream).tokens == same
    assert codec.decode(stream).tobytes() == codec.decode(codec.encode(PICTURE, entropy="static")).tobytes()


def test_the_first_levels_are_a_prefix(codec: Codec) -> None:
    one, two = codec.encode(PICTURE, levels=1, entropy="prior"), codec.encode(PICTURE, entropy="prior")
    assert codec.decode(one).tobytes() == codec.decode(two, levels=1).tobytes()
    first = read_header(two).payload_bytes[0]
    assert read_header(one).payload_bytes == (first,)


def test_a_model_with_a_prior_has_an_id_of_its_own_and_reads_what_it_wrote_before(
    codec: Codec, tiny_model: Path
) -> None:
    before = Codec.load(tiny_model, device="cpu")
    assert codec.card.model_id != before.card.model_id
    assert codec.card.reads == (before.card.model_id.hex(),)
    stream = before.encode(PICTURE)
    assert read_header(stream).header.entropy_id == STATIC_ID
    assert codec.decode(stream).tobytes() == before.decode(stream).tobytes()
    assert codec.model.size_bytes > before.model.size_bytes + 10_000


def test_the_card_survives_json(codec: Codec, coding_model: Path) -> None:
    load_model_folder.cache_clear()
    card = load_model_folder(coding_model).card
    assert card == codec.card
    assert card.entropy_prior is not None
    assert card.entropy_prior.prior == find_prior(codec.model).card.prior
    other = dataclasses.replace(card.entropy_prior, sha256="ab" * 32)
    assert dataclasses.replace(card, entropy_prior=other).fingerprint != card.fingerprint


def test_a_model_without_a_prior_says_so(tiny_model: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu")
    with pytest.raises(ModelError, match="model tiny has no prior; use --entropy static"):
        codec.encode(PICTURE, entropy="prior")


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")])
def test_a_missing_or_damaged_prior_is_told_when_it_is_needed(damage: Callable[[Path], object], copy: Path) -> None:
    stream = Codec.load(copy, device="cpu").encode(PICTURE, entropy="prior")
    damage(copy / ENTROPY_FILE)
    load_model_folder.cache_clear()
    codec = Codec.load(copy, device="cpu")
    for use in (lambda: codec.decode(stream), lambda: codec.encode(PICTURE, entropy="prior")):
        with pytest.raises(ModelError, match=rf"{ENTROPY_FILE}: .*the integer prior (cannot|that model tiny's)"):
            use()
    assert codec.decode(codec.encode(PICTURE, entropy="static")).size == (50, 37)


@pytest.mark.parametrize("values", [{}, {"prior": {}, "sha256": ""}, 3, {"prior": None, "sha256": 1}])
def test_a_card_that_is_no_card(values: object, copy: Path) -> None:
    card = json.loads((copy / CARD_FILE).read_text(encoding="utf-8"))
    (copy / CARD_FILE).write_text(json.dumps(card | {"entropy_prior": values or {"prior": 2}}), encoding="utf-8")
    with pytest.raises(ModelError, match="not a valid model card"):
        load_model_folder(copy)


# ---- making one ----


def test_a_model_gets_one_prior_only(copy: Path) -> None:
    before = sorted((path.name, path.stat().st_mtime_ns) for path in copy.iterdir())
    with pytest.raises(ModelError, match="has a prior that codes its streams, which need it; export the model anew"):
        export_entropy_prior(copy, find_prior(load_model_folder(copy)), CROPS, crops=1)
    assert sorted((path.name, path.stat().st_mtime_ns) for path in copy.iterdir()) == before


def test_a_prior_that_knows_classes_cannot_code(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    prior = find_prior(load_model_folder(folder), write_prior(tmp_path / "prior", tiny_model, classes=CLASSES))
    with pytest.raises(ModelError, match=r"prior: a prior that codes streams knows tokens alone"):
        export_entropy_prior(folder, prior, CROPS, crops=1)
    assert not (folder / ENTROPY_FILE).exists()


def test_a_prior_whose_sums_could_be_rounded_cannot_code(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    prior = find_prior(load_model_folder(folder), write_prior(tmp_path / "prior", tiny_model, classes=(), radius=9))
    with pytest.raises(ModelError, match=r"prior: radius 9, .*: too many to add up"):
        export_entropy_prior(folder, prior, CROPS, crops=1)
    assert not (folder / ENTROPY_FILE).exists()


def test_a_prior_of_another_model_cannot_code(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    with pytest.raises(ModelError, match="is for the tokens of model"):
        export_entropy_prior(folder, find_prior(find_model(DEFAULT_MODEL)), CROPS, crops=1)
