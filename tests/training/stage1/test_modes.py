"""The trainer's other ways: gradients in parts, the Decoder alone, every preset, ancestors and toys."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from stage1_helpers import CONFIG, MODEL, Trainers

from vqcodec.cards.engines import load_network
from vqcodec.cards.model_card import load_model_folder
from vqcodec.codec import Codec
from vqcodec.models.config import HierarchicalConfig, NetworksConfig, QuantizerConfig
from vqcodec.models.gumbel import GumbelQuantizer
from vqcodec.models.network_input import network_input
from vqcodec.models.taming_config import TamingConfig
from vqcodec.training.common.checkpoint import newest_checkpoint
from vqcodec.training.data.crops import CropConfig
from vqcodec.training.data.pictures import ArrayPictures, PictureSet
from vqcodec.training.data.toy_shapes import toy_pictures
from vqcodec.training.export import Origin, export_model
from vqcodec.training.stage1.discriminator import AdversaryConfig
from vqcodec.training.stage1.losses import LossWeights
from vqcodec.training.stage1.presets import PRESETS, with_factor
from vqcodec.training.stage1.recipe import Stage1Recipe
from vqcodec.training.stage1.trainer import Stage1Trainer


def exported(run: Path, pictures: Path) -> Codec:
    """The model that a run's newest checkpoint becomes."""
    export_model(
        newest_checkpoint(run),
        run / "model",
        name="made",
        pictures=PictureSet([pictures]),
        picture_count=1,
        description="waves",
        licence="MIT",
    )
    return Codec.load(run / "model", device="cpu")


# ---- gradients in parts ----


def test_parts_of_a_batch_give_the_gradient_of_the_whole(trainer: Trainers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Codebooks move between the parts, so they are held; the adaptive weight is off: it is one a part."""
    settings = {
        "batch_size": 4,
        "weights": LossWeights().without_networks(),
        "adversary": AdversaryConfig(weight=0.0),
        "gradient_clip": 1e9,
        "level_shares": (0.0, 1.0),
    }
    gradients = []
    for parts in (1, 2, 4):
        made = trainer(f"in {parts}", accumulate=parts, **settings)
        made.run(until=0)
        made.model.quantizer.eval()
        monkeypatch.setattr(made.optimizer, "step", lambda: None)
        made.train_step(made.batches(0))
        gradients.append({name: value.grad for name, value in made.model.named_parameters()})
    for name, value in gradients[0].items():
        for other in gradients[1:]:
            torch.testing.assert_close(other[name], value, rtol=1e-4, atol=1e-6, msg=name)


# ---- parts that are held ----


def trained_further(folder: Path, held: tuple[str, ...], pictures: Path, weights: Path, run: Path) -> Codec:
    """The model of `folder` after some steps with parts of it held."""
    old = load_model_folder(folder)
    config = replace(CONFIG, held=held, crop=CropConfig(size=48), ema_decay=0.5, level_shares=())
    if "decoder" in held:
        config = replace(config, adversary=AdversaryConfig(weight=0.0))
    trainer = Stage1Trainer(
        Stage1Recipe(old.card.autoencoder, config), PictureSet([pictures]), run, perceptual_weights=weights
    )
    trainer.start_from(load_network(old))
    trainer.origin = asdict(Origin.of(old)) if "codebooks" in held else {}
    trainer.run()
    return exported(run, pictures)


@pytest.mark.parametrize("held", [("encoder",), ("codebooks",), ("decoder",), ("codebooks", "decoder")])
def test_what_is_held_stays_and_the_rest_learns(
    held: tuple[str, ...], tiny_model: Path, pictures: Path, perceptual_weights: Path, tmp_path: Path
) -> None:
    before = Codec.load(tiny_model, device="cpu").network.state_dict()
    after = trained_further(tiny_model, held, pictures, perceptual_weights, tmp_path).network.state_dict()
    prefixes = {
        "encoder": ("encoder.",),
        "codebooks": ("quantizer.",),
        "decoder": ("decoder.", "level_embedding"),
    }
    for part, names in prefixes.items():
        equal = [torch.equal(value, after[name]) for name, value in before.items() if name.startswith(names)]
        assert all(equal) if part in held else not all(equal), part


def test_with_codebooks_held_encoder_and_decoder_are_new_and_old_streams_are_read(
    coding_model: Path, pictures: Path, perceptual_weights: Path, tmp_path: Path
) -> None:
    before = Codec.load(coding_model, device="cpu")
    after = trained_further(coding_model, ("codebooks",), pictures, perceptual_weights, tmp_path)
    assert after.card.reads == (before.card.model_id.hex(), *before.card.reads)
    stream = before.encode(Image.open(pictures / "0.png"))
    assert after.read(stream).tokens == before.read(stream).tokens
    assert after.decode(stream).tobytes() != before.decode(stream).tobytes()


@pytest.mark.parametrize("model", ["tiny_model", "coding_model"])
def test_a_new_decoder_reads_the_old_streams(
    model: str, pictures: Path, perceptual_weights: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(model)
    before = Codec.load(folder, device="cpu")
    after = trained_further(folder, ("encoder", "codebooks"), pictures, perceptual_weights, tmp_path)
    assert after.card.reads == (before.card.model_id.hex(), *before.card.reads)
    assert after.card.model_id != before.card.model_id
    picture = Image.open(pictures / "0.png")
    for entropy in ("static", "uniform", "prior")[: 3 if before.card.entropy_prior else 2]:
        stream = before.encode(picture, entropy=entropy)
        assert after.read(stream).tokens == before.read(stream).tokens
    with_old, with_new = (codec.decode(stream) for codec in (before, after))
    assert with_old.size == with_new.size == picture.size
    assert with_old.tobytes() != with_new.tobytes()
    assert torch.equal(
        torch.from_numpy(after.read(after.encode(picture)).tokens.levels[0].indices.astype("int64")),
        torch.from_numpy(before.read(stream).tokens.levels[0].indices.astype("int64")),
    )


# ---- presets ----


def small(recipe: Stage1Recipe) -> Stage1Recipe:
    """The recipe with few channels and few steps."""
    model = recipe.model
    sizes = tuple(min(16, size) for size in model.quantizer.codebook_sizes)
    quantizer = replace(model.quantizer, codebook_sizes=sizes, code_dimension=4)
    networks: NetworksConfig
    if isinstance(model.networks, TamingConfig):
        networks = TamingConfig(32, (1, 1), 1, (32,), 64, latent_channels=8)
    elif isinstance(model.networks, HierarchicalConfig):
        networks = replace(model.networks, widths=(4, 8, 8), latent_channels=(9, 7))
    else:
        # of a label map two: its classes are many channels, and training starts at the components of all in a patch
        stages = slice(2 if model.label_map else len(model.networks.encoder_widths))
        widths = (4, 8, 8, 8)[stages]
        networks = replace(
            model.networks,
            encoder_widths=widths,
            encoder_depths=model.networks.encoder_depths[stages],
            encoder_hidden=model.networks.encoder_hidden[stages],
            decoder_widths=widths,
            decoder_depths=model.networks.decoder_depths[stages],
            decoder_hidden=model.networks.decoder_hidden[stages],
            latent_channels=8,
        )
    training = replace(
        recipe.training,
        steps=3,
        batch_size=2,
        crop=replace(recipe.training.crop, size=48),
        weights=replace(recipe.training.weights, vgg_crops=1, vgg_crop_size=16),
        adversary=replace(recipe.training.adversary, width=4, start=min(1, recipe.training.adversary.start)),
    )
    return Stage1Recipe(replace(model, networks=networks, quantizer=quantizer), training)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_trains_and_becomes_a_model(
    name: str, pictures: Path, perceptual_weights: Path, tmp_path: Path
) -> None:
    recipe = small(PRESETS[name])
    trainer = Stage1Trainer(recipe, PictureSet([pictures]), tmp_path, perceptual_weights=perceptual_weights)
    before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
    history: list[dict[str, float]] = []
    trainer.run(report=lambda step, values: history.append(values))
    assert all(torch.isfinite(torch.tensor(list(values.values()))).all() for values in history)
    after = trainer.model.state_dict()
    changed = {key.split(".")[0] for key, value in before.items() if not torch.equal(value, after[key])}
    assert {"encoder", "decoder"} < changed
    codec = exported(tmp_path, pictures)
    stored = load_file(codec.model.weights_path)
    assert {value.dtype for key, value in stored.items() if ".levels." in key} == {torch.float32}
    assert {value.dtype for key, value in stored.items() if ".levels." not in key} == {torch.float16}
    shapes = [(-(-80 // factor), -(-96 // factor)) for factor in recipe.model.level_factors]
    if recipe.model.label_map:
        images = network_input(recipe.model, PictureSet([pictures])[0][None])
        assert [grid.shape[1:] for grid in codec.tokenize(images)] == shapes
        assert codec.detokenize(codec.tokenize(images)).shape == images.shape
        return
    decoded = codec.decode_stream(codec.encode(pictures / "0.png"))
    assert [grid.shape for grid in decoded.stream.tokens.levels] == shapes
    assert decoded.image.rgb.shape == (80, 96, 3)


def test_gumbel_choices_harden(pictures: Path, tmp_path: Path) -> None:
    trainer = Stage1Trainer(small(PRESETS["dvae"]), PictureSet([pictures]), tmp_path)
    temperatures = []
    level = trainer.model.quantizer.each()[0]
    assert isinstance(level, GumbelQuantizer)
    trainer.run(report=lambda step, values: temperatures.append(level.temperature))
    assert temperatures == pytest.approx([0.0625 ** (step / 3) for step in range(3)])


@pytest.mark.parametrize("factor", [1, 2, 8, 32])
def test_toys_of_any_factor(factor: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """28 x 28 pictures, padded to the crops."""
    if factor == 32:  # the components of 3,072 numbers take seconds; any others do here

        def some(matrix: torch.Tensor) -> SimpleNamespace:
            return SimpleNamespace(eigenvectors=torch.eye(len(matrix), dtype=matrix.dtype))

        monkeypatch.setattr(torch.linalg, "eigh", some)
    pixels, labels = toy_pictures(6, 28, 0)
    recipe = with_factor(PRESETS["tiny"], factor)
    training = replace(recipe.training, steps=2, batch_size=2)
    model = replace(recipe.model, quantizer=QuantizerConfig((4,), 4))
    trainer = Stage1Trainer(Stage1Recipe(model, training), ArrayPictures(pixels, labels), tmp_path)
    trainer.run()
    assert trainer.step == 2


def test_larger_crops_later(trainer: Trainers) -> None:
    made = trainer(crop_sizes=((2, 48),), crop=CropConfig(size=40))
    sides = []
    inner = made.train_step

    def watch(batch: object) -> dict[str, float]:
        sides.append(batch.shape[1])  # type: ignore[attr-defined]
        return inner(batch)  # type: ignore[arg-type]

    made.train_step = watch  # type: ignore[method-assign]
    made.run()
    assert sides == [40, 40, 48, 48, 48, 48]
    assert MODEL.downsampling_factor == 8
