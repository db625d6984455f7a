"""Options of commands as dataclasses: each field says its option, its type and its help in one place.

@dataclass(frozen=True)
class Filling:
    share: float | None = option("--share", type=float, help="Of the height that is kept.")

@click.command()
@takes(Filling, "filling")
def complete(filling: Filling) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import field, fields
from typing import Any, Final

import click

Command = Callable[..., Any]

_DECORATOR: Final = "vqcodec.cli.option_groups"


def option(*names: str, **attributes: Any) -> Any:
    """A field that is an option: names and attributes as `click.option` takes them, the field's name for the value."""
    return field(metadata={_DECORATOR: lambda name: click.option(*names, name, **attributes)})


def shared(decorator: Callable[[Command], Command]) -> Any:
    """A field that is an option of `vqcodec.cli.common.options`. The field must have the name of its value."""
    return field(metadata={_DECORATOR: lambda name: decorator})


def takes(group: type[Any], name: str = "options") -> Callable[[Command], Command]:
    """The command has the options of a dataclass, in the order of its fields, and gets them as its argument `name`."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_group(*positional: Any, **values: Any) -> Any:
            collected = group(**{each.name: values.pop(each.name) for each in fields(group)})
            return command(*positional, **{name: collected}, **values)

        decorated: Command = with_group
        for each in reversed(fields(group)):
            decorated = each.metadata[_DECORATOR](each.name)(decorated)
        return decorated

    return decorate
