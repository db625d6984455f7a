"""vqcodec train stage1: Encoder, codebooks and Decoder on pictures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from vqcodec.cli.common.failures import printable
from vqcodec.cli.common.option_groups import option, takes
from vqcodec.cli.common.options import READABLE_FOLDER
from vqcodec.cli.train.running import RunOptions, SettingOptions, check_data, check_empty, check_resumed, train_and_log
from vqcodec.models.config import PARTS

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder
    from vqcodec.training.stage1.recipe import Stage1Recipe

#: steps of a run that ends by time
_NO_END: Final = 10**9
#: where none is named
_PRESET: Final = "photo"


@dataclass(frozen=True)
class Stage1Options:
    """Where a training of stage 1 starts, and what it learns by."""

    perceptual_weights: Path | None = option(
        "--perceptual-weights",
        type=READABLE_FOLDER,
        help="Folder with the weights of LPIPS's networks, which the presets for photos need; see docs/training.md.",
    )
    preset: str | None = option(
        "--preset",
        help="Model and settings; `vqcodec train presets` lists them.  [default: photo; with --init what the model was "
        "trained by, at a low rate]",
    )
    recipe: Path | None = option(
        "--recipe",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Model and settings from a file, in the place of a preset: what `vqcodec train presets NAME` prints.",
    )
    decay_from: Path | None = option(
        "--decay-from",
        metavar="CHECKPOINT",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Branch off: go on from a checkpoint of another run, with its settings and its optimiser, while the "
        "learning rate falls to zero over --steps more steps.",
    )
    minutes: float | None = option(
        "--minutes",
        type=click.FloatRange(min=0, min_open=True),
        help="End after so many minutes of training, the learning rate following the time, unless --steps end before.",
    )
    no_perceptual: bool = option(
        "--no-perceptual",
        is_flag=True,
        help="Without the losses, and a discriminator, that need --perceptual-weights: pixels only.",
    )
    factor: int | None = option(
        "--factor",
        type=int,
        help="Downsampling factor f of the default networks, 1 to 32.  [default: of the preset]",
    )
    codebook_size: int | None = option(
        "--codebook-size", type=int, help="K of every level, 2 to 262144.  [default: of the preset]"
    )
    init: str | None = option(
        "--init",
        metavar="MODEL",
        help="Start from this model, by name, id or folder: fine-tuning. [default: start from the data]",
    )
    decoder_only: bool = option(
        "--decoder-only",
        is_flag=True,
        help="With --init: hold Encoder and codebooks, so that the result decodes that model's streams too.",
    )
    held: tuple[str, ...] = option(
        "--hold",
        multiple=True,
        type=click.Choice(PARTS),
        help="With --init: a part that stays as it is; with the codebooks the result decodes that model's streams, and "
        "its prior fits. May be given twice.",
    )
    device_crops: bool | None = option(
        "--device-crops/--no-device-crops",
        default=None,
        help="Keep all pictures decoded on the device, and cut crops there.  [default: on a GPU]",
    )
    compile_networks: bool = option("--compile", is_flag=True, help="Put the networks through torch.compile.")

    def changed(self, recipe: Stage1Recipe, settings: SettingOptions) -> Stage1Recipe:
        """The recipe with the options that were given; --set goes last. Raises click.UsageError."""
        from vqcodec.training.stage1.presets import with_codebook_size, with_factor

        try:
            if self.factor is not None:
                recipe = with_factor(recipe, self.factor)
            if self.codebook_size is not None:
                recipe = with_codebook_size(recipe, self.codebook_size)
            if self.no_perceptual:
                training = recipe.training
                training = replace(training, weights=training.weights.without_networks())
                if training.adversary.kind == "features":
                    training = replace(training, adversary=replace(training.adversary, weight=0.0))
                recipe = replace(recipe, training=training)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        more = [] if self.minutes is None else [f"training.minutes={self.minutes}"]
        if self.minutes is not None and settings.steps is None:
            more.append(f"training.steps={_NO_END}")
        held = {*self.held, *(("encoder", "codebooks") if self.decoder_only else ())}
        if held:
            more.append(f"training.held={json.dumps(sorted(held))}")
        return settings.changed(recipe, *more)


@click.command()
@takes(RunOptions, "run")
@takes(Stage1Options, "options")
@takes(SettingOptions, "settings")
@click.pass_context
def stage1(context: click.Context, /, run: RunOptions, options: Stage1Options, settings: SettingOptions) -> None:
    """Train Encoder, codebooks and Decoder on pictures.

    With torchrun, several processes share each batch: torchrun --nproc-per-node 4 -m vqcodec.cli.main train stage1 ...
    """
    check_data(run)
    train_and_log(
        context,
        run,
        lambda: _trainer(run, options, settings),
        lambda trainer: _validation(trainer, run, options.perceptual_weights),
    )


def _trainer(run: RunOptions, options: Stage1Options, settings: SettingOptions) -> Any:
    """The trainer that the options describe, ready to run."""
    from vqcodec.cards.engines import load_network
    from vqcodec.cards.finding import find_model
    from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.export import Origin
    from vqcodec.training.stage1.recipe import recipe_of
    from vqcodec.training.stage1.trainer import Stage1Trainer

    init = find_model(options.init) if options.init else None
    if run.resume:
        recipe = _resumed(run.out, recipe_of(load_checkpoint(newest_checkpoint(run.out))), options, settings, init)
    elif options.decay_from:
        check_empty(run.out)
        state = load_checkpoint(options.decay_from)
        recipe = _falling(recipe_of(state), state["step"], options, settings)
    else:
        check_empty(run.out)
        recipe = options.changed(_first_recipe(options, init), settings)
    if recipe.training.held and not (init or run.resume or options.decay_from):
        raise click.UsageError("parts can be held of a model only (--hold, --decoder-only): give --init")
    trainer = Stage1Trainer(
        recipe,
        PictureSet(run.data, minimum_side=1 if recipe.training.crop.pad else 32),
        run.out,
        perceptual_weights=options.perceptual_weights,
        device=run.device,
        compile_networks=options.compile_networks,
        device_crops=options.device_crops,
    )
    if run.resume:
        trainer.resume()
    elif options.decay_from:
        trainer.branch_off(options.decay_from)
    elif init:
        trainer.start_from(load_network(init), init.path)
        if "codebooks" in recipe.training.held:
            trainer.origin = asdict(Origin.of(init))
    return trainer


def _first_recipe(options: Stage1Options, init: ModelFolder | None) -> Stage1Recipe:
    """Of a run that begins."""
    from vqcodec.training.stage1.kept_discriminator import has_kept
    from vqcodec.training.stage1.recipe import going_on

    recipe = _read_recipe(options.recipe) if options.recipe else named_preset(options.preset or _PRESET)
    if init is None:
        return recipe
    # a model that has learned colours needs no rise of the perceptual losses
    training = replace(recipe.training, perceptual_rise_steps=0)
    if not (options.recipe or options.preset):
        try:
            training = going_on(init.card.training["settings"], keeps_discriminator=has_kept(init.path))
        except (KeyError, TypeError, ValueError):
            click.echo(
                f"warning: the card of {printable(init.card.name)} does not say how this version could go on training "
                f"it: the losses are those of preset {_PRESET}",
                err=True,
            )
    return replace(recipe, model=init.card.autoencoder, training=training)


def _validation(trainer: Any, run: RunOptions, perceptual_weights: Path | None) -> Any:
    """What measures the model at every checkpoint, or None."""
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.stage1.map_validation import MapValidation
    from vqcodec.training.stage1.validation import Validation, suitable_crop_size

    if not run.validation:
        return None
    pictures, crop = PictureSet([run.validation]), trainer.config.crop
    if trainer.recipe.model.label_map:
        return MapValidation(
            pictures, run.out, trainer.recipe.model, crop_size=suitable_crop_size(trainer.recipe.model)
        )
    return Validation.load(
        pictures,
        run.out,
        perceptual_weights,
        trainer.device,
        crop_size=crop.size if crop.pad else suitable_crop_size(trainer.recipe.model),
        pad=crop.pad,
        training=trainer.batches.pictures,
    )


def _resumed(
    out: Path, recipe: Stage1Recipe, options: Stage1Options, settings: SettingOptions, init: ModelFolder | None
) -> Stage1Recipe:
    """The recipe of a run that goes on, with the options that were given. Raises click.UsageError for those of another
    run."""
    if options.decay_from:
        from vqcodec.training.common.checkpoint import load_checkpoint

        branched = load_checkpoint(options.decay_from)["step"]
        if recipe.training.decay_from != branched:
            raise click.UsageError(
                f"{out}: the run there is no branch from {options.decay_from}: leave --decay-from out, or give another "
                "--out"
            )
        return _falling(recipe, branched, options, settings)
    if options.preset or options.recipe or init:
        check_resumed(out, options.changed(_first_recipe(options, init), settings).model == recipe.model)
    return options.changed(recipe, settings)


def _falling(recipe: Stage1Recipe, step: int, options: Stage1Options, settings: SettingOptions) -> Stage1Recipe:
    """The recipe of a branch from a step of another run: the rate falls over the steps that --steps asks for."""
    if settings.steps is None:
        raise click.UsageError("--decay-from needs --steps: over how many more steps the learning rate falls")
    others = (options.init, options.preset, options.recipe, options.factor, options.codebook_size, options.minutes)
    if any(others):
        raise click.UsageError("--decay-from goes with the model and settings of its checkpoint alone")
    recipe = options.changed(recipe, settings)
    branch = replace(recipe.training, decay_from=step, steps=step + settings.steps, minutes=0.0)
    return replace(recipe, training=branch)


def _read_recipe(path: Path) -> Stage1Recipe:
    from vqcodec.training.stage1.recipe import Stage1Recipe

    try:
        return Stage1Recipe.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise click.ClickException(
            f"{path}: not a recipe of this version ({error}); `vqcodec train presets NAME` prints one"
        ) from error


def named_preset(name: str) -> Stage1Recipe:
    """Raises click.UsageError for a name that no preset has."""
    from vqcodec.training.stage1.presets import PRESETS

    if name not in PRESETS:
        raise click.UsageError(f"preset {name}: there are {', '.join(PRESETS)}")
    return PRESETS[name]
