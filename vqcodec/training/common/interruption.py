"""Signals that ask a training run to end: it finishes the step, writes a checkpoint and leaves with the usual code."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

#: what Ctrl-C, a scheduler or `kill`, and a terminal that closes send; there is no SIGHUP on Windows
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")


class StopRequest:
    """requested: the name of the signal that asked for the end (SIGINT, SIGTERM or SIGHUP), or None so far."""

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None

    @property
    def requested(self) -> str | None:
        return None if self._signal is None else self._signal.name

    @property
    def number(self) -> int:
        """Of the signal; 0 so far."""
        return self._signal or 0

    def ask(self, number: int) -> None:
        """As if this signal had come, which came to another process of the run; the first one counts."""
        self._signal = self._signal or signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, what a shell shows for it; 0 when none came."""
        return 0 if self._signal is None else 128 + self._signal

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """The first signal counts; a second one of the same kind does what it does to any process: end it at once."""
        self.ask(number)
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn SIGINT, SIGTERM and SIGHUP into a request that the training loop polls; afterwards all is as before.

    SIGINT and SIGTERM are taken over even where they were ignored, as the shell does with SIGINT for `command &`. An
    ignored SIGHUP stays ignored: that is what `nohup` is for. A handler that was not set from Python, which Python
    could not put back, is left alone. In other threads than the main one, where Python allows no handlers, no
    request ever comes.
    """
    request = StopRequest()
    previous = {number: signal.getsignal(number) for number in _signals_to_take()}
    for number in previous:
        signal.signal(number, request._handle)
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _signals_to_take() -> list[signal.Signals]:
    if threading.current_thread() is not threading.main_thread():
        return []
    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    return [
        number
        for number in numbers
        if (handler := signal.getsignal(number)) is not None
        and not (number.name == "SIGHUP" and handler is signal.SIG_IGN)
    ]
