"""vqcodec train: train the networks on a folder of pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqcodec.cli.train import running as training_run
from vqcodec.cli.train.stage2 import stage2, tokens
from vqcodec.models.config import PARTS

if TYPE_CHECKING:
    from vqcodec.training.stage1.recipe import Stage1Recipe


@click.group()
def train() -> None:
    """Train the networks on your own pictures."""


train.add_command(stage2)
train.add_command(tokens)


@train.command()
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """Show the presets of stage 1, or all settings of one as JSON, as `--set` names them."""
    from vqcodec.training.stage1.presets import PRESETS

    if name is None:
        for preset, recipe in PRESETS.items():
            model = recipe.model
            sizes = ", ".join(map(str, model.quantizer.codebook_sizes))
            click.echo(f"{preset:<18} f = {model.downsampling_factor:<3} K = {sizes:<24} {recipe.training.steps} steps")
    else:
        click.echo(json.dumps(_preset(name).to_dict(), indent=1))


@train.command()
@click.argument("folder", type=training_run.FOLDER)
@click.option("--count", type=click.IntRange(min=1), default=2000, show_default=True, help="Pictures.")
@click.option("--side", type=click.IntRange(min=16), default=32, show_default=True, help="Pixels along a side.")
@click.option("--seed", type=int, default=0, show_default=True)
def toys(folder: Path, count: int, side: int, seed: int) -> None:
    """Draw pictures of coloured shapes into FOLDER, one folder a class, to try the trainer on.

    \b
        vqcodec train toys shapes
        vqcodec train stage1 --preset tiny --data shapes --out run
    """
    from vqcodec.training.data.toy_shapes import write_toy_folder

    write_toy_folder(folder, count, side, seed)
    click.echo(f"{folder}: {count} pictures of {side} x {side} pixels")


@train.command()
@click.option(
    "--data",
    "data",
    multiple=True,
    required=True,
    type=training_run.READABLE,
    help="Folder of pictures (nested), tar shard, MNIST or CIFAR-10 file, or picture; may be given several times.",
)
@training_run.run_options
@click.option(
    "--perceptual-weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the weights of LPIPS's networks, which the presets for photos need; see docs/training.md.",
)
@click.option("--validation", type=training_run.READABLE, help="Held-out pictures, measured at every checkpoint.")
@click.option(
    "--preset", default="photo", show_default=True, help="Model and settings; `vqcodec train presets` lists them."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change any setting of the preset, such as training.weights.l1=3; `vqcodec train presets NAME` shows all.",
)
@click.option("--no-perceptual", is_flag=True, help="Without the losses that need --perceptual-weights: pixels only.")
@click.option(
    "--factor", type=int, help="Downsampling factor f of the default networks, 1 to 32.  [default: of the preset]"
)
@click.option("--codebook-size", type=int, help="K of every level, 2 to 65536.  [default: of the preset]")
@click.option(
    "--init",
    "init",
    metavar="MODEL",
    help="Start from this model, by name, id or folder: fine-tuning. [default: start from the data]",
)
@click.option(
    "--decoder-only",
    is_flag=True,
    help="With --init: hold Encoder and codebooks, so that the result decodes that model's streams too.",
)
@click.option(
    "--hold",
    "held",
    multiple=True,
    type=click.Choice(PARTS),
    help="With --init: a part that stays as it is; with the codebooks the result decodes that model's streams, and its "
    "prior fits. May be given twice.",
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps in all.  [default: of the preset]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Crops a step.  [default: of the preset]")
@click.option("--accumulate", type=click.IntRange(min=1), help="Cut a batch into so many parts, to save memory.")
@click.option(
    "--crop-size", type=click.IntRange(min=1), help="Side of the training crops, pixels.  [default: of the preset]"
)
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="[default: of the preset]")
@click.option("--seed", type=int, help="[default: 0]")
@click.option("--compile", "compile_networks", is_flag=True, help="Put the networks through torch.compile.")
@click.pass_context
def stage1(context: click.Context, /, **options: Any) -> None:
    """Train Encoder, codebooks and Decoder on pictures.

    With torchrun, several processes share each batch: torchrun --nproc-per-node 4 -m vqcodec.cli.main train stage1 ...
    """
    training_run.train_and_log(
        context, options, lambda: _trainer(options), lambda trainer: _validation(trainer, options)
    )


def _trainer(options: dict[str, Any]) -> Any:
    """The trainer that the options describe, ready to run."""
    from vqcodec.cards.finding import find_model
    from vqcodec.codec import load_network
    from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.export import Origin
    from vqcodec.training.stage1.recipe import recipe_of
    from vqcodec.training.stage1.trainer import Stage1Trainer

    out: Path = options["out"]
    init = find_model(options["init"]) if options["init"] else None
    if options["resume"]:
        recipe = recipe_of(load_checkpoint(newest_checkpoint(out)))
    else:
        training_run.check_empty(out)
        recipe = _preset(options["preset"])
        if init:
            recipe = replace(recipe, model=init.card.autoencoder)
    recipe = _configured(recipe, options)
    if recipe.training.held and not init and not options["resume"]:
        raise click.UsageError("parts can be held of a model only (--hold, --decoder-only): give --init")
    trainer = Stage1Trainer(
        recipe,
        PictureSet(options["data"], minimum_side=1 if recipe.training.crop.pad else 32),
        out,
        perceptual_weights=options["perceptual_weights"],
        device=options["device"],
        compile_networks=options["compile_networks"],
    )
    if options["resume"]:
        trainer.resume()
    elif init:
        trainer.start_from(load_network(init))
        if "codebooks" in recipe.training.held:
            trainer.origin = asdict(Origin.of(init))
    return trainer


def _validation(trainer: Any, options: dict[str, Any]) -> Any:
    """What measures the model at every checkpoint, or None."""
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.stage1.map_validation import MapValidation
    from vqcodec.training.stage1.validation import Validation, suitable_crop_size

    if not options["validation"]:
        return None
    pictures, crop = PictureSet([options["validation"]]), trainer.config.crop
    if trainer.recipe.model.label_map:
        return MapValidation(
            pictures, options["out"], trainer.recipe.model, crop_size=suitable_crop_size(trainer.recipe.model)
        )
    return Validation.load(
        pictures,
        options["out"],
        options["perceptual_weights"],
        trainer.device,
        crop_size=crop.size if crop.pad else suitable_crop_size(trainer.recipe.model),
        pad=crop.pad,
        training=trainer.batches.pictures,
    )


def _preset(name: str) -> Stage1Recipe:
    from vqcodec.training.stage1.presets import PRESETS

    if name not in PRESETS:
        raise click.UsageError(f"preset {name}: there are {', '.join(PRESETS)}")
    return PRESETS[name]


def _configured(recipe: Stage1Recipe, options: dict[str, Any]) -> Stage1Recipe:
    """The recipe with the options that were given. `--set` goes last."""
    from vqcodec.training.common.overrides import SettingError, with_settings
    from vqcodec.training.stage1.presets import with_codebook_size, with_factor

    try:
        if options["factor"] is not None:
            recipe = with_factor(recipe, options["factor"])
        if options["codebook_size"] is not None:
            recipe = with_codebook_size(recipe, options["codebook_size"])
        if options["no_perceptual"]:
            weights = recipe.training.weights.without_networks()
            recipe = replace(recipe, training=replace(recipe.training, weights=weights))
        given = [
            f"training.{setting}={options[option]}"
            for option, setting in _NAMED_SETTINGS.items()
            if options[option] is not None
        ]
        held = {*options["held"], *(("encoder", "codebooks") if options["decoder_only"] else ())}
        if held:
            given.append(f"training.held={json.dumps(sorted(held))}")
        return with_settings(recipe, [*given, *options["settings"]])
    except (SettingError, ValueError) as error:
        raise click.UsageError(str(error)) from error


#: option -> setting of the training
_NAMED_SETTINGS = {
    "steps": "steps",
    "batch_size": "batch_size",
    "accumulate": "accumulate",
    "crop_size": "crop.size",
    "learning_rate": "learning_rate",
    "seed": "seed",
}
