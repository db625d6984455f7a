"""A prior learns the same from a dataset of tokens as from pictures whose tokens are made on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_helpers import make_dataset
from PIL import Image

from vqcodec.codec import Codec
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.data.types import DataError
from vqcodec.training.stage2.crop_tokens import PictureTokens
from vqcodec.training.stage2.dataset_tokens import DatasetTokens


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for number in range(6):
        path = tmp_path / "photos" / "xyz"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


def test_batches_are_those_of_the_pictures_themselves(tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    codec = Codec.load(tiny_model, device="cpu")
    make_dataset(tmp_path / "out", tiny_model, photos, labels="folder")
    shape = {"levels": 2, "batch_size": 4, "seed": 5, "share": slice(1, None, 2)}
    stored = DatasetTokens(str(tmp_path / "out"), model_id=codec.card.model_id.hex(), **shape)  # type: ignore[arg-type]
    crop = CropConfig(size=32, resized=0, flip=False)
    made = PictureTokens(PictureSet([photos], labels=True), codec, crop=crop, **shape)  # type: ignore[arg-type]
    assert stored.classes == made.classes == ("x", "y", "z")
    for (step, one), (other_step, two) in zip(stored.ahead(3, 6), made.ahead(3, 6), strict=True):
        assert step == other_step
        assert torch.equal(one.labels, two.labels)
        for mine, theirs in zip(one.levels, two.levels, strict=True):
            assert torch.equal(mine, theirs)


def test_tokens_of_another_model_are_refused(tmp_path: Path, tiny_model: Path, photos: Path) -> None:
    make_dataset(tmp_path / "out", tiny_model, photos)
    with pytest.raises(DataError, match=r"tokens of model tiny .*, not of 00000000"):
        DatasetTokens(str(tmp_path / "out"), model_id="00000000", levels=2, batch_size=4, seed=0)
