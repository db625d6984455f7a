"""The vqcodec command: its commands are imported when they are used, and its errors become lines here alone."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from io import TextIOWrapper
from types import FrameType
from typing import Any

import click

from vqcodec import __version__
from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable, report
from vqcodec.whole_files import is_abandoned

# Threads that wait by spinning take the cores from all that runs beside them. To be said before torch loads OpenMP;
# what the user says goes before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")

#: commands as --help groups them
_SECTIONS = {
    "Everyday": (
        "encode",
        "decode",
        "info",
        "truncate",
        "generate",
        "complete",
        "upscale",
        "models",
        "doctor",
        "completion",
    ),
    "Datasets": ("tokenize", "tokens"),
    "Training": ("train", "export", "quantize-prior", "weights"),
    "Measuring": ("compare", "bench"),
}
_HIDDEN = ("man",)
#: command -> module of vqcodec.cli that holds it under the same name
_COMMANDS = {name: name.replace("-", "_") for names in (*_SECTIONS.values(), _HIDDEN) for name in names}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is asked for. sections: the commands' names by title."""

    sections = _SECTIONS

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = _COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"vqcodec.cli.{module}"), cmd_name.replace("-", "_"))
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands, section by section."""
        width = formatter.width - 6 - max(map(len, _COMMANDS))
        for title, names in self.sections.items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(title):
                formatter.write_dl([(name, each.get_short_help_str(width)) for name, each in commands.items() if each])

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # no name of a file may end a command
        try:
            return super().main(args, *rest, **extra)
        except SystemExit as end:
            if is_abandoned():  # and threads are still at work on what nobody wants any more
                for stream in filter(None, (sys.stdout, sys.stderr)):
                    with suppress(OSError, ValueError):  # closed
                        stream.flush()
                os._exit(end.code if isinstance(end.code, int) else 1)
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error becomes one line on stderr and exit code 1."""
        try:
            with _signals_unwind(), _warnings_as_lines():
                return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            click.echo("\nAborted!", err=True)
            sys.exit(128 + signal.SIGINT)
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise  # click's own: usage and end; and a closed pipe, which it ends quietly
        except Exception as error:
            click.echo(report(error, debug=options.wants_debug(ctx)), err=True)
            sys.exit(1)


@contextmanager
def _warnings_as_lines() -> Iterator[None]:
    """Warnings about models become a line on stderr, each once."""
    told: set[str] = set()
    show = warnings.showwarning

    def as_line(message: Warning | str, category: type[Warning], *rest: Any, **options: Any) -> None:
        if category.__name__ != "ModelFolderWarning":
            show(message, category, *rest, **options)
        elif str(message) not in told:
            told.add(str(message))
            click.echo(f"warning: {printable(str(message))}", err=True)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", module=r"vqcodec\.")
        warnings.showwarning = as_line
        yield


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that temporary files are deleted."""

    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(128 + number)

    names = ("SIGTERM", "SIGHUP") if threading.current_thread() is threading.main_thread() else ()
    numbers = [getattr(signal, name) for name in names if hasattr(signal, name)]
    changed = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vqcodec")
@options.debug
def main(debug: bool) -> None:
    """Pictures into very small .vq streams, and back.

    \b
        vqcodec encode photo.jpg photo.vq
        vqcodec decode photo.vq photo.png

    Exit code: 0 if all results exist and read back, 1 if a file failed, 2 for wrong usage, 130
    after Ctrl-C. Names that start with a
    hyphen go after --, as in `vqcodec info -- -photo.vq`.
    """


if __name__ == "__main__":
    main()
