"""vqcodec quantize-prior: a prior becomes the entropy model of its model."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable


@click.command(name="quantize-prior")
@click.argument("model", metavar="MODEL", type=options.READABLE_FOLDER)
@click.option(
    "--prior",
    type=options.READABLE_FOLDER,
    help="Folder of the prior. [default: the one in MODEL]",
)
@click.option(
    "--data",
    multiple=True,
    required=True,
    type=options.READABLE,
    help="Pictures that show how large activations get: folders, tar shards or files.",
)
@click.option("--crops", type=options.AT_LEAST_1, default=64, show_default=True, help="Random crops of them.")
@options.debug
def quantize_prior(model: Path, prior: Path | None, data: tuple[Path, ...], crops: int, debug: bool) -> None:
    """Let a prior code the streams of a model.

    In the folder MODEL the prior is turned into whole numbers of 8 bits, so that every machine computes the same;
    `vqcodec encode --entropy prior` codes with it. The model gets another id, and reads the streams that were written
    before.
    """
    from vqcodec.cards.model_card import load_model_folder
    from vqcodec.cards.prior_card import find_prior
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.export import export_entropy_prior

    before = load_model_folder(model.resolve())
    card = export_entropy_prior(before.path, find_prior(before, prior), PictureSet(data), crops=crops)
    click.echo(
        f"{model}: {printable(card.name)} can code streams with its prior; its id was {before.card.model_id.hex()}, "
        f"it is {card.model_id.hex()}"
    )
