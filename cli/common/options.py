"""Options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder

Command = TypeVar("Command", bound=Callable[..., Any])

_DEBUG = "vqcodec.debug"


def _check_device(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", value):
        raise click.BadParameter(f"{value!r} is none of auto, cpu, cuda, cuda:N, mps")
    return value


def _note_debug(context: click.Context, parameter: click.Parameter, value: bool) -> bool:
    """Given before or after the name of the command, --debug is the same."""
    context.meta[_DEBUG] = value or context.meta.get(_DEBUG, False)
    return wants_debug(context)


def wants_debug(context: click.Context) -> bool:
    """Whether --debug was given to the command or before its name."""
    return bool(context.meta.get(_DEBUG, False))


paths = click.argument("paths", nargs=-1, metavar="IN OUT | IN... -o DIR")
output_folder = click.option(
    "-o",
    "--output-folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Write the results of all inputs here.",
)
jobs = click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Files at a time; each needs memory for its picture.",
)
force = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each result.")
device = click.option(
    "--device", default="auto", show_default=True, callback=_check_device, help="auto, cpu, cuda, cuda:N or mps."
)
debug = click.option(
    "--debug", is_flag=True, callback=_note_debug, help="Show the traceback of an error; also before the command."
)


def max_pixels(function: Command) -> Command:
    """--max-pixels, with the limit of vqcodec.pictures.image as default."""
    from vqcodec.pictures.image import DEFAULT_MAX_PIXELS

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
