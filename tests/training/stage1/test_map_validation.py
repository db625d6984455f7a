"""Held-out label maps: the accuracy agrees with a computation by hand, and the sheet shows the maps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from stage1_helpers import MODEL

from vqcodec.models.network_input import ONE_HOT
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.pictures.label_maps import LABEL_MAPS
from vqcodec.training.data.pictures import PictureSet
from vqcodec.training.data.types import DataError
from vqcodec.training.stage1.map_validation import MapValidation
from vqcodec.training.stage1.preview import GAP

SIDE = 48
every_map = pytest.mark.parametrize("name", LABEL_MAPS)


def network(name: str) -> VQAutoencoder:
    torch.manual_seed(5)
    return VQAutoencoder(replace(MODEL, label_map=name)).eval()


def maps(pictures: Path, name: str) -> np.ndarray:
    """(4, SIDE, SIDE): of the central crops of 96 x 80 pixels."""
    crops = [np.asarray(Image.open(path))[16 : 16 + SIDE, 24 : 24 + SIDE] for path in sorted(pictures.iterdir())]
    return LABEL_MAPS[name].of_each(np.stack(crops))


def come_back(made: VQAutoencoder, labels: np.ndarray, levels: int) -> np.ndarray:
    """The classes that tokens of so many levels give."""
    planes = np.stack([labels == number for number in range(made.config.channels)], axis=1)
    given = torch.from_numpy(planes.astype(np.float32)) * ONE_HOT
    return np.asarray(made.detokenize(made.tokenize(given, levels)).argmax(dim=1))


@every_map
@torch.no_grad()
def test_the_accuracy_is_the_share_of_pixels(name: str, pictures: Path, tmp_path: Path) -> None:
    made, labels = network(name), maps(pictures, name)
    result = MapValidation(PictureSet([pictures]), tmp_path, made.config, crop_size=SIDE).run(made, 7)
    expected = {f"accuracy_{levels}": float((come_back(made, labels, levels) == labels).mean()) for levels in (1, 2)}
    assert result.values == pytest.approx(expected, rel=1e-5)
    assert 0 < min(expected.values()) < 1
    assert json.loads((tmp_path / "validation.jsonl").read_text()) == {"step": 7} | result.values


@every_map
@torch.no_grad()
def test_the_sheet_shows_the_maps_and_what_becomes_of_them(name: str, pictures: Path, tmp_path: Path) -> None:
    made, labels, label_map = network(name), maps(pictures, name), LABEL_MAPS[name]
    sheet = MapValidation(PictureSet([pictures]), tmp_path, made.config, crop_size=SIDE).run(made, 7).sheet
    top = len(sheet) - (4 * (SIDE + GAP) - GAP)
    columns = [labels, *(come_back(made, labels, levels) for levels in (1, 2))]
    for column, shown in enumerate(columns):
        for row, each in enumerate(shown):
            cell = sheet[top + row * (SIDE + GAP) :, column * (SIDE + GAP) :][:SIDE, :SIDE]
            assert np.array_equal(cell, label_map.render(each))
    with Image.open(tmp_path / "previews" / "00000007.png") as file:
        assert np.array_equal(np.asarray(file), sheet)


def test_maps_that_come_back_whole_are_all_right(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = network("colours")
    validation = MapValidation(PictureSet([pictures]), tmp_path, made.config, crop_size=SIDE)
    monkeypatch.setattr(made, "detokenize", lambda tokens: validation.images)
    assert validation.run(made, 1).values == {"accuracy_1": 1.0, "accuracy_2": 1.0}


def test_crops_that_do_not_suit(pictures: Path, tmp_path: Path) -> None:
    made = network("edges")
    with pytest.raises(DataError, match="validation crops of 36 pixels: not a multiple of 8"):
        MapValidation(PictureSet([pictures]), tmp_path, made.config, crop_size=36).run(made, 1)
    with pytest.raises(DataError, match="no validation picture has both sides of 128 pixels or more"):
        MapValidation(PictureSet([pictures]), tmp_path, made.config, crop_size=128)
