"""The part of vqcodec train stage2 that trains context networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Protocol

import click

from vqcodec.cli.train.running import RunOptions, SettingOptions, check_resumed

if TYPE_CHECKING:
    from pathlib import Path

    from vqcodec.cards.model_card import ModelFolder
    from vqcodec.codec import Codec
    from vqcodec.generation.conditions import Condition
    from vqcodec.prior.context_network import ContextNetwork
    from vqcodec.training.data.types import Pictures
    from vqcodec.training.stage2.context_recipe import ContextRecipe
    from vqcodec.training.stage2.crop_tokens import TokenSource

#: the kind of prior
CONTEXT: Final = "context"
#: options that are of a transformer
_OF_TRANSFORMERS: Final = ("size", "order", "labels")


class _Options(Protocol):
    """Those of `vqcodec train stage2` that decide the kind and the levels."""

    @property
    def kind(self) -> str: ...
    @property
    def first(self) -> int | None: ...
    @property
    def levels(self) -> int | None: ...
    @property
    def init(self) -> Path | None: ...


def check_context_options(options: _Options) -> None:
    """Raises click.UsageError for options that the kind of prior does not have."""
    if options.kind != CONTEXT:
        if options.first is not None:
            raise click.UsageError("--first is of a context network; give --kind context, too")
        return
    given = [name for name in _OF_TRANSFORMERS if getattr(options, name)]
    if given:
        raise click.UsageError(f"--{given[0].replace('_', '-')} is of a transformer; a context network has none")


def context_trainer(
    model: ModelFolder,
    run: RunOptions,
    options: _Options,
    settings: SettingOptions,
    condition: Condition | None,
    make_source: Callable[[ContextRecipe], TokenSource],
) -> Any:
    """The trainer that the options describe, ready to run; with --resume, at the newest checkpoint."""
    from vqcodec.training.common.checkpoint import load_checkpoint, newest_checkpoint
    from vqcodec.training.stage2.context_trainer import ContextTrainer, context_recipe_of

    if run.resume:
        newest = newest_checkpoint(run.out)
        recipe = context_recipe_of(newest, load_checkpoint(newest))
        if options.first is not None or options.levels:
            wanted = settings.changed(_new_recipe(model, options)).model
            check_resumed(run.out, replace(wanted, condition=recipe.model.condition) == recipe.model)
    else:
        recipe = _new_recipe(model, options)
    recipe = _told(settings.changed(recipe), condition)
    about = {
        "model_id": model.card.model_id.hex(),
        "model_name": model.card.name,
        "classes": [],
        "condition_model_id": condition.model_id if condition else "",
    }
    trainer = ContextTrainer(recipe, make_source(recipe), run.out, about=about, device=run.device)
    if run.resume:
        trainer.resume()
    elif options.init:
        trainer.start_from(_network_in(options.init))
    return trainer


def _told(recipe: ContextRecipe, condition: Condition | None) -> ContextRecipe:
    try:
        return replace(recipe, model=replace(recipe.model, condition=condition.config if condition else None))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _network_in(folder: Path) -> ContextNetwork:
    """Of an exported network, or of a model that has one. Raises ModelError."""
    from vqcodec.cards.model_card import CARD_FILE, load_model_folder
    from vqcodec.cards.prior_card import PRIOR_CARD_FILE, load_prior_folder
    from vqcodec.training.stage2.context_export import network_of_model

    if (folder / CARD_FILE).exists() and not (folder / PRIOR_CARD_FILE).exists():
        return network_of_model(load_model_folder(folder))
    return load_prior_folder(folder).load_context()


def context_validation(
    trainer: Any, run: RunOptions, pictures: Pictures, codec: Codec, condition: Condition | None
) -> Any:
    """What measures the network at every checkpoint."""
    from vqcodec.training.stage2.context_validation import ContextValidation

    recipe = trainer.recipe
    levels, side = recipe.model.levels, recipe.training.crop.size
    return ContextValidation(pictures, codec, run.out, levels=levels, crop_size=side, condition=condition)


def _new_recipe(model: ModelFolder, options: _Options) -> ContextRecipe:
    from vqcodec.prior.context_config import context_config
    from vqcodec.training.stage2.context_recipe import ContextRecipe

    try:
        return ContextRecipe(
            context_config(model.card.autoencoder, first=(options.first or 1) - 1, levels=options.levels)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
