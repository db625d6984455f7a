"""vqcodec quantize-prior: a prior, or two, becomes the entropy model of its model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder
    from vqcodec.cards.prior_card import PriorFolder


@click.command(name="quantize-prior")
@click.argument("model", metavar="MODEL", type=options.READABLE_FOLDER)
@click.option(
    "--prior",
    type=options.READABLE_FOLDER,
    help="Folder of the prior. [default: the one in MODEL; with --context, none]",
)
@click.option(
    "--context",
    type=options.READABLE_FOLDER,
    help="Folder of a context network, for the levels after those of --prior; for all where --prior is not given.",
)
@click.option(
    "--data",
    multiple=True,
    type=options.READABLE,
    help="Pictures that show how large activations of a transformer get: folders, tar shards or files. A context "
    "network needs none.",
)
@click.option("--crops", type=options.AT_LEAST_1, default=64, show_default=True, help="Random crops of them.")
@options.debug
def quantize_prior(
    model: Path, prior: Path | None, context: Path | None, data: tuple[Path, ...], crops: int, debug: bool
) -> None:
    """Let a prior code the streams of a model.

    In the folder MODEL the prior is turned into whole numbers of 8 bits, so that every machine computes the same;
    `vqcodec encode --entropy prior` codes with it. The model gets another id, and reads the streams that were written
    before. A transformer is slow where a level has many tokens: a context network, of `vqcodec train stage2 --kind
    context`, can code the levels that it does not have, or all.
    """
    from vqcodec.cards.model_card import load_model_folder
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.export import export_entropy_prior

    before = load_model_folder(model.resolve())
    first, second = _priors(before, prior, context)
    if not data and not first.card.context:
        raise click.UsageError("a transformer needs --data")
    pictures = PictureSet(data) if data else None
    card = export_entropy_prior(before.path, first, pictures, crops=crops, context=second)
    click.echo(
        f"{model}: {printable(card.name)} can code streams with its prior; its id was {before.card.model_id.hex()}, "
        f"it is {card.model_id.hex()}"
    )


def _priors(model: ModelFolder, prior: Path | None, context: Path | None) -> tuple[PriorFolder, PriorFolder | None]:
    """The prior that has the first levels, and the one that goes on, if any. Raises ModelError."""
    from vqcodec.cards.prior_card import find_prior

    if context is None:
        return find_prior(model, prior), None
    network = find_prior(model, context)
    return (find_prior(model, prior), network) if prior else (network, None)
