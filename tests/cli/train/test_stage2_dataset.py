"""vqcodec train stage2 --tokens: a prior of a dataset that `vqcodec tokenize` made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_helpers import make_dataset
from PIL import Image
from stage2_command_helpers import QUICK, SMALL, only_error, recipe, run, succeeded

from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint

#: of every picture the whole, as it is
_WHOLE = ("--set=training.crop.resized=0", "--set=training.crop.flip=false")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for number, noise in enumerate(np.random.default_rng(1).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)):
        path = tmp_path / "photos" / "xyz"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise).save(path)
    return tmp_path / "photos"


def test_losses_are_those_of_tokens_made_on_the_way(tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    make_dataset(tmp_path / "tokens", tiny_model, photos, labels="folder")
    words = ("train", "stage2", *QUICK, *SMALL, *_WHOLE, "--model", tiny_model, "--device", "cpu", "--out")
    succeeded(run(*words, tmp_path / "run", "--tokens", tmp_path / "tokens"))
    succeeded(run(*words, tmp_path / "pictures", "--data", photos, "--labels"))
    assert recipe(tmp_path).model.classes == 3
    weights = [load_checkpoint(newest_checkpoint(tmp_path / name))["model"] for name in ("run", "pictures")]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_what_does_not_suit_is_told(tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    make_dataset(tmp_path / "tokens", tiny_model, photos, levels=1)
    words = ("train", "stage2", *QUICK, *SMALL, "--out", tmp_path / "run")
    tokens = ("--tokens", tmp_path / "tokens")
    assert "tokens of model tiny" in only_error(run(*words, *tokens, "--levels", 1))
    assert "tokens of 1 levels; 2 are asked for" in only_error(run(*words, *tokens, "--model", tiny_model))
    for more, message in (
        (("--data", photos), "give --tokens or --data, not both"),
        (("--condition", "low-2"), "has no low-2; give pictures"),
    ):
        result = run(*words, *tokens, "--model", tiny_model, *more)
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    result = run(*words)
    assert (result.exit_code, "Missing option '--data'" in result.stderr) == (2, True), result.stderr
