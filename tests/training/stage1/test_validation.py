"""Held-out pictures are measured by the right measures, and shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from stage1_helpers import MODEL, Trainers, assert_same_checkpoint
from torch import Tensor

from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.perceptual.networks import DISTS, LPIPS, PerceptualWeightsError
from vqcodec.training.common.checkpoint import checkpoints
from vqcodec.training.data.crops import CropConfig, random_crop
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.types import DataError
from vqcodec.training.stage1.faults import chroma_error, flat_error
from vqcodec.training.stage1.losses import border_jump, repetition
from vqcodec.training.stage1.preview import GAP, make_sheet
from vqcodec.training.stage1.validation import Validation, ValidationResult, suitable_crop_size

CPU = torch.device("cpu")


@pytest.fixture
def network() -> VQAutoencoder:
    torch.manual_seed(5)
    return VQAutoencoder(MODEL).eval()


def central_crop(path: Path, size: int) -> Any:
    with Image.open(path) as picture:
        left, top = (picture.width - size) // 2, (picture.height - size) // 2
        return np.asarray(picture)[top : top + size, left : left + size]


def crops(pictures: Path, size: int) -> Tensor:
    """(4, 3, size, size) in [0, 1]."""
    found = [central_crop(path, size) for path in sorted(pictures.iterdir())]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2) / 255


def lines(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "validation.jsonl").read_text().splitlines()]


def names_of(result: ValidationResult) -> set[str]:
    """Of the measures, without the number of levels."""
    assert all(f"{name[:-2]}_{levels}" in result.values for name in result.values for levels in (1, 2))
    return {name[:-2] for name in result.values}


# ---- figures ----


@torch.no_grad()
def test_the_figures_are_means_over_the_crops(
    network: VQAutoencoder, pictures: Path, perceptual_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vqcodec.training.stage1.validation._BATCH_SIZE", 3)  # four pictures: one batch is smaller
    validation = Validation.load(PictureSet([pictures]), tmp_path, perceptual_weights, CPU, crop_size=64)
    result = validation.run(network, 7)
    real = crops(pictures, 64)
    lpips, dists = LPIPS(perceptual_weights), DISTS(perceptual_weights)
    expected: dict[str, float] = {}
    for levels in (1, 2):
        made = (network.detokenize(network.tokenize(2 * real - 1, levels)) / 2 + 0.5).clamp(0, 1)
        decibels = [-10 * np.log10(float(((a - b) ** 2).mean())) for a, b in zip(real, made, strict=True)]
        expected |= {
            f"psnr_db_{levels}": float(np.mean(decibels)),
            f"lpips_{levels}": float(lpips(real, made).mean()),
            f"dists_{levels}": float(dists(real, made).mean()),
            f"border_jump_{levels}": float(border_jump(made).mean()),
            f"repetition_{levels}": float((repetition(made, 16) - repetition(real, 16)).mean()),
            f"chroma_error_{levels}": float(chroma_error(made, real).mean()),
            f"flat_error_{levels}": float(flat_error(network, levels).mean()),
        }
    assert result.values == pytest.approx(expected, rel=1e-4)
    assert result.step == 7
    assert lines(tmp_path) == [{"step": 7} | result.values]


def test_without_weights_there_is_psnr_alone(network: VQAutoencoder, pictures: Path, tmp_path: Path) -> None:
    result = Validation.load(PictureSet([pictures]), tmp_path, None, CPU, crop_size=32).run(network, 1)
    assert names_of(result) == {"psnr_db", "chroma_error", "border_jump", "repetition", "flat_error"}


def test_pictures_of_the_training_are_measured_beside_the_others(
    network: VQAutoencoder, pictures: Path, tmp_path: Path
) -> None:
    other = ArrayPictures(np.full((3, 40, 40, 3), 90, np.uint8))
    validation = Validation(PictureSet([pictures]), tmp_path / "both", crop_size=32, training=other)
    values = validation.run(network, 1).values
    alone = Validation(PictureSet([pictures]), tmp_path / "alone", crop_size=32).run(network, 1).values
    of_training = Validation(other, tmp_path / "training", crop_size=32).run(network, 1).values
    assert {name: values[name] for name in alone} == alone
    of_pictures = [name for name in of_training if not name.startswith("flat_error")]
    assert {name: values[f"training_{name}"] for name in of_pictures} == {n: of_training[n] for n in of_pictures}
    assert len(values) == len(alone) + len(of_pictures)


def test_dists_is_left_out_where_its_weights_are_missing(
    network: VQAutoencoder, pictures: Path, perceptual_weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("alexnet_conv_fp16.safetensors", "lpips_lin_alex_v0.1.safetensors"):
        (tmp_path / name).write_bytes((perceptual_weights / name).read_bytes())
    validation = Validation.load(PictureSet([pictures]), tmp_path, tmp_path, CPU, crop_size=32)
    for step in (1, 2):
        assert names_of(validation.run(network, step)) & {"lpips", "dists"} == {"lpips"}
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"validation without DISTS: {tmp_path}/vgg16_conv_fp16.safetensors: no such file")


def test_damaged_weights_of_dists_are_an_error(pictures: Path, perceptual_weights: Path, tmp_path: Path) -> None:
    for path in perceptual_weights.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "dists_alpha_beta.safetensors").write_bytes(b"damaged")
    with pytest.raises(PerceptualWeightsError, match="not a safetensors file"):
        Validation.load(PictureSet([pictures]), tmp_path, tmp_path, CPU, crop_size=64)


def test_a_picture_without_any_error_has_100_db(
    network: VQAutoencoder, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation = Validation(PictureSet([pictures]), tmp_path, crop_size=32)
    monkeypatch.setattr(network, "detokenize", lambda tokens: validation.images)
    values = validation.run(network, 1).values
    assert [values[f"{name}_{levels}"] for name in ("psnr_db", "chroma_error") for levels in (1, 2)] == pytest.approx(
        [100, 100, 0, 0]
    )


def test_a_step_that_is_measured_again_is_there_once(network: VQAutoencoder, pictures: Path, tmp_path: Path) -> None:
    validation = Validation(PictureSet([pictures]), tmp_path, crop_size=32)
    for step in (1, 2, 2):
        validation.run(network, step)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


# ---- sizes ----


def test_no_picture_is_large_enough(pictures: Path, perceptual_weights: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no validation picture has both sides of 192 pixels"):
        Validation(PictureSet([pictures]), tmp_path, LPIPS(perceptual_weights))


def test_smaller_pictures_are_left_out(pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    small = tmp_path / "small.png"
    Image.new("RGB", (200, 63)).save(small)
    validation = Validation(PictureSet([small, pictures]), tmp_path, crop_size=64)
    assert validation.images.shape == (4, 3, 64, 64)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 5 validation pictures left out: a side under 64 pixels"
    ]


def test_the_smallest_crop_for_lpips(pictures: Path, perceptual_weights: Path, tmp_path: Path) -> None:
    """31 pixels leave 1 for AlexNet's last pooling, 30 none."""
    lpips = LPIPS(perceptual_weights)
    validation = Validation(PictureSet([pictures]), tmp_path, lpips, crop_size=31)
    assert torch.isfinite(lpips(validation.images, validation.images)).all()
    with pytest.raises(DataError, match="validation crops of 30 pixels: LPIPS takes 31 or more"):
        Validation(PictureSet([pictures]), tmp_path, lpips, crop_size=30)


def test_small_pictures_are_padded_as_in_training(
    network: VQAutoencoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "small.png"
    Image.effect_noise((28, 41), 40).convert("RGB").save(file)
    validation = Validation.load(PictureSet([file]), tmp_path, None, CPU, crop_size=32, pad=True)
    pixels = np.asarray(Image.open(file))[4:36]
    expected = pixels[:, [0, 0, *range(28), 27, 27]]
    assert np.array_equal((validation.images[0].permute(1, 2, 0) * 127.5 + 127.5).round().numpy(), expected)
    training = CropConfig(size=32, resized=0.0, pad=True, flip=False)
    assert np.array_equal(random_crop(pixels, training, np.random.default_rng(0)), expected)
    assert len(validation.run(network, 1).sheet) >= 32
    assert not caplog.records


@pytest.mark.parametrize(("strides", "side"), [((), 192), ((16, 1), 128), ((64, 1), 512)])
def test_a_crop_size_that_suits_the_model(strides: tuple[int, ...], side: int) -> None:
    config = replace(MODEL, quantizer=replace(MODEL.quantizer, level_strides=strides))
    assert suitable_crop_size(config) == side


def test_crops_that_do_not_suit_the_model(network: VQAutoencoder, pictures: Path, tmp_path: Path) -> None:
    validation = Validation(PictureSet([pictures]), tmp_path, crop_size=36)
    with pytest.raises(DataError, match="validation crops of 36 pixels: not a multiple of 8"):
        validation.run(network, 1)
    assert not (tmp_path / "validation.jsonl").exists()


# ---- the sheet ----


def test_the_sheet_is_also_a_file(network: VQAutoencoder, pictures: Path, tmp_path: Path) -> None:
    result = Validation(PictureSet([pictures]), tmp_path, crop_size=64, shown=2).run(network, 12)
    with Image.open(tmp_path / "previews" / "00000012.png") as file:
        assert np.array_equal(np.asarray(file), result.sheet)
    top = len(result.sheet) - (2 * 64 + GAP)
    assert result.sheet.shape == (top + 2 * 64 + GAP, 3 * 64 + 2 * GAP, 3)
    assert top > 10  # pixels of headings
    for row, name in enumerate(("0.png", "1.png")):
        shown = result.sheet[top + row * (64 + GAP) :][:64, :64]
        assert np.array_equal(shown, central_crop(pictures / name, 64))


def test_the_cells_of_a_sheet() -> None:
    columns = [torch.full((2, 3, 8, 40), level / 255) for level in (0, 100, 200)]
    columns[2][1] = 1 / 255
    sheet = make_sheet(columns, ["a", "b", "c"])
    top = len(sheet) - (8 + GAP + 8)
    for row in range(2):
        for column in range(3):
            cell = sheet[top + row * (8 + GAP) :][:8, column * (40 + GAP) :][:, :40]
            expected = 1 if (row, column) == (1, 2) else 100 * column
            assert (cell == expected).all()
    assert (sheet[top + 8 : top + 8 + GAP] == 255).all()
    assert (sheet[:, 40 : 40 + GAP] == 255).all()
    for column in range(3):
        assert sheet[:top, column * (40 + GAP) :][:, :40].min() < 128  # there is text


def test_headings_that_do_not_fit_are_left_out() -> None:
    columns = [torch.zeros(1, 3, 16, 16)] * 2
    assert make_sheet(columns, ["a", "wider than a picture"]).shape == (16, 32 + GAP, 3)
    with pytest.raises(ValueError, match="shorter"):
        make_sheet(columns, ["a"])


# ---- in a run ----


def test_validation_does_not_change_the_run(trainer: Trainers, pictures: Path, perceptual_weights: Path) -> None:
    quiet, watched = trainer("quiet"), trainer("watched")
    quiet.run()
    validation = Validation.load(PictureSet([pictures]), watched.out, perceptual_weights, CPU, crop_size=64)
    watched.run(checkpoint_every=2, validation=validation)
    assert_same_checkpoint(checkpoints(quiet.out)[-1], checkpoints(watched.out)[-1])
