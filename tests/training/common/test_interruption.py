"""A signal asks a run to end; a second one ends it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from vqcodec.training.common.interruption import stop_on_signals

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
each_signal = pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)


@pytest.fixture(autouse=True)
def _handlers_stay() -> Iterator[None]:
    before = [signal.getsignal(number) for number in SIGNALS]
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    yield
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)


@each_signal
def test_a_signal_becomes_a_request(number: signal.Signals) -> None:
    with stop_on_signals() as stopper:
        assert (stopper.requested, stopper.exit_code) == (None, 0)
        os.kill(os.getpid(), number)
        assert stopper.requested == number.name
        assert stopper.exit_code == {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}[number.name]


def test_another_process_may_have_got_the_signal() -> None:
    with stop_on_signals() as stopper:
        stopper.ask(signal.SIGTERM)
        assert (stopper.requested, stopper.exit_code, stopper.number) == ("SIGTERM", 143, 15)


def test_the_first_of_two_kinds_counts() -> None:
    with stop_on_signals() as stopper:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopper.requested == "SIGTERM"


@each_signal
def test_the_handlers_are_put_back(number: signal.Signals) -> None:
    def own(received: int, frame: object) -> None:
        raise AssertionError

    signal.signal(number, own)
    with stop_on_signals():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is own
    with pytest.raises(ZeroDivisionError), stop_on_signals():
        raise ZeroDivisionError
    assert signal.getsignal(number) is own


def test_an_ignored_sigint_is_taken_over() -> None:
    """A shell starts `command &` with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with stop_on_signals() as stopper:
        os.kill(os.getpid(), signal.SIGINT)
        assert stopper.requested == "SIGINT"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_an_ignored_sighup_stays_ignored() -> None:
    """nohup starts a command with SIGHUP ignored, so that it survives its terminal."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stop_on_signals() as stopper:
        os.kill(os.getpid(), signal.SIGHUP)
        assert stopper.requested is None


def test_a_handler_from_elsewhere_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "getsignal", lambda number: None if number is signal.SIGTERM else signal.SIG_DFL)
    changed: list[int] = []
    monkeypatch.setattr(signal, "signal", lambda number, handler: changed.append(number))
    with stop_on_signals():
        pass
    assert changed == [signal.SIGINT, signal.SIGHUP] * 2


def test_in_another_thread_nothing_is_taken_over() -> None:
    seen: list[object] = []

    def work() -> None:
        with stop_on_signals() as stopper:
            seen.extend([stopper.requested, signal.getsignal(signal.SIGTERM)])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [None, signal.getsignal(signal.SIGTERM)]


LOOP = """
import sys, time
from vqcodec.training.common.interruption import stop_on_signals

with stop_on_signals() as stopper:
    print("running", flush=True)
    while stopper.requested is None:
        time.sleep(0.01)
    print(stopper.requested, flush=True)
    if "stubborn" in sys.argv:
        time.sleep(60)
sys.exit(stopper.exit_code)
"""


@contextmanager
def loop(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process in its training loop."""
    command = [sys.executable, "-c", LOOP, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert line_from(process) == "running\n"
            yield process
        finally:
            process.kill()


def line_from(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@each_signal
def test_a_process_ends_with_the_usual_code(number: signal.Signals) -> None:
    with loop() as process:
        process.send_signal(number)
        assert line_from(process) == f"{number.name}\n"
        assert process.wait(timeout=30) == 128 + number


@each_signal
def test_a_second_signal_ends_at_once(number: signal.Signals) -> None:
    with loop("stubborn") as process:
        process.send_signal(number)
        assert line_from(process) == f"{number.name}\n"
        process.send_signal(number)
        assert process.wait(timeout=30) == -number
