"""A model is copied whole or not at all, to where its name says."""

from __future__ import annotations

import errno
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cli_helpers import make_other_model, names_in

from vqcodec.cards import installing
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import user_models_folder
from vqcodec.cards.installing import install_model
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec


@pytest.fixture(autouse=True)
def _own_data_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def test_what_cannot_be_copied_leaves_the_model_that_was_there(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_model(str(tiny_model))
    other = make_other_model(tmp_path / "other" / "other", tiny_model)
    with_prior = shutil.copytree(tiny_model, tmp_path / "again")
    (with_prior / "prior").mkdir()
    (with_prior / "prior" / "prior.json").write_text("{}")

    def full(source: Path, target: Path) -> None:
        if source.name == "card.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        target.write_bytes(source.read_bytes())

    monkeypatch.setattr(installing.shutil, "copyfile", full)
    for source in (other, with_prior):
        with pytest.raises(OSError, match="No space left on device"):
            install_model(str(source), user_models_folder() / "tiny", overwrite=True)
        assert names_in(user_models_folder()) == ["tiny/card.json", "tiny/stage1.safetensors"]
        assert Codec.load(user_models_folder() / "tiny").card.name == "tiny"
    monkeypatch.undo()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    install_model(str(with_prior), overwrite=True)
    assert "tiny/prior/prior.json" in names_in(user_models_folder())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_that_is_none_of_a_folder(name: str, tiny_model: Path, tmp_path: Path) -> None:
    model = shutil.copytree(tiny_model, tmp_path / "model")
    replace(load_model_folder(model).card, name=name).save(model)
    load_model_folder.cache_clear()
    with pytest.raises(ModelError, match=r": no name of a folder; .*; give --out"):
        install_model(str(model))
    assert not user_models_folder().exists()
    assert install_model(str(model), tmp_path / "out").card.name == name
