"""vqcodec export checkpoint: a checkpoint becomes the folder of a model or of a prior."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable
from vqcodec.cli.common.files import FileError


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("folder", type=options.FOLDER)
@click.option("--name", required=True, help="Name of the model, as in `vqcodec encode --model NAME`.")
@click.option(
    "--data",
    multiple=True,
    type=options.READABLE,
    help="Pictures to count the tokens of, for the static entropy model; needed for a model, not for a prior.",
)
@click.option(
    "--pictures", type=options.AT_LEAST_1, default=1000, show_default=True, help="Count the tokens of about so many."
)
@click.option("--description", required=True, help="On what the model was trained, in words.")
@click.option("--licence", required=True, help="Of the weights.")
@options.force
@options.debug
def export(
    checkpoint: Path,
    folder: Path,
    name: str,
    data: tuple[Path, ...],
    pictures: int,
    description: str,
    licence: str,
    force: bool,
    debug: bool,
) -> None:
    """Make a folder with a model, or a prior, of a checkpoint.

    CHECKPOINT is one of `vqcodec train stage1` or `stage2`.

    FOLDER gets the card and the averaged weights of CHECKPOINT as float16, both or neither. With -f they replace what
    is there; other files in FOLDER stay. The prior in MODEL/prior is the one that its model uses by default.
    """
    if folder.exists() and not force:
        raise FileError(f"{folder}: exists already; give -f to overwrite it")
    from vqcodec.training.data.pictures import PictureSet
    from vqcodec.training.export import export_model, export_prior, is_prior

    if is_prior(checkpoint):
        prior = export_prior(checkpoint, folder, name=name, description=description, licence=licence)
        click.echo(printable(f"{folder}: prior {prior.name} for model {prior.model_name} ({prior.model_id})"))
        return
    if not data:
        raise click.UsageError("a model needs --data")
    card = export_model(
        checkpoint,
        folder,
        name=name,
        pictures=PictureSet(data),
        picture_count=pictures,
        description=description,
        licence=licence,
    )
    click.echo(printable(f"{folder}: model {card.name} ({card.model_id.hex()})"))
