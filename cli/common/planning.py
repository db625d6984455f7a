"""Which input goes where: files, folders that are searched, and what of them is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click

from vqcodec.cli.common.files import STANDARD, FileError, Task
from vqcodec.pictures.names import ALL_SUFFIXES, described

# What systems put beside pictures: resource forks, previews and bins. They have the names of pictures and are none.
_SYSTEM_FILE: Final = re.compile(r"\._.*|Thumbs\.db|\.DS_Store", re.IGNORECASE)
_SYSTEM_FOLDER: Final = re.compile(
    r"__MACOSX|@eaDir|#recycle|\$RECYCLE\.BIN|System Volume Information|\.thumbnails|\.Trash.*", re.IGNORECASE
)


@dataclass
class Plan:
    """tasks: what is to be done. passed_over: a line for each folder that has pictures which are not among these."""

    tasks: list[Task]
    passed_over: list[str] = field(default_factory=list)


@dataclass
class _Search:
    """Of one folder that is searched: the files that were asked for, and how many of what else looks like a picture."""

    found: list[Path] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)


def plan(paths: Sequence[str], folder: Path | None, *, suffix: str, inputs: frozenset[str]) -> Plan:
    """The tasks for the arguments of a command. Raises click.UsageError, or FileError for a folder without inputs.

    Without `folder`: IN OUT. With it: any number of files, and folders that are searched for `inputs` (file suffixes);
    results get `suffix` and keep their place below the folder that was given. Of files in folders that would become
    the same, each keeps its own suffix before the new one; those of which even that is the same become tasks with a
    problem.
    """
    if folder is None:
        if len(paths) != 2:
            raise click.UsageError("expected IN OUT; for several inputs or a folder give -o DIR")
        if paths[0] != STANDARD and Path(paths[0]).is_dir():
            raise click.UsageError(f"{paths[0]} is a folder; give -o DIR for the results")
        return Plan([Task(paths[0], paths[1])])
    if not paths:
        raise click.UsageError("no input files given")
    passed_over: list[str] = []
    named: list[tuple[Path, Path]] = []
    searched: list[tuple[Path, Path]] = []
    order: list[Path] = []
    for text in paths:
        path = Path(text)
        if text == STANDARD:
            raise click.UsageError("stdin (-) cannot be combined with -o; give IN OUT")
        if not path.is_dir():
            named.append((path, Path(path.name)))
            order.append(path)
            continue
        search = _search(path, inputs)
        told = described(search.passed_over)
        if not search.found:
            what = (
                "pictures" if len(inputs) > 3 else f"files there with one of the suffixes {', '.join(sorted(inputs))}"
            )
            raise FileError(
                f"{path}: no {what}" + (" there" if len(inputs) > 3 else "") + (f"; {told}" if told else "")
            )
        if told:
            passed_over.append(f"{path}: {told}")
        searched += [(child, child.relative_to(path)) for child in search.found]
        order += search.found
    tasks: dict[Path, Task] = {}
    for source, relative in named:
        target = folder / _renamed(relative, suffix, inputs)
        if target in tasks:
            raise click.UsageError(f"{tasks[target].source} and {source} would both become {target}; rename one")
        tasks[target] = Task(str(source), str(target))
    by_source = {task.source: task for task in tasks.values()}
    for task in _tasks_of_folders(searched, folder, suffix, inputs, tasks):
        by_source.setdefault(task.source, task)
    return Plan(list({str(source): by_source[str(source)] for source in order}.values()), passed_over)


def _tasks_of_folders(
    searched: Sequence[tuple[Path, Path]], folder: Path, suffix: str, inputs: frozenset[str], taken: dict[Path, Task]
) -> Iterator[Task]:
    """A task for each file that a folder had, under a name that no other has. taken: targets of other files."""
    short = Counter(_renamed(relative, suffix, inputs) for _, relative in searched)
    tasks = dict(taken)
    for source, relative in searched:
        name = _renamed(relative, suffix, inputs)
        if short[name] > 1 or folder / name in taken:
            name = relative.with_name(relative.name + suffix)
        target = folder / name
        if target in tasks:
            problem = f"{source}: would become {target}, as {tasks[target].source} does; rename one"
            yield Task(str(source), str(target), problem)
            continue
        tasks[target] = Task(str(source), str(target))
        yield tasks[target]


def check_stream_names(tasks: Sequence[Task]) -> None:
    """Raises click.UsageError for streams that would get a picture's name."""
    for task in tasks:
        if Path(task.target).suffix.lower() in ALL_SUFFIXES:
            raise click.UsageError(
                f"{task.target} is a picture's name; the stream goes into a .vq file, or give -o DIR"
            )


def _renamed(relative: Path, suffix: str, inputs: frozenset[str]) -> Path:
    """The result's name: with `suffix` for the input's own, if that is known as one; a name may have points in it."""
    if relative.suffix.lower() in inputs | ALL_SUFFIXES:
        return relative.with_suffix(suffix)
    return relative.with_name(relative.name + suffix)


def _search(folder: Path, inputs: frozenset[str]) -> _Search:
    """All files below a folder, also through links, in the order of their names; no folder twice."""
    result, seen = _Search(), set[str]()

    def unreadable(error: OSError) -> None:
        result.passed_over["folders that cannot be read"] += 1

    for where, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        real = os.path.realpath(where)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not _SYSTEM_FOLDER.fullmatch(name)]
        for name in files:
            path = Path(where, name)
            suffix = path.suffix.lower()
            if _SYSTEM_FILE.fullmatch(name) or suffix not in inputs | ALL_SUFFIXES:
                continue
            if suffix in inputs and path.is_file():
                result.found.append(path)
            elif suffix in inputs:
                result.passed_over["links to nothing" if path.is_symlink() else "that are no files"] += 1
            elif len(inputs) > 1:  # pictures were asked for
                result.passed_over[suffix] += 1
    result.found.sort()
    return result
