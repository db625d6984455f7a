"""vqcodec train stage2: train the prior on the tokens of a model; vqcodec train tokens: make these beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqcodec.cli.train import running as training_run

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder
    from vqcodec.cards.prior_card import PriorFolder
    from vqcodec.codec import Codec
    from vqcodec.generation.conditions import Condition
    from vqcodec.prior.config import PriorConfig
    from vqcodec.training.stage2.recipe import Stage2Recipe

_TOKENS_SUFFIX = ".npz"

_data = click.option(
    "--data",
    multiple=True,
    required=True,
    type=training_run.READABLE,
    help="Folder of pictures (nested), tar shard, MNIST or CIFAR-10 file, or picture; may be given several times.",
)
_model = click.option("--model", help="Name, id or folder of the model whose tokens these are.  [default: photo-4]")
_labels = click.option(
    "--labels", is_flag=True, help="Learn the classes too: the first folder below --data, or KEY.cls."
)


@click.command()
@training_run.run_options
@_data
@_model
@_labels
@click.option("--validation", type=training_run.READABLE, help="Held-out pictures, measured at every checkpoint.")
@click.option(
    "--condition",
    metavar="KIND",
    help="What the prior is told of each picture: edges, colours, or low-2, low-4, low-8: it at low resolution.",
)
@click.option(
    "--condition-model",
    metavar="MODEL",
    help="Model that makes the tokens of the condition.  [default: the model whose tokens are predicted]",
)
@click.option("--size", help="Of the prior: tiny, small, base or paper.  [default: tiny]")
@click.option("--levels", type=click.IntRange(min=1), help="Predict the first so many levels.  [default: all]")
@click.option("--order", help="In which tokens are predicted.  [default: wavefront]")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change any setting, such as model.radius=6 or training.pkeep=0.9; see docs/training.md.",
)
@click.option(
    "--init", type=training_run.FOLDER, help="Start from the prior in this folder. [default: start from nothing]"
)
@click.option("--steps", type=click.IntRange(min=1), help="Steps in all.  [default: 20000]")
@click.option("--batch-size", type=click.IntRange(min=1), help="Crops a step.  [default: 16]")
@click.option("--accumulate", type=click.IntRange(min=1), help="Cut a batch into so many parts, to save memory.")
@click.option("--crop-size", type=click.IntRange(min=1), help="Side of the training crops, pixels.  [default: 256]")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="[default: 0.004]")
@click.option("--seed", type=int, help="[default: 0]")
@click.pass_context
def stage2(context: click.Context, /, **options: Any) -> None:
    """Train the prior, a transformer that predicts the tokens of a model.

    --data takes a file of `vqcodec train tokens` too. With torchrun, several processes share each batch.
    """
    training_run.train_and_log(
        context, options, lambda: _trainer(options), lambda trainer: _validation(trainer, options)
    )


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_data
@_model
@_labels
@click.option("--crops", type=click.IntRange(min=1), default=20_000, show_default=True, help="Random crops.")
@click.option("--crop-size", type=click.IntRange(min=1), default=256, show_default=True, help="Their side, pixels.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
def tokens(file: Path, crops: int, crop_size: int, seed: int, **options: Any) -> None:
    """Write the tokens of random crops to FILE.npz, for `vqcodec train stage2 --data FILE.npz`."""
    from vqcodec.training.stage2.crop_tokens import PictureTokens, write_tokens
    from vqcodec.training.stage2.recipe import Stage2Config

    if file.suffix != _TOKENS_SUFFIX:
        raise click.UsageError(f"{file}: name it *{_TOKENS_SUFFIX}")
    codec = _codec(options)
    source = PictureTokens(
        _pictures(options["data"], options["labels"]),
        codec,
        levels=codec.card.autoencoder.levels,
        batch_size=min(16, crops),
        crop=replace(Stage2Config().crop, size=crop_size),
        seed=seed,
    )
    write_tokens(file, source, crops)
    click.echo(f"{file}: tokens of {crops} crops of {crop_size} x {crop_size} pixels, model {codec.card.name}")


def _trainer(options: dict[str, Any]) -> Any:
    """The trainer that the options describe, ready to run."""
    from vqcodec.cards.prior_card import load_prior_folder
    from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
    from vqcodec.training.stage2.trainer import Stage2Trainer, stage2_recipe_of

    out: Path = options["out"]
    init = load_prior_folder(options["init"]) if options["init"] else None
    model, condition = _model_folder(options), _condition(options)
    if options["resume"]:
        newest = newest_checkpoint(out)
        recipe = stage2_recipe_of(newest, load_checkpoint(newest))
    else:
        training_run.check_empty(out)
        if init:
            _check_fits(init, model)
        recipe = _new_recipe(model, init.card.prior if init else None, options)
    recipe = _configured(recipe, options)
    source = _source(recipe, condition, options)
    told = replace(recipe.model, classes=len(source.classes), condition=condition.config if condition else None)
    recipe = replace(recipe, model=told)
    about = {
        "model_id": model.card.model_id.hex(),
        "model_name": model.card.name,
        "classes": list(source.classes),
        "condition_model_id": condition.model_id if condition else "",
    }
    trainer = Stage2Trainer(recipe, source, out, about=about, device=options["device"])
    if options["resume"]:
        trainer.resume()
    elif init:
        trainer.start_from(init.load())
    return trainer


def _check_fits(init: PriorFolder, model: ModelFolder) -> None:
    """Raises ModelError for a prior of tokens of another shape. Those of another model can be a good start."""
    from vqcodec.cards.errors import ModelError

    prior, shape = init.card.prior, model.card.autoencoder
    sizes, factors = shape.quantizer.codebook_sizes[: prior.levels], shape.level_factors[: prior.levels]
    if (prior.codebook_sizes, prior.factors) != (sizes, factors):
        raise ModelError(
            f"{init.path}: for the tokens of model {init.card.model_name}, which have another shape than those of "
            f"{model.card.name}; leave --init out"
        )


def _new_recipe(model: ModelFolder, init: PriorConfig | None, options: dict[str, Any]) -> Stage2Recipe:
    from vqcodec.prior.config import prior_config
    from vqcodec.training.stage2.recipe import Stage2Recipe

    if init:
        if given := [f"--{name}" for name in ("size", "levels", "order") if options[name] is not None]:
            raise click.UsageError(f"with --init the prior has the shape of the one there; leave {given[0]} out")
        return Stage2Recipe(init)
    try:
        chosen = prior_config(
            model.card.autoencoder,
            options["size"] or "tiny",
            levels=options["levels"],
            order=options["order"] or "wavefront",
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return Stage2Recipe(chosen)


def _configured(recipe: Stage2Recipe, options: dict[str, Any]) -> Stage2Recipe:
    """The recipe with the options that were given. `--set` goes last."""
    from vqcodec.training.common.overrides import SettingError, with_settings

    given = [
        f"training.{setting}={options[option]}"
        for option, setting in _NAMED_SETTINGS.items()
        if options[option] is not None
    ]
    try:
        return with_settings(recipe, [*given, *options["settings"]])
    except (SettingError, ValueError) as error:
        raise click.UsageError(str(error)) from error


def _condition(options: dict[str, Any]) -> Condition | None:
    """What the prior is told besides."""
    if not options["condition"]:
        if options["condition_model"]:
            raise click.UsageError("--condition-model makes the tokens of a --condition: give one")
        return None
    from vqcodec.generation.conditions import Condition

    return Condition(
        options["condition"], _codec(options, "condition_model" if options["condition_model"] else "model")
    )


def _source(recipe: Stage2Recipe, condition: Condition | None, options: dict[str, Any]) -> Any:
    """The tokens to train on."""
    from vqcodec.compute.distributed import process_count, process_rank
    from vqcodec.training.stage2.crop_tokens import PictureTokens, StoredTokens

    training, levels = recipe.training, recipe.model.levels
    shared: dict[str, Any] = {
        "levels": levels,
        "batch_size": training.batch_size,
        "seed": training.seed,
        "share": slice(process_rank(), None, process_count()),
    }
    stored = [path for path in options["data"] if path.suffix == _TOKENS_SUFFIX]
    if stored:
        if len(options["data"]) > 1:
            raise click.UsageError(f"{stored[0]}: give one file of tokens, or pictures, not both")
        if condition:
            raise click.UsageError(f"{stored[0]}: a file of tokens has no {condition.kind}; give pictures")
        return StoredTokens(stored[0], model_id=_model_folder(options).card.model_id.hex(), **shared)
    pictures = _pictures(options["data"], options["labels"])
    return PictureTokens(pictures, _codec(options), crop=training.crop, condition=condition, **shared)


def _validation(trainer: Any, options: dict[str, Any]) -> Any:
    """What measures the prior at every checkpoint, or None."""
    from vqcodec.training.stage2.validation import PriorValidation

    if not options["validation"]:
        return None
    return PriorValidation(
        _pictures((options["validation"],), options["labels"]),
        _codec(options),
        options["out"],
        levels=trainer.recipe.model.levels,
        crop_size=trainer.config.crop.size,
        classes=trainer.source.classes,
        condition=_condition(options),
    )


def _pictures(paths: tuple[Path, ...], labels: bool) -> Any:
    from vqcodec.training.data.pictures import PictureSet

    return PictureSet(paths, minimum_side=32, labels=labels)


def _model_folder(options: dict[str, Any], option: str = "model") -> ModelFolder:
    from vqcodec.cards.finding import DEFAULT_MODEL, find_model

    return find_model(options[option] or DEFAULT_MODEL)


def _codec(options: dict[str, Any], option: str = "model") -> Codec:
    from vqcodec.codec import Codec

    return Codec.load(_model_folder(options, option).path, device=options["device"])


#: option -> setting of the training
_NAMED_SETTINGS = {
    "steps": "steps",
    "batch_size": "batch_size",
    "accumulate": "accumulate",
    "crop_size": "crop.size",
    "learning_rate": "learning_rate",
    "seed": "seed",
}
