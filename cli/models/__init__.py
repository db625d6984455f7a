"""vqcodec models: which models are installed, importing and adding others; loads no torch to list them."""

from __future__ import annotations

import click

from vqcodec.cli.common import options
from vqcodec.cli.models.adding import add
from vqcodec.cli.models.importing import import_
from vqcodec.cli.models.listing import print_models


@click.group(invoke_without_command=True)
@options.as_json
@options.debug
@click.pass_context
def models(context: click.Context, as_json: bool, debug: bool) -> None:
    """List the installed models, or install others.

    These are the embedded ones, those in the folders that VQCODEC_MODELS names, and those that were imported or added.
    """
    if context.invoked_subcommand is None:
        print_models(as_json=as_json)


for command in (import_, add):
    models.add_command(command)
