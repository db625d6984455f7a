"""The manual page (troff, for man) of a command and all commands below it, made of their help."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click


def manual_page(root: click.Context, version: str) -> str:
    """One page. root: of the outermost command, whose `sections` (names by title) are the sections of the page."""
    group = root.command
    assert isinstance(group, click.Group)
    name = str(root.info_name)
    summary, _, rest = _help(group).partition("\n\n")
    lines = [f'.TH "{name.upper()}" "1" "" "{name} {version}" "User Commands"']
    lines += [".SH NAME", f"{_escaped(name)} \\- {_escaped(summary.rstrip('.'))}"]
    lines += [".SH SYNOPSIS", _usage(root), ".SH DESCRIPTION", *_paragraphs(rest), ".SH OPTIONS", *_options(root)]
    for title, names in getattr(group, "sections", {"Commands": group.list_commands(root)}).items():
        lines.append(f'.SH "{title.upper()}"')
        for each in names:
            command = group.get_command(root, each)
            if command is not None:
                lines += _command(click.Context(command, root, each))
    return "\n".join(lines) + "\n"


def _command(context: click.Context) -> Iterator[str]:
    """A command and those below it."""
    command = context.command
    yield f'.SS "{_escaped(context.command_path)}"'
    yield _usage(context)
    yield ".PP"
    yield from _paragraphs(_help(command))
    yield from _options(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None and not inner.hidden:
                yield from _command(click.Context(inner, context, name))


def _usage(context: click.Context) -> str:
    pieces = " ".join(context.command.collect_usage_pieces(context))
    return f"\\fB{_escaped(context.command_path)}\\fR {_escaped(pieces)}"


def _options(context: click.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and isinstance(parameter, click.Option):  # usage names the arguments, the text tells them
            names, text = record
            yield from (".TP", f"\\fB{_escaped(names)}\\fR", _escaped(" ".join(text.split())))


def _help(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "")


def _paragraphs(text: str) -> Iterator[str]:
    """Paragraphs are filled, but for those after a line with a backspace, which stay as they are."""
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield ".PP"
        if paragraph.startswith("\b"):
            yield ".nf"
            yield from map(_escaped, paragraph.split("\n")[1:])
            yield ".fi"
        else:
            yield _escaped(" ".join(paragraph.split()))


def _escaped(text: str) -> str:
    """As troff prints it: a hyphen that can be copied, and no requests at the start of a line."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(\s*)([.'])", r"\1\\&\2", text)
