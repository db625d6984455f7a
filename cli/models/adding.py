"""vqcodec models add: a model of vqcodec, from a folder, a zip file or the hub, where --model finds it."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.models.listing import as_text, describe_model


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("--out", type=options.FOLDER, help="Folder of the model.  [default: one where --model NAME finds it]")
@options.force
@options.debug
def add(source: str, out: Path | None, force: bool, debug: bool) -> None:
    """Install a model of vqcodec.

    SOURCE is a folder with a card.json, a zip file of one, or hf://OWNER/REPO[/FOLDER][@REVISION]. Its weights must be
    those that the card names.
    """
    from vqcodec.cards.installing import install_model

    click.echo(as_text(describe_model(install_model(source, out, overwrite=force))))
