"""vqcodec export: a checkpoint becomes the folder of a model or of a prior, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cli_helpers import make_picture, names_in, only_error, vqcodec
from click.testing import Result
from prior_helpers import random_prior

from vqcodec.cards.engines import load_network
from vqcodec.cards.model_card import load_model_folder
from vqcodec.cards.prior_card import PriorCard, load_prior_folder
from vqcodec.codec import Codec
from vqcodec.training import export as training_export
from vqcodec.training.common.checkpoint import save_checkpoint
from vqcodec.training.stage2.recipe import Stage2Config


@pytest.fixture
def checkpoint(tiny_model: Path, tmp_path: Path) -> Path:
    model = load_model_folder(tiny_model)
    state = {
        "average": load_network(model).state_dict(),
        "model_config": model.card.autoencoder.to_dict(),
        "config": {"seed": 0},
        "origin": {},
    }
    return save_checkpoint(tmp_path / "run", 7, state)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make_picture(tmp_path / "data" / "a.png", 64, 48).parent


def export(checkpoint: Path, folder: Path, data: Path, *more: object) -> Result:
    words = ("--name", "new", "--description", "random weights", "--licence", "MIT")
    return vqcodec("export", checkpoint, folder, "--data", data, *words, *more)


def test_a_checkpoint_becomes_a_model_that_encodes(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    result = export(checkpoint, tmp_path / "models" / "new", data)
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    card = load_model_folder(tmp_path / "models" / "new").card
    assert result.stdout == f"{tmp_path / 'models' / 'new'}: model new ({card.model_id.hex()})\n"
    assert (card.name, card.licence, card.training["steps"]) == ("new", "MIT", 7)
    assert names_in(tmp_path / "models") == ["new/card.json", "new/stage1.safetensors"]
    codec = Codec.load(tmp_path / "models" / "new")
    assert codec.default_entropy == "static"
    codec.decode(codec.encode(data / "a.png"))


def test_a_model_is_replaced_only_with_force_and_other_files_stay(checkpoint: Path, data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    line = only_error(export(checkpoint, folder, data))
    assert line == f"error: {folder}: exists already; give -f to overwrite it"
    assert export(checkpoint, folder, data, "-f").exit_code == 0
    assert names_in(folder) == ["card.json", "notes.txt", "stage1.safetensors"]


def test_a_failure_leaves_nothing_and_keeps_the_old_model(
    checkpoint: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "models" / "new"

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_export, "_static_frequencies", interrupted)
    result = export(checkpoint, folder, data)
    assert result.exit_code == 130
    assert "Aborted!" in result.stderr
    assert not folder.exists()
    assert names_in(folder.parent) == []
    monkeypatch.undo()
    assert export(checkpoint, folder, data).exit_code == 0
    before = {name: (folder / name).read_bytes() for name in names_in(folder)}
    monkeypatch.setattr(training_export, "_static_frequencies", interrupted)
    assert export(checkpoint, folder, data, "-f").exit_code == 130
    assert {name: (folder / name).read_bytes() for name in names_in(folder)} == before


def test_what_is_no_checkpoint_of_stage_1_is_named(data: Path, tmp_path: Path) -> None:
    for name, content in (("gone.pt", None), ("text.pt", b"text"), ("other.pt", {"step": 1}), ("list.pt", [1, 2])):
        path = tmp_path / name
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        line = only_error(export(path, tmp_path / "new", data))
        assert line.startswith(f"error: {path}: ")
        assert "checkpoint" in line
        assert not (tmp_path / "new").exists()


def test_a_model_needs_pictures(checkpoint: Path, tmp_path: Path) -> None:
    words = ("--name", "new", "--description", "random weights", "--licence", "MIT")
    result = vqcodec("export", checkpoint, tmp_path / "new", *words)
    assert result.exit_code == 2
    assert "a model needs --data" in result.stderr
    assert not (tmp_path / "new").exists()


def test_a_prior_needs_none_and_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prior = random_prior(codebook_sizes=(8,), factors=(16,), orders=("raster",))
    state = {
        "average": prior.state_dict(),
        "prior_config": prior.config.to_dict(),
        "config": Stage2Config(seed=3).to_dict(),
        "about": {"model_id": "ab" * 8, "model_name": "some", "classes": []},
    }
    path = save_checkpoint(tmp_path / "run", 7, state)
    words = ("export", path, tmp_path / "new", "--name", "own", "--description", "noise", "--licence", "MIT")

    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PriorCard, "save", interrupted)
    assert vqcodec(*words).exit_code == 130
    assert names_in(tmp_path) == ["run/checkpoint-00000007.pt"]
    monkeypatch.undo()
    result = vqcodec(*words)
    assert result.stdout == f"{tmp_path / 'new'}: prior own for model some ({'ab' * 8})\n", result.output
    assert names_in(tmp_path / "new") == ["prior.json", "prior.safetensors"]
    found = load_prior_folder(tmp_path / "new")
    assert found.card.training["settings"]["seed"] == 3
    assert found.load().config == prior.config
    assert only_error(vqcodec(*words)) == f"error: {tmp_path / 'new'}: exists already; give -f to overwrite it"
    assert vqcodec(*words, "-f").exit_code == 0


@pytest.mark.parametrize("changes", [{"config": {}}, {"prior_config": {"width": 16}}, {"prior_config": None}])
def test_a_checkpoint_of_another_prior_is_named(tmp_path: Path, changes: dict[str, object]) -> None:
    state: dict[str, object] = {"average": {}, "prior_config": {}, "config": Stage2Config().to_dict(), "about": {}}
    path = save_checkpoint(tmp_path / "run", 7, state | changes)
    line = only_error(
        vqcodec("export", path, tmp_path / "new", "--name", "own", "--description", "noise", "--licence", "MIT")
    )
    assert line.startswith(f"error: {path}: not a checkpoint of stage 2 of this version")
    assert not (tmp_path / "new").exists()


def test_pictures_that_are_missing_are_wrong_usage(checkpoint: Path, tmp_path: Path) -> None:
    assert export(checkpoint, tmp_path / "new", tmp_path / "gone").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert only_error(export(checkpoint, tmp_path / "new", tmp_path / "empty")).startswith(
        f"error: {tmp_path / 'empty'}:"
    )
