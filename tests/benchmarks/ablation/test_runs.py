from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vqcodec.benchmarks.ablation import runs as ablation_module
from vqcodec.benchmarks.ablation.rows import COLUMNS, Row, columns, line, markdown, padded
from vqcodec.benchmarks.ablation.runs import QUANTIZERS, Ablation, Rows, Variant, measure, settings_of
from vqcodec.benchmarks.common import example_sets
from vqcodec.benchmarks.common.example_sets import ExampleSets, Part, picture_data, toy_data
from vqcodec.benchmarks.common.result_lines import append_results, read_results
from vqcodec.benchmarks.speed.stages import synthetic_picture
from vqcodec.models.compact import Encoder
from vqcodec.training.data.pictures import ArrayPictures
from vqcodec.training.data.toy_shapes import toy_pictures
from vqcodec.training.data.types import DataError
from vqcodec.training.stage1.trainer import Stage1Trainer, TrainingError

SMALL = Ablation(factors=(4, 8), codebook_sizes=(4, 8), steps=3, crop_size=16, seed=0)


@pytest.fixture(autouse=True)
def _one_seed_for_all() -> Iterator[None]:
    """A trainer seeds torch; the other tests need not notice."""
    with torch.random.fork_rng(devices=[]):
        yield


@pytest.fixture(scope="module")
def data() -> ExampleSets:
    pixels = toy_pictures(20, 16, 0)[0]
    return ExampleSets("shapes", ArrayPictures(pixels[:16]), ArrayPictures(pixels[16:]), 16, 5)


def a_row(**changes: object) -> Row:
    row = Row(
        factor=8,
        codebook_size=256,
        quantizer="average, lifted",
        losses="pixels",
        tokens=64,
        bits_per_pixel=0.125,
        start_psnr_db=20.0,
        psnr_db=21.5,
        usage=0.75,
        perplexity=100.2,
        start_lpips=None,
        lpips=None,
        parameters=1000,
        seconds=2.0,
        settings={"training": {"steps": 3}},
        environment={"device": "cpu"},
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def test_sweeps_change_one_thing_at_a_time_from_the_middle() -> None:
    plan = Ablation((2, 4, 8, 16), (16, 64, 256, 1024), steps=5, crop_size=64, seed=0)
    sweeps = plan.sweeps()
    assert list(sweeps) == ["downsampling factor", "codebook size", "quantiser"]
    assert [(one.factor, one.codebook_size) for one in sweeps["downsampling factor"]] == [
        (factor, 256) for factor in (2, 4, 8, 16)
    ]
    assert [(one.factor, one.codebook_size) for one in sweeps["codebook size"]] == [
        (8, size) for size in (16, 64, 256, 1024)
    ]
    assert sweeps["quantiser"] == [Variant(8, 256, name) for name in QUANTIZERS]
    assert len(plan.variants()) == 4 + 3 + 6
    assert "quantiser" not in replace(plan, quantizers=False).sweeps()


def test_losses_are_compared_where_there_are_perceptual_ones() -> None:
    plan = Ablation((8,), (16,), steps=10, crop_size=40, seed=0, perceptual=True, quantizers=False)
    recipes = [plan.recipe(variant).training for variant in plan.sweeps()["losses"]]
    assert [(bool(recipe.weights.lpips_alex), recipe.adversary.weight > 0) for recipe in recipes] == [
        (True, True),
        (False, True),
        (True, False),
    ]
    assert recipes[0].adversary.start == 5
    assert not any(recipe.weights.lpips_vgg for recipe in recipes)
    pixels = replace(plan, perceptual=False)
    recipe = pixels.recipe(pixels.variants()[0]).training
    assert not recipe.weights.lpips_alex
    assert not recipe.adversary.weight


def test_a_recipe_is_the_tiny_preset_with_the_variants_model() -> None:
    recipe = SMALL.recipe(Variant(8, 4, "average, lifted, rotation"))
    assert recipe.model.downsampling_factor == 8
    assert recipe.model.quantizer.codebook_sizes == (4,)
    assert recipe.model.quantizer.gradient == "rotation"
    assert (recipe.training.steps, recipe.training.crop.size) == (3, 16)
    gumbel = SMALL.recipe(Variant(8, 4, "gumbel")).training
    assert gumbel.weights.codebook < 0.01 < recipe.training.weights.codebook


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factors": (4, 3)}, "a downsampling factor of 3"),
        ({"codebook_sizes": (1,)}, "codebook sizes"),
        ({"crop_size": 20}, "crops of 20 pixels: not a multiple of the factor 8"),
        ({"perceptual": True}, "crops of 16 pixels: LPIPS takes 34 or more"),
    ],
)
def test_what_no_model_takes_is_refused_at_once(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_a_row_is_measured_at_its_start_and_after_training(
    data: ExampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    steps: list[int] = []
    variant = Variant(4, 8)
    row = measure(SMALL, variant, data, device="cpu", report=lambda step, values: steps.append(step))
    assert steps == [0, 1, 2]
    assert list(tmp_path.glob("vqcodec-*")) == []
    assert (row.factor, row.codebook_size, row.tokens) == (4, 8, 16)
    assert row.bits_per_pixel == pytest.approx(3 / 16)
    assert row.start_psnr_db is not None
    assert row.gain_db == pytest.approx(row.psnr_db - row.start_psnr_db)
    assert abs(row.psnr_db - row.start_psnr_db) < 3  # three steps change little
    assert 0 < row.usage <= 1 <= row.perplexity <= 8
    assert row.lpips is None
    assert row.parameters > 1000
    assert row.settings == settings_of(SMALL, variant, data)
    assert row.settings["data"] == {
        "name": "shapes",
        "training_pictures": 16,
        "held_out_pictures": 4,
        "measured_side": 16,
        "crc32": 5,
    }
    assert {"date", "commit", "machine", "versions", "device", "dtype"} == set(row.environment)
    assert row.environment["device"] == "cpu"
    assert Row.from_json(row.to_json()) == row
    again = measure(SMALL, variant, data, device="cpu")
    assert (again.start_psnr_db, again.psnr_db) == (row.start_psnr_db, row.psnr_db)


def test_the_start_codes_each_patch_by_itself(data: ExampleSets, tmp_path: Path) -> None:
    trainer = Stage1Trainer(SMALL.recipe(Variant(4, 8)), data.training, tmp_path, device="cpu")
    alone = ablation_module._patches_alone(ablation_module._start(trainer))
    assert isinstance(alone.encoder, Encoder)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    changed = images.clone()
    changed[:, :, 4:] = 0  # all but the first row of patches
    with torch.no_grad():
        assert torch.equal(alone.encoder(images), alone.encoder.linear(images))
        made, others = (alone.detokenize(alone.tokenize(pixels)) for pixels in (images, changed))
    assert torch.equal(made[:, :, :4], others[:, :, :4])
    assert not torch.equal(made[:, :, 4:], others[:, :, 4:])


def test_gumbel_quantisation_has_no_start_to_measure(data: ExampleSets) -> None:
    row = measure(SMALL, Variant(8, 4, "gumbel"), data, device="cpu")
    assert (row.start_psnr_db, row.gain_db) == (None, None)
    assert " -  " in line(row, columns(False))


def test_perceptual_losses_train_and_lpips_is_measured(data: ExampleSets, perceptual_weights: Path) -> None:
    plan = Ablation((8,), (4,), steps=2, crop_size=40, seed=0, perceptual=True, quantizers=False)
    pictures = ArrayPictures(toy_pictures(8, 40, 0)[0])
    larger = replace(data, training=pictures, held_out=pictures, side=40)
    row = measure(plan, plan.variants()[0], larger, perceptual_weights=perceptual_weights, device="cpu")
    assert row.losses == "all"
    assert row.lpips is not None
    assert row.start_lpips is not None
    assert 0 < row.lpips < row.start_lpips * 2
    with pytest.raises(TrainingError, match="perceptual-weights"):
        measure(plan, plan.variants()[0], larger, device="cpu")


def test_rows_are_measured_once_and_kept(data: ExampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Variant] = []

    def fake(plan: Ablation, variant: Variant, own: ExampleSets, **options: object) -> Row:
        measured.append(variant)
        return a_row(factor=variant.factor, settings=settings_of(plan, variant, own))

    monkeypatch.setattr(ablation_module, "measure", fake)
    results = tmp_path / "new" / "results.jsonl"
    four, eight = Variant(4, 8), Variant(8, 8)
    rows = Rows(SMALL, data, results)
    first = rows.row(four)
    assert rows.row(four) == first
    assert measured == [four]
    results.write_text(results.read_text() + '{"factor": 8, ')
    later = Rows(SMALL, data, results)
    assert len(later.damaged) == 1
    assert later.row(four) == first
    later.row(eight)
    assert measured == [four, eight]
    assert [json.loads(line)["factor"] for line in results.read_text().splitlines()[::2]] == [4, 8]
    Rows(replace(SMALL, seed=1), data, results).row(four)
    Rows(SMALL, replace(data, crc32=6), results).row(four)
    Rows(SMALL, data).row(four)
    assert measured == [four, eight, four, four, four]
    assert len(results.read_text().splitlines()) == 5  # with the line that was cut off


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not the fields of a row"),
        (json.dumps({"factor": 8}), "not the fields of a row"),
        (a_row().to_json().replace("21.5", '"21.5"'), "psnr_db is '21.5'"),
    ],
)
def test_damaged_lines_are_named_and_left_out(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(f"{text}\n\n")
    append_results(path, [a_row().to_json()])
    rows, [damaged] = read_results(path, Row.from_json, "its row is trained again")
    assert rows == [a_row()]
    assert damaged.startswith(f"{path}:1: {message}")


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_results(tmp_path / "results.jsonl", Row.from_json, "") == ([], [])


def test_a_row_without_a_finite_value_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        a_row(psnr_db=math.nan).to_json()


def test_tables_have_a_column_for_each_value() -> None:
    names = columns(False)
    assert set(COLUMNS) - set(names) == {"losses", "LPIPS start", "LPIPS"}
    heading, text = padded(names, names), line(a_row(), names)
    assert text.split()[-9:] == ["8", "256", "64", "0.1250", "20.00", "21.50", "+1.50", "75%", "100"]
    assert heading.index("trained") + len("trained") == text.index("21.50") + len("21.50")
    assert line(a_row(lpips=0.25, losses="all"), columns(True)).endswith(" 0.250")
    tables = markdown({"codebook size": [a_row(), a_row(codebook_size=16)]}, names)
    assert tables.startswith("By codebook size:\n\n| quantiser       |")
    assert [row.split("|")[3].strip() for row in tables.splitlines()[4:6]] == ["256", "16"]
    assert "| : |" not in tables  # which Markdown does not take for a table


def test_toy_shapes_are_held_out_by_another_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example_sets, "TOY_PICTURES", (9, 4))
    data = toy_data(16, 3)
    assert (len(data.training), len(data.held_out), data.side, data.name) == (9, 4, 16, "toy shapes")
    assert not np.array_equal(data.training[0], data.held_out[0])
    assert toy_data(16, 3).crc32 == data.crc32 != toy_data(16, 4).crc32


def test_every_tenth_picture_is_held_out_and_equal_ones_are_taken_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(12):
        Image.fromarray(synthetic_picture(40 + number, 36, seed=number)).save(folder / f"{number:02}.png")
    Image.fromarray(synthetic_picture(43, 36, seed=3)).save(folder / "99.png")  # equal to 03.png
    (folder / "00a.png").write_bytes(b"no picture")
    Image.fromarray(synthetic_picture(15, 40)).save(folder / "00b.png")
    data = picture_data(folder, 16)
    assert [data.held_out[index].shape for index in range(len(data.held_out))] == [(36, 40, 3), (36, 50, 3)]
    assert sorted(data.training[index].shape[1] for index in range(len(data.training))) == [
        width for width in range(41, 52) if width != 50
    ]
    assert (data.name, data.side) == ("photos", 32)
    assert "00a.png: skipped" in caplog.text
    assert "00b.png: skipped" in caplog.text
    assert picture_data(folder, 16).crc32 == data.crc32


def test_a_part_of_a_set_has_no_labels() -> None:
    part = Part(ArrayPictures(toy_pictures(3, 16, 0)[0]), [2, 0])
    assert (len(part), part.classes, part.label(0)) == (2, (), None)
    pixels, label = part.item(1)
    assert np.array_equal(pixels, toy_pictures(1, 16, 0)[0][0])
    assert label is None


@pytest.mark.parametrize(("pictures", "message"), [(0, "no pictures"), (1, "at least two")])
def test_too_few_pictures_are_an_error(pictures: int, message: str, tmp_path: Path) -> None:
    for number in range(pictures):
        Image.fromarray(synthetic_picture(40, 36, seed=number)).save(tmp_path / f"{number}.png")
    with pytest.raises(DataError, match=message):
        picture_data(tmp_path, 16)
