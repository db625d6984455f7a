"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from vqcodec.model_card import ModelFolder

Command = TypeVar("Command", bound=Callable[..., Any])

paths = click.argument("paths", nargs=-1, metavar="IN OUT | IN... -o DIR")
output_folder = click.option(
    "-o",
    "--output-folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the results of all inputs here.",
)
jobs = click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Files at a time.")
force = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each file.")
device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
debug = click.option("--debug", is_flag=True, help="Show the traceback of an error.")


def max_pixels(function: Command) -> Command:
    """--max-pixels, with the limit of vqcodec.image as default."""
    from vqcodec.image import DEFAULT_MAX_PIXELS

    option = click.option(
        "--max-pixels",
        type=click.IntRange(min=1),
        default=DEFAULT_MAX_PIXELS,
        show_default=True,
        help="Refuse larger pictures.",
    )
    return option(function)


def check_levels(levels: int | None, model: ModelFolder) -> None:
    """Raises click.BadParameter when the model has no such number of levels."""
    most = model.card.autoencoder.levels
    if levels is not None and levels > most:
        raise click.BadParameter(f"model {model.card.name} has 1 to {most} levels", param_hint="'--levels'")
