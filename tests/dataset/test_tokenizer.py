"""The same tokens whatever is computed beside them, on the core and on torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_helpers import make_dataset, make_folder
from PIL import Image

from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec
from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.fast_check import changed_share
from vqcodec.dataset.tokenizer import Tokenizer, numeric_profile


def test_neighbours_change_nothing_on_torch(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    deterministic = torch.are_deterministic_algorithms_enabled()
    model = load_model_folder(tiny_model)
    profile = numeric_profile(model, "cpu", fast=False)
    assert (profile["arithmetic"], profile["device"], profile["batch"]) == ("float32", "cpu", 32)
    tokenizer = Tokenizer(model, 2, profile, size=32, device="cpu")
    pictures = list(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8))
    together = tokenizer.tokens(pictures)
    for number in (5, 39):
        [alone] = tokenizer.tokens([pictures[number]])
        for one, other in zip(alone, together[number], strict=True):
            assert np.array_equal(one, other)
    torch.use_deterministic_algorithms(deterministic)


def test_batches_of_a_model_of_gray_pictures(gray_model: Path) -> None:
    deterministic = torch.are_deterministic_algorithms_enabled()
    model = load_model_folder(gray_model)
    pictures = list(np.random.default_rng(0).integers(0, 256, (2, 8, 12, 3), dtype=np.uint8))
    tokenizer = Tokenizer(model, 2, numeric_profile(model, "cpu", fast=False), size=8, device="cpu")
    codec = Codec.load(gray_model, device="cpu", dtype=torch.float32)
    for picture, made in zip(pictures, tokenizer.tokens(pictures), strict=True):
        for grid, wanted in zip(made, codec.tokenize_pixels(picture), strict=True):
            assert np.array_equal(grid, wanted)
    torch.use_deterministic_algorithms(deterministic)


def test_arithmetic_that_is_not_to_be_had_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model_folder(tiny_model)
    profile = numeric_profile(model, "cpu", fast=False) | {"arithmetic": "native"}
    monkeypatch.setenv("VQCODEC_CORE", "torch")
    with pytest.raises(DatasetError, match="native arithmetic, which is not to be had here"):
        Tokenizer(model, 2, profile, size=32)


def test_fast_says_which_share_it_changes(tmp_path: Path, tiny_model: Path) -> None:
    deterministic = torch.are_deterministic_algorithms_enabled()
    source = make_folder(tmp_path / "photos", 1, bad=1)
    for number, noise in enumerate(np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), dtype=np.uint8)):
        Image.fromarray(noise).save(source / f"{number}.png")
    plan = make_dataset(tmp_path / "out", tiny_model, source, fast=True, size=256)
    assert plan.profile["arithmetic"] == "bfloat16"
    assert 0 < changed_share(plan, "cpu") < 0.5
    assert changed_share(make_dataset(tmp_path / "exact", tiny_model, source)) == 0
    torch.use_deterministic_algorithms(deterministic)
