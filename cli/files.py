"""Files of the commands: which input goes where, reading, atomic writing, and running over many with `--jobs`."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from vqcodec.cli.failures import describe

STANDARD = "-"


class FileError(ValueError):
    """An input or output file is in the way, missing or damaged."""


@dataclass(frozen=True)
class Task:
    """One input and where it goes; `-` is stdin or stdout."""

    source: str
    target: str


@dataclass(frozen=True)
class Outcome:
    """What a task gave: `line` for people, `values` for --json, `warnings` for stderr."""

    line: str
    values: dict[str, Any]
    warnings: tuple[str, ...] = ()


def plan(paths: Sequence[str], folder: Path | None, *, suffix: str, inputs: frozenset[str]) -> list[Task]:
    """The tasks for the arguments of a command. Raises click.UsageError.

    Without `folder`: IN OUT. With it: any number of files, and folders that are searched for `inputs` (file suffixes);
    results get `suffix` and keep their place below the folder that was given.
    """
    if folder is None:
        if len(paths) != 2:
            raise click.UsageError("expected IN OUT; for several inputs or a folder give -o DIR")
        if paths[0] != STANDARD and Path(paths[0]).is_dir():
            raise click.UsageError(f"{paths[0]} is a folder; give -o DIR for the results")
        return [Task(paths[0], paths[1])]
    if not paths:
        raise click.UsageError("no input files given")
    tasks: dict[Path, Task] = {}
    for source, relative in _inputs(paths, inputs):
        target = folder / relative.with_suffix(suffix)
        if target in tasks:
            raise click.UsageError(f"{tasks[target].source} and {source} would both become {target}; rename one")
        tasks[target] = Task(str(source), str(target))
    return list(tasks.values())


def _inputs(paths: Iterable[str], suffixes: frozenset[str]) -> Iterator[tuple[Path, Path]]:
    for text in paths:
        path = Path(text)
        if text == STANDARD:
            raise click.UsageError("stdin (-) cannot be combined with -o; give IN OUT")
        if not path.is_dir():
            yield path, Path(path.name)
            continue
        found = [child for child in sorted(path.rglob("*")) if child.suffix.lower() in suffixes and child.is_file()]
        if not found:
            raise FileError(f"{path}: no files there with one of the suffixes {', '.join(sorted(suffixes))}")
        yield from ((child, child.relative_to(path)) for child in found)


def read_input(source: str) -> bytes:
    """All bytes of a file or of stdin. Raises FileError."""
    if source == STANDARD:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except IsADirectoryError as error:
        raise FileError(f"{source}: is a folder; give -o DIR to take all files in it") from error
    except OSError as error:
        raise FileError(f"{source}: cannot be read ({error.strerror})") from error


def check_target(target: str, *, force: bool) -> None:
    """Raises FileError when `target` exists and may not be overwritten, or cannot be made."""
    path = Path(target)
    if target == STANDARD:
        return
    if path.is_dir():
        raise FileError(f"{target}: is a folder; name a file, or give the folder with -o")
    if path.exists() and not force:
        raise FileError(f"{target}: exists already; give -f to overwrite it")


@contextmanager
def staged(target: str, *, force: bool) -> Iterator[Path]:
    """A temporary file beside `target` that becomes it when the block ends well, and is deleted when it does not."""
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".partial", dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise FileError(f"{target}: cannot be written ({error.strerror})") from error
    temporary = Path(name)
    try:
        yield temporary
        check_target(target, force=force)
        os.chmod(temporary, 0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def run(tasks: list[Task], work: Callable[[Task], Outcome], *, jobs: int, as_json: bool, debug: bool) -> None:
    """Do all tasks, tell each outcome, and leave with exit code 1 when one failed. Failures do not stop the others."""
    to_stderr = any(task.target == STANDARD for task in tasks)
    failed = 0
    with (
        ThreadPoolExecutor(max_workers=jobs) as threads,
        tqdm(total=len(tasks), unit="file", disable=len(tasks) == 1 or not sys.stderr.isatty(), leave=False) as bar,
    ):
        futures = [threads.submit(work, task) for task in tasks]
        try:
            for task, future in zip(tasks, futures, strict=True):
                try:
                    outcome = future.result()
                except Exception as error:
                    line = describe(error)
                    if line is None or debug:
                        raise
                    failed += 1
                    bar.write(f"error: {_named(task, line)}", file=sys.stderr)
                else:
                    for warning in outcome.warnings:
                        bar.write(f"warning: {_named(task, warning)}", file=sys.stderr)
                    text = json.dumps(outcome.values) if as_json else outcome.line
                    bar.write(text, file=sys.stderr if to_stderr else sys.stdout)
                bar.update()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        if len(tasks) > 1:
            click.echo(f"error: {failed} of {len(tasks)} files failed", err=True)
        sys.exit(1)


def _named(task: Task, line: str) -> str:
    names = (task.source, task.target)
    known = any(name != STANDARD and line.startswith(name) for name in names)
    return line if known else f"{'stdin' if task.source == STANDARD else task.source}: {line}"
