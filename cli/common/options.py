"""Options that several commands share."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from vqcodec.bitstream import ENTROPY_IDS
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, installed_models
from vqcodec.cli.common.failures import printable
from vqcodec.cli.common.option_groups import option, shared

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder

Command = TypeVar("Command", bound=Callable[..., Any])

_DEBUG = "vqcodec.debug"

#: what a path must be
READABLE: Final = click.Path(exists=True, path_type=Path)
READABLE_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
READABLE_FOLDER: Final = click.Path(exists=True, file_okay=False, path_type=Path)
FILE: Final = click.Path(dir_okay=False, path_type=Path)
FOLDER: Final = click.Path(file_okay=False, path_type=Path)

#: what a number must be
AT_LEAST_0: Final = click.IntRange(min=0)
AT_LEAST_1: Final = click.IntRange(min=1)
ABOVE_0: Final = click.FloatRange(min=0, min_open=True)


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


def complete_files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell completes: the names of files."""
    return [CompletionItem(incomplete, type="file")]


def complete_models(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell completes: the installed models, and folders."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            names = [each.card.name for each in installed_models() if each.card.name.startswith(incomplete)]
    except ModelError:
        names = []
    return [*map(CompletionItem, names)] or [CompletionItem(incomplete, type="dir")]


paths = click.argument("paths", nargs=-1, metavar="IN OUT | IN... -o DIR", shell_complete=complete_files)
output_folder = click.option(
    "-o",
    "--output-folder",
    type=FOLDER,
    metavar="DIR",
    help="Write the results of all inputs here.",
)
jobs = click.option(
    "--jobs",
    type=AT_LEAST_1,
    default=1,
    show_default=True,
    help="Files at a time; each needs memory for its picture.",
)
force = click.option("-f", "--force", is_flag=True, help="Overwrite existing files.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line for each result.")
device = click.option(
    "--device", default="auto", show_default=True, callback=_check_device, help="auto, cpu, cuda, cuda:N or mps."
)
tile = click.option(
    "--tile",
    is_flag=True,
    help="Cut large pictures into tiles for models that look at the whole picture, too; borders may show.",
)
debug = click.option(
    "--debug", is_flag=True, callback=_note_debug, help="Show the traceback of an error; also before the command."
)
model = click.option(
    "--model",
    default=DEFAULT_MODEL,
    show_default=True,
    help="Name, id or folder of the model.",
    shell_complete=complete_models,
)
prior = click.option(
    "--prior", type=READABLE_FOLDER, help="Folder of the prior.  [default: the one in the model's folder]"
)
entropy = click.option(
    "--entropy",
    type=click.Choice(list(ENTROPY_IDS)),
    help="How tokens become bits: by the learned prior (smallest, slowest), by a table of how often each occurs, or "
    "all alike. [default: the first of these that the model has]",
)
images = click.option(
    "--images",
    multiple=True,
    required=True,
    type=READABLE,
    help="Folder of pictures (nested), tar shard or picture; may be given several times.",
)
figures = click.option("--out", type=FILE, help="Write the figures here, as JSON.")


def max_pixels(function: Command) -> Command:
    """--max-pixels, with the limit of vqcodec.pictures.image as default."""
    from vqcodec.pictures.image import DEFAULT_MAX_PIXELS

    decorate = click.option(
        "--max-pixels",
        type=AT_LEAST_1,
        default=DEFAULT_MAX_PIXELS,
        show_default=True,
        help="Refuse larger pictures.",
    )
    return decorate(function)


@dataclass(frozen=True)
class BatchOptions:
    """What the commands have in common that turn many files into others."""

    max_pixels: int = shared(max_pixels)
    jobs: int = shared(jobs)
    device: str = shared(device)
    tile: bool = shared(tile)
    force: bool = shared(force)
    as_json: bool = shared(as_json)
    debug: bool = shared(debug)


@dataclass(frozen=True)
class FolderOptions:
    """What commands have in common that turn whole folders into others, again and again."""

    skip_existing: bool = option(
        "--skip-existing",
        is_flag=True,
        help="Leave results that are there and not older than their inputs; make the others, over older ones.",
    )
    preserve_dates: bool = option("--preserve-dates", is_flag=True, help="Give results the dates of their inputs.")


def tell_passed_over(lines: Sequence[str], *, strict: bool) -> None:
    """Say what of folders is passed over, as warnings or errors."""
    for line in lines:
        click.echo(f"{'error' if strict else 'warning'}: {printable(line)}", err=True)


def comma_separated(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """A callback: words that are separated by commas, each once; None for none at all."""
    if value is None:
        return None
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


def comma_separated_numbers(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """A callback: whole numbers of 1 or more that are separated by commas, each once."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 4,8,16")
    return tuple(dict.fromkeys(map(int, parts)))


def check_levels(levels: int | None, model: ModelFolder, name: str = "--levels") -> None:
    """Raises click.BadParameter when the model has no such number of levels. name: of the option."""
    most = model.card.autoencoder.levels
    if levels is not None and levels > most:
        raise click.BadParameter(f"model {printable(model.card.name)} has 1 to {most} levels", param_hint=f"'{name}'")
