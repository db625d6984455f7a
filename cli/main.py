"""The vqcodec command: its commands are imported when they are used, and its errors become lines here alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from vqcodec import __version__
from vqcodec.cli.failures import describe

#: command -> module of vqcodec.cli that holds it under the same name
_COMMANDS = {
    "encode": "encode",
    "decode": "decode",
    "info": "info",
    "models": "models",
    "doctor": "doctor",
    "train": "train",
    "export": "export",
    "bench": "bench",
}


class LazyGroup(click.Group):
    """Imports a command's module only when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"vqcodec.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return command

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        """Run; an error that is about the user's data becomes one line on stderr and exit code 1."""
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            return super().main(arguments, *rest, **extra)
        except Exception as error:
            line = describe(error)
            if line is None or "--debug" in arguments:
                raise
            click.echo(f"error: {line}", err=True)
            sys.exit(1)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vqcodec")
def main() -> None:
    """Pictures into very small .vq streams, and back.

    \b
        vqcodec encode photo.jpg photo.vq
        vqcodec decode photo.vq photo.png
    """


if __name__ == "__main__":
    main()
