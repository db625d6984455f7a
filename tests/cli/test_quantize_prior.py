"""vqcodec quantize-prior, and encoding with what it makes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from cli_helpers import make_picture, names_in, only_error, vqcodec
from prior_helpers import write_prior

from vqcodec.bitstream import CorruptStreamError, read_header
from vqcodec.cards.model_card import ENTROPY_FILE, load_model_folder
from vqcodec.codec import Codec


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model with a prior that does not code yet."""
    shutil.copytree(tiny_model, tmp_path / "model")
    write_prior(tmp_path / "model" / "prior", tiny_model, classes=())
    make_picture(tmp_path / "photos" / "a.png", 300, 280)
    return tmp_path / "model"


def test_streams_can_be_coded_by_the_prior_from_then_on(model: Path, photo: Path, tmp_path: Path) -> None:
    before = load_model_folder(model).card.model_id.hex()
    vqcodec("encode", photo, tmp_path / "old.vq", "--model", model)
    result = vqcodec("quantize-prior", model, "--data", tmp_path / "photos", "--crops", 2)
    assert (result.exit_code, result.stderr) == (0, "")
    after = load_model_folder(model).card.model_id.hex()
    assert result.stdout == f"{model}: tiny can code streams with its prior; its id was {before}, it is {after}\n"

    for name, options in (
        ("prior", ("--entropy", "prior")),
        ("static", ("--entropy", "static")),
        ("uniform", ("--entropy", "uniform")),
    ):
        told = vqcodec("encode", photo, tmp_path / f"{name}.vq", "--model", model, "--json", *options)
        assert json.loads(told.stdout)["entropy"] == name
        assert read_header((tmp_path / f"{name}.vq").read_bytes()).header.model_id.hex() == after
    pictures = []
    for name in ("old", "prior", "static", "uniform"):
        assert vqcodec("decode", tmp_path / f"{name}.vq", tmp_path / "out.png", "--model", model, "-f").exit_code == 0
        pictures.append((tmp_path / "out.png").read_bytes())
    assert len(set(pictures)) == 1


def test_a_model_has_one_prior_only(coding_model: Path, tmp_path: Path) -> None:
    make_picture(tmp_path / "photos" / "a.png", 300, 280)
    line = only_error(vqcodec("quantize-prior", coding_model, "--data", tmp_path / "photos"))
    assert line.endswith(
        f"error: {coding_model}: has a prior that codes its streams, which need it; export the model anew"
    )


def test_a_prior_that_lacks_levels_cannot_code(tiny_model: Path, model: Path, tmp_path: Path) -> None:
    shutil.rmtree(model / "prior")
    write_prior(model / "prior", tiny_model, classes=(), levels=1)
    line = only_error(vqcodec("quantize-prior", model, "--data", tmp_path / "photos", "--crops", 2))
    assert line == f"error: {model / 'prior'}: has 1 levels, and {model} has 2: train a prior of all"


def test_a_model_without_a_prior(tiny_model: Path, tmp_path: Path) -> None:
    make_picture(tmp_path / "photos" / "a.png", 300, 280)
    line = only_error(vqcodec("quantize-prior", tiny_model, "--data", tmp_path / "photos"))
    assert line.startswith("error: model tiny has no prior; train one with `vqcodec train stage2 --model tiny`")
    assert ENTROPY_FILE not in names_in(tiny_model)


def test_a_model_without_a_prior_cannot_encode_with_one(tiny_model: Path, photo: Path, tmp_path: Path) -> None:
    result = vqcodec("encode", photo, tmp_path / "out.vq", "--model", tiny_model, "--entropy", "prior")
    assert only_error(result) == f"error: {photo}: model tiny has no prior; use --entropy static"


def test_streams_are_read_back_unless_told_not_to(
    coding_model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*given: object, **named: object) -> None:
        raise CorruptStreamError("read back")

    monkeypatch.setattr(Codec, "read", failing)
    line = only_error(vqcodec("encode", photo, tmp_path / "out.vq", "--model", coding_model))
    assert line.endswith("read back")
    assert "out.vq" not in names_in(tmp_path)
    assert vqcodec("encode", photo, tmp_path / "out.vq", "--model", coding_model, "--no-verify").exit_code == 0
