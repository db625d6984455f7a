"""vqcodec man: the manual page, made of the commands' own help."""

from __future__ import annotations

import click

from vqcodec import __version__
from vqcodec.cli.common.manual import manual_page


@click.command(hidden=True)
@click.pass_context
def man(context: click.Context) -> None:
    """Print the manual page, vqcodec.1, for man: vqcodec man | man -l -"""
    group = context.find_root().command
    root = click.Context(group, info_name="vqcodec", **group.context_settings)  # whatever it was called as
    click.echo(manual_page(root, __version__), nl=False)
