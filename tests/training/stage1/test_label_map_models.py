"""Models of label maps: they learn by cross-entropy, become model folders, and say what does not suit them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from stage1_helpers import CONFIG, MODEL

from vqcodec.cli.main import main
from vqcodec.codec import Codec
from vqcodec.models.network_input import network_input
from vqcodec.pictures.label_maps import LABEL_MAPS
from vqcodec.training.common.checkpoint import newest_checkpoint
from vqcodec.training.common.loop import TrainingError
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.toy_shapes import toy_pictures
from vqcodec.training.export import export_model
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.presets import PRESETS
from vqcodec.training.stage1.recipe import Stage1Recipe
from vqcodec.training.stage1.trainer import Stage1Trainer

WEIGHTS = LossWeights(l1=0, colour=0, cross_entropy=1).without_networks()
TRAINING = replace(
    CONFIG,
    steps=60,
    batch_size=4,
    crop=CropConfig(size=32, resized=0.0),
    learning_rate=1e-2,
    level_shares=(0.0, 1.0),
    weights=WEIGHTS,
    adversary=AdversaryConfig(weight=0.0),
)

#: makes a trainer in a folder of the test
MapTrainers = Callable[..., Stage1Trainer]


@pytest.fixture
def shapes() -> ArrayPictures:
    return ArrayPictures(*toy_pictures(12, 40, 0))


@pytest.fixture
def map_trainer(shapes: ArrayPictures, tmp_path: Path) -> MapTrainers:
    def make(out: str = "run", label_map: str = "edges", **changes: object) -> Stage1Trainer:
        recipe = Stage1Recipe(replace(MODEL, label_map=label_map), replace(TRAINING, **changes))  # type: ignore[arg-type]
        return Stage1Trainer(recipe, shapes, tmp_path / out, device="cpu")

    return make


def export(run: Path, pictures: ArrayPictures | PictureSet) -> Codec:
    export_model(
        newest_checkpoint(run),
        run / "model",
        name="maps",
        pictures=pictures,
        picture_count=3,
        description="shapes",
        licence="MIT",
    )
    return Codec.load(run / "model", device="cpu")


# ---- learning ----


def test_the_loss_falls_and_most_classes_come_back(map_trainer: MapTrainers, shapes: ArrayPictures) -> None:
    history: list[dict[str, float]] = []
    made = map_trainer()
    made.run(report=lambda step, values: history.append(values))
    first, last = (np.mean([values["cross_entropy"] for values in part]) for part in (history[:10], history[-10:]))
    assert last < 0.8 * first
    assert {"commitment", "codebook", "usage_1", "gradient_norm"} <= set(history[0])
    assert not {"l1", "colour", "lpips_alex"} & set(history[0])
    maps = network_input(made.recipe.model, np.stack([shapes[index] for index in range(12)]))
    network = made.model.eval()
    with torch.no_grad():
        logits = network.detokenize(network.tokenize(maps))
    commonest = maps.argmax(dim=1).flatten().bincount().max() / maps[:, 0].numel()
    assert float((logits.argmax(dim=1) == maps.argmax(dim=1)).float().mean()) > commonest + 0.1


def test_resuming_gives_the_same_bits(map_trainer: MapTrainers) -> None:
    whole, part, rest = map_trainer("whole", steps=4), *(map_trainer("parts", steps=4) for _ in range(2))
    whole.run()
    part.run(until=2)
    rest.resume()
    rest.run()
    for left, right in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(left, right)


def test_a_run_of_another_map_cannot_resume(map_trainer: MapTrainers) -> None:
    map_trainer("run").save()
    with pytest.raises(ValueError, match="made with another model configuration"):
        map_trainer("run", label_map="colours").resume()


# ---- a model folder ----


def test_a_trained_model_is_exported_with_frequencies(map_trainer: MapTrainers, shapes: ArrayPictures) -> None:
    made = map_trainer(steps=3)
    made.run()
    codec = export(made.out, shapes)
    assert codec.card.autoencoder == made.recipe.model
    assert codec.card.autoencoder.label_map == "edges"
    assert [len(table) for table in codec.card.static_frequencies] == [16, 8]
    maps = network_input(codec.card.autoencoder, np.stack([shapes[index] for index in range(3)]))
    counts = np.bincount(codec.tokenize(maps)[0].flatten().numpy(), minlength=16)
    assert int(np.argmax(codec.card.static_frequencies[0])) in np.flatnonzero(counts == counts.max())


def test_from_pictures_to_a_model_on_the_command_line(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As docs/training.md has it, but that the networks are small; validation tells accuracies."""
    small = replace(PRESETS["edges"], model=replace(MODEL, label_map="edges"))
    monkeypatch.setitem(PRESETS, "edges", small)
    large = tmp_path / "held-out.png"
    write_noise(large)
    run = tmp_path / "run"
    options = ("--preset", "edges", "--steps", 2, "--batch-size", 2, "--crop-size", 32, "--validation", large)
    words = ("train", "stage1", "--data", pictures, "--out", run, "--device", "cpu", "--no-tensorboard", *options)
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    (validated,) = [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]
    assert set(validated) == {"step", "accuracy_1", "accuracy_2"}
    assert export(run, PictureSet([pictures])).card.autoencoder.label_map == "edges"


def write_noise(path: Path) -> None:
    from PIL import Image

    Image.effect_noise((200, 200), 60).convert("RGB").save(path)


# ---- what does not suit ----


@pytest.mark.parametrize("name", ["l1", "l2", "colour"])
def test_losses_of_pictures_are_refused(name: str, map_trainer: MapTrainers) -> None:
    with pytest.raises(TrainingError, match="edges are learned by cross-entropy alone: set the weights of all other"):
        map_trainer(weights=replace(WEIGHTS, **{name: 0.5}))


def test_a_discriminator_is_refused(map_trainer: MapTrainers) -> None:
    with pytest.raises(TrainingError, match="colours are learned by cross-entropy alone"):
        map_trainer(label_map="colours", adversary=AdversaryConfig(weight=0.5, start=3))


def test_maps_are_not_cut_on_the_device(shapes: ArrayPictures, tmp_path: Path) -> None:
    recipe = replace(PRESETS["edges"], training=replace(TRAINING, level_shares=()))
    with pytest.raises(TrainingError, match="leave out --device-crops"):
        Stage1Trainer(recipe, shapes, tmp_path, device="cpu", device_crops=True)


def test_a_model_of_pictures_takes_no_cross_entropy(map_trainer: MapTrainers) -> None:
    with pytest.raises(TrainingError, match=r"training\.weights\.cross_entropy is for label maps: set it to 0"):
        map_trainer(label_map="", weights=replace(WEIGHTS, l1=1.0))


@pytest.mark.parametrize("name", LABEL_MAPS)
def test_presets_of_label_maps(name: str) -> None:
    model, training = PRESETS[name].model, PRESETS[name].training
    assert (model.label_map, model.downsampling_factor, set(model.level_factors)) == (name, 16, {16})
    assert training.weights.cross_entropy
    assert not training.weights.of_pictures
    assert not training.adversary.weight
