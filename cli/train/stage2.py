"""vqcodec train stage2: train the prior on the tokens of a model; vqcodec train tokens: make these beforehand."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cli.common import options as common
from vqcodec.cli.common.files import Task, check_target
from vqcodec.cli.common.option_groups import option, takes
from vqcodec.cli.common.options import AT_LEAST_0, AT_LEAST_1, FILE, FOLDER, READABLE
from vqcodec.cli.train.context import CONTEXT, check_context_options, context_trainer, context_validation
from vqcodec.cli.train.running import RunOptions, SettingOptions, check_data, check_empty, check_resumed, train_and_log

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder
    from vqcodec.cards.prior_card import PriorFolder
    from vqcodec.codec import Codec
    from vqcodec.generation.conditions import Condition
    from vqcodec.prior.config import PriorConfig
    from vqcodec.training.stage2.context_recipe import ContextRecipe
    from vqcodec.training.stage2.recipe import Stage2Recipe

_TOKENS_SUFFIX = ".npz"


@dataclass(frozen=True)
class TokenOptions:
    """Whose tokens these are, and whether they have classes."""

    model: str = option(
        "--model",
        default=DEFAULT_MODEL,
        show_default=True,
        help="Name, id or folder of the model whose tokens these are.",
    )
    labels: bool = option(
        "--labels", is_flag=True, help="Learn the classes too: the first folder below --data, or KEY.cls."
    )


@dataclass(frozen=True)
class Stage2Options(TokenOptions):
    """What kind of prior it is, what it is told, its shape, and where its training starts."""

    kind: str = option(
        "--kind",
        type=click.Choice(["transformer", CONTEXT]),
        default="transformer",
        show_default=True,
        help="A transformer generates pictures and codes streams; a context network codes streams, also levels of many "
        "tokens, fast, or draws pictures that a --condition tells nearly all of.",
    )
    first: int | None = option(
        "--first", type=AT_LEAST_1, help="First level that a context network predicts.  [default: 1]"
    )
    condition: str | None = option(
        "--condition",
        metavar="KIND",
        help="What the prior is told of each picture: edges, colours, or low-2, low-4, low-8: it at low resolution.",
    )
    condition_model: str | None = option(
        "--condition-model",
        metavar="MODEL",
        help="Model that makes the tokens of the condition.  [default: the model whose tokens are predicted]",
    )
    size: str | None = option("--size", help="Of the prior: tiny, small, base or paper.  [default: tiny]")
    levels: int | None = option("--levels", type=AT_LEAST_1, help="Predict the first so many levels.  [default: all]")
    order: str | None = option("--order", help="In which tokens are predicted.  [default: wavefront]")
    tokens: str | None = option(
        "--tokens", metavar="OUT", help="A dataset that `vqcodec tokenize` made, in the place of --data."
    )
    init: Path | None = option(
        "--init",
        type=FOLDER,
        help="Start from the prior in this folder, or a context network from that of the model in it. "
        "[default: start from nothing]",
    )


@click.command()
@takes(RunOptions, "run")
@takes(Stage2Options, "options")
@takes(SettingOptions, "settings")
@click.pass_context
def stage2(context: click.Context, /, run: RunOptions, options: Stage2Options, settings: SettingOptions) -> None:
    """Train the prior, which predicts the tokens of a model.

    --data takes a file of `vqcodec train tokens` too, --tokens a dataset of
    `vqcodec tokenize`. With torchrun, several processes share each batch.
    """
    if not options.tokens:
        check_data(run)
    check_context_options(options)
    is_context = options.kind == CONTEXT
    train_and_log(
        context,
        run,
        lambda: _context_trainer(run, options, settings) if is_context else _trainer(run, options, settings),
        lambda trainer: (_context_validation if is_context else _validation)(trainer, run, options),
    )


@click.command()
@click.argument("file", type=FILE)
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=READABLE,
    help="Folder of pictures (nested), tar shard, MNIST or CIFAR-10 file, or picture; may be given several times.",
)
@takes(TokenOptions, "options")
@click.option("--crops", type=AT_LEAST_1, default=20_000, show_default=True, help="Random crops.")
@click.option("--crop-size", type=AT_LEAST_1, default=256, show_default=True, help="Their side, pixels.")
@click.option("--seed", type=AT_LEAST_0, default=0, show_default=True)
@common.device
@common.force
def tokens(
    file: Path,
    data: tuple[Path, ...],
    options: TokenOptions,
    crops: int,
    crop_size: int,
    seed: int,
    device: str,
    force: bool,
) -> None:
    """Write the tokens of random crops to FILE.npz, for `vqcodec train stage2 --data FILE.npz`."""
    from vqcodec.training.stage2.crop_tokens import PictureTokens, write_tokens
    from vqcodec.training.stage2.recipe import Stage2Config

    if file.suffix != _TOKENS_SUFFIX:
        raise click.UsageError(f"{file}: name it *{_TOKENS_SUFFIX}")
    check_target(Task(str(data[0]), str(file)), force=force)
    codec = _codec(options.model, device)
    source = PictureTokens(
        _pictures(data, options),
        codec,
        levels=codec.card.autoencoder.levels,
        batch_size=min(16, crops),
        crop=replace(Stage2Config().crop, size=crop_size),
        seed=seed,
    )
    write_tokens(file, source, crops)
    click.echo(f"{file}: tokens of {crops} crops of {crop_size} x {crop_size} pixels, model {codec.card.name}")


def _trainer(run: RunOptions, options: Stage2Options, settings: SettingOptions) -> Any:
    """The trainer that the options describe, ready to run."""
    from vqcodec.cards.prior_card import load_prior_folder
    from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
    from vqcodec.training.stage2.trainer import Stage2Trainer, stage2_recipe_of

    init = load_prior_folder(options.init) if options.init else None
    model, condition = find_model(options.model), _condition(options, run.device)
    if run.resume:
        newest = newest_checkpoint(run.out)
        recipe = stage2_recipe_of(newest, load_checkpoint(newest))
        if init or options.size or options.levels or options.order:
            wanted = settings.changed(_new_recipe(model, init.card.own_prior if init else None, options)).model
            wanted = replace(wanted, classes=recipe.model.classes, condition=recipe.model.condition)
            check_resumed(run.out, wanted == recipe.model)
    else:
        check_empty(run.out)
        if init:
            _check_fits(init, model)
        recipe = _new_recipe(model, init.card.own_prior if init else None, options)
    recipe = settings.changed(recipe)
    source = _source(recipe, condition, run, options)
    prior = replace(recipe.model, classes=len(source.classes), condition=condition.config if condition else None)
    recipe = replace(recipe, model=prior)
    about = {
        "model_id": model.card.model_id.hex(),
        "model_name": model.card.name,
        "classes": list(source.classes),
        "condition_model_id": condition.model_id if condition else "",
    }
    trainer = Stage2Trainer(recipe, source, run.out, about=about, device=run.device)
    if run.resume:
        trainer.resume()
    elif init:
        trainer.start_from(init.load_own())
    return trainer


def _context_trainer(run: RunOptions, options: Stage2Options, settings: SettingOptions) -> Any:
    if not run.resume:
        check_empty(run.out)
    model = find_model(options.model)
    condition = _condition(options, run.device)
    return context_trainer(
        model, run, options, settings, condition, lambda recipe: _source(recipe, condition, run, options)
    )


def _context_validation(trainer: Any, run: RunOptions, options: Stage2Options) -> Any:
    if not run.validation:
        return None
    pictures, codec = _pictures((run.validation,), options), _codec(options.model, run.device)
    return context_validation(trainer, run, pictures, codec, _condition(options, run.device))


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


def _new_recipe(model: ModelFolder, init: PriorConfig | None, options: Stage2Options) -> Stage2Recipe:
    from vqcodec.prior.config import prior_config
    from vqcodec.training.stage2.recipe import Stage2Recipe

    if init:
        if shape := [f"--{name}" for name in ("size", "levels", "order") if getattr(options, name) is not None]:
            raise click.UsageError(f"with --init the prior has the shape of the one there; leave {shape[0]} out")
        return Stage2Recipe(init)
    try:
        prior = prior_config(
            model.card.autoencoder,
            options.size or "tiny",
            levels=options.levels,
            order=options.order or "wavefront",
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    return Stage2Recipe(prior)


def _condition(options: Stage2Options, device: str) -> Condition | None:
    """What the prior is told besides."""
    if not options.condition:
        if options.condition_model:
            raise click.UsageError("--condition-model makes the tokens of a --condition: give one")
        return None
    from vqcodec.generation.conditions import Condition

    return Condition(options.condition, _codec(options.condition_model or options.model, device))


def _source(
    recipe: Stage2Recipe | ContextRecipe, condition: Condition | None, run: RunOptions, options: Stage2Options
) -> Any:
    """The tokens to train on."""
    from vqcodec.compute.distributed import process_count, process_rank
    from vqcodec.training.stage2.crop_tokens import PictureTokens, StoredTokens

    training, levels = recipe.training, recipe.model.levels
    batches: dict[str, Any] = {
        "levels": levels,
        "batch_size": training.batch_size,
        "seed": training.seed,
        "share": slice(process_rank(), None, process_count()),
    }
    model_id = find_model(options.model).card.model_id.hex()
    if options.tokens:
        if run.data:
            raise click.UsageError(f"{options.tokens}: give --tokens or --data, not both")
        if condition:
            raise click.UsageError(f"{options.tokens}: a dataset of tokens has no {condition.kind}; give pictures")
        from vqcodec.training.stage2.dataset_tokens import DatasetTokens

        return DatasetTokens(options.tokens, model_id=model_id, **batches)
    stored = [path for path in run.data if path.suffix == _TOKENS_SUFFIX]
    if stored:
        if len(run.data) > 1:
            raise click.UsageError(f"{stored[0]}: give one file of tokens, or pictures, not both")
        if condition:
            raise click.UsageError(f"{stored[0]}: a file of tokens has no {condition.kind}; give pictures")
        return StoredTokens(stored[0], model_id=model_id, **batches)
    codec = _codec(options.model, run.device)
    return PictureTokens(_pictures(run.data, options), codec, crop=training.crop, condition=condition, **batches)


def _validation(trainer: Any, run: RunOptions, options: Stage2Options) -> Any:
    """What measures the prior at every checkpoint, or None."""
    from vqcodec.training.stage2.validation import PriorValidation

    if not run.validation:
        return None
    return PriorValidation(
        _pictures((run.validation,), options),
        _codec(options.model, run.device),
        run.out,
        levels=trainer.recipe.model.levels,
        crop_size=trainer.config.crop.size,
        classes=trainer.source.classes,
        condition=_condition(options, run.device),
    )


def _pictures(paths: tuple[Path, ...], options: TokenOptions) -> Any:
    from vqcodec.training.data.pictures import PictureSet

    return PictureSet(paths, minimum_side=32, labels=options.labels)


def _codec(model: str, device: str) -> Codec:
    """Where training runs, on a GPU if there is one: tokens to train on need not be the same everywhere."""
    from vqcodec.codec import Codec
    from vqcodec.compute.devices import choose_device

    return Codec.load(find_model(model).path, device=str(choose_device(device)))
