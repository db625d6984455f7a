"""Commands that are killed at random moments: forked from a process that has everything loaded, so that it is quick."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from collections.abc import Callable

from vqcodec.cli.main import main


def start(arguments: list[str]) -> int:
    """The process of a command, whose output goes nowhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        child = os.fork()
    if child == 0:
        for stream in (1, 2):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
        code = 1
        try:
            main(arguments)
        except SystemExit as error:
            code = int(error.code or 0) if isinstance(error.code, int | None) else 1
        finally:
            os._exit(code)
    return child


def run(arguments: list[str]) -> float:
    """To the end; seconds that it took. Raises AssertionError if it fails."""
    began = time.monotonic()
    _, status = os.waitpid(start(arguments), 0)
    assert status == 0, f"exit code {os.waitstatus_to_exitcode(status)}: {arguments}"
    return time.monotonic() - began


def kill_often(arguments: Callable[[], list[str]], times: int, seconds: float, check: Callable[[bool], None]) -> int:
    """Kill the command `times` within about so many seconds after its start. Returns how many runs that took.

    arguments: asked for before each run. check: looks at what is there after each; told whether it was killed.
    """
    moments, killed, runs = random.Random(), 0, 0
    while killed < times:
        runs += 1
        child = start(arguments())
        time.sleep(moments.uniform(0, 1) * seconds)
        os.kill(child, signal.SIGKILL)
        was_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        killed += was_killed
        seconds *= 1.02 if was_killed else 0.85  # the machine may be busier or less so
        check(was_killed)
    return runs
