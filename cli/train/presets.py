"""vqcodec train presets: recipes of stage 1."""

from __future__ import annotations

import json

import click

from vqcodec.cli.train.stage1 import named_preset


@click.command()
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """Show the presets of stage 1, or all settings of one as JSON, as `--set` names them."""
    from vqcodec.training.stage1.presets import PRESETS

    if name is None:
        for preset, recipe in PRESETS.items():
            model = recipe.model
            sizes = ", ".join(map(str, model.quantizer.codebook_sizes))
            click.echo(f"{preset:<18} f = {model.downsampling_factor:<3} K = {sizes:<24} {recipe.training.steps} steps")
    else:
        click.echo(json.dumps(named_preset(name).to_dict(), indent=1))
