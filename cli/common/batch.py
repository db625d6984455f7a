"""Running a command over its tasks: one after another or `--jobs` at a time, told in the order of the input."""

from __future__ import annotations

import json
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

import click

from vqcodec.cli.common.failures import printable, report
from vqcodec.cli.common.files import STANDARD, FileError, Task
from vqcodec.cli.common.loading import LoadingError
from vqcodec.native.library import threads_among
from vqcodec.whole_files import abandon_all, is_abandoned

_SLOW_PIXELS: Final = 1 << 26


@dataclass(frozen=True)
class Outcome:
    """What a task gave: `line` for people, `values` for --json, `warnings` for stderr."""

    line: str
    values: dict[str, Any]
    warnings: tuple[str, ...] = ()

    @classmethod
    def skipped(cls, task: Task) -> Outcome:
        """Of a task that had been done before."""
        values = {"input": task.source, "output": task.target, "skipped": True, "warnings": []}
        return cls(f"{task.target_name}: skipped, is there and not older than {task.source_name}", values)


@dataclass(frozen=True)
class _Failure:
    """What is told of a task that failed. Not the exception: its traceback would keep the picture in memory."""

    text: str


def tell_if_slow(task: Task, pixels: int) -> None:
    """A line before what will take long."""
    if pixels > _SLOW_PIXELS:
        click.echo(f"{printable(task.source_name)}: {round(pixels / 1e6)} megapixels, which take a while", err=True)


def run(tasks: list[Task], work: Callable[[Task], Outcome], *, jobs: int, as_json: bool, debug: bool) -> None:
    """Do all tasks, tell each outcome, and leave with exit code 1 when one failed. Failures do not stop the others.

    What is wrong with the options, the model or the device, or a closed stdout, stops everything.
    """

    def attempt(task: Task) -> Outcome | _Failure:
        try:
            if task.problem:
                raise FileError(task.problem)
            return work(task)
        except (click.ClickException, LoadingError, BrokenPipeError):
            raise
        except Exception as error:
            return _Failure(report(error, task.source_name, task.target_name, debug=debug))

    from tqdm import tqdm

    to_stderr = any(task.target == STANDARD for task in tasks)
    failed = 0
    quiet = len(tasks) == 1 or sys.stderr is None or not sys.stderr.isatty()
    with (
        tqdm(total=len(tasks), unit="file", disable=quiet, leave=False) as bar,
        closing(_results(tasks, attempt, jobs)) as results,
    ):
        try:
            for task, result in zip(tasks, results, strict=True):
                with tqdm.external_write_mode():
                    if isinstance(result, _Failure):
                        failed += 1
                        click.echo(result.text, err=True)
                    else:
                        for warning in result.warnings:
                            click.echo(f"warning: {printable(f'{task.source_name}: {warning}')}", err=True)
                        click.echo(json.dumps(result.values) if as_json else printable(result.line), err=to_stderr)
                bar.update()
        except (KeyboardInterrupt, SystemExit):  # Ctrl-C and signals come to this thread, and end all at once
            if jobs > 1 and len(tasks) > 1:
                abandon_all()
            raise
    if failed:
        if len(tasks) > 1:
            click.echo(f"error: {failed} of {len(tasks)} files failed", err=True)
        sys.exit(1)


def _results(
    tasks: list[Task], attempt: Callable[[Task], Outcome | _Failure], jobs: int
) -> Generator[Outcome | _Failure, None, None]:
    """In the order of the tasks. Nobody waits for threads after `abandon_all`."""
    if jobs == 1 or len(tasks) == 1:
        yield from map(attempt, tasks)
        return
    waiting = deque((task, Future[Outcome | _Failure]()) for task in tasks)
    futures = deque(future for _, future in waiting)

    def work() -> None:
        while waiting:
            try:
                task, future = waiting.popleft()
            except IndexError:  # another thread took the last one
                return
            try:
                future.set_result(attempt(task))
            except BaseException as error:
                future.set_exception(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(jobs, len(tasks)))]
    with threads_among(jobs):
        for thread in threads:
            thread.start()
        try:
            while futures:
                yield futures.popleft().result()
        except (KeyboardInterrupt, SystemExit):
            abandon_all()
            raise
        finally:
            waiting.clear()
            if not is_abandoned():
                for thread in threads:
                    thread.join()
