"""What every trainer does: step after step, checkpoints, validation, and an end when asked to."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from vqcodec.compute.distributed import broadcast, is_first_process, largest_of_processes, process_count, wait_for_all
from vqcodec.training.common.checkpoint import DEFAULT_KEEP, save_checkpoint
from vqcodec.training.common.interruption import StopRequest

Batch = TypeVar("Batch")
Network = TypeVar("Network", bound=torch.nn.Module)

#: steps in a row without a finite gradient that end a run
_MOST_SKIPPED_IN_A_ROW = 10


class TrainingError(RuntimeError):
    """Training cannot go on."""


class Measured(Protocol):
    """What a validation gives: figures by name after so many steps."""

    step: int
    values: dict[str, float]


class Validator(Protocol):
    """What measures the averaged network."""

    def run(self, model: Any, step: int) -> Any:
        """Measure, and write down."""


class Trainer(ABC, Generic[Batch, Network]):
    """Holds the state of a run: `average`, the averaged network, and `step`, how many steps are done."""

    average: Network
    device: torch.device
    out: Path
    step: int = 0
    #: of training so far, without validation and checkpoints, where a run ends by time
    seconds: float = 0.0
    #: how many checkpoints stay; see `run`
    _keep: int = DEFAULT_KEEP
    _skipped: int = 0
    _skipped_in_a_row: int = 0

    @property
    @abstractmethod
    def steps(self) -> int:
        """After how many steps the run ends."""

    @abstractmethod
    def batches_ahead(self, first: int, last: int) -> Iterator[tuple[int, Batch]]:
        """(step, batch) for the steps first..last-1."""

    @abstractmethod
    def train_step(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns values for the log by name."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """For a checkpoint, without the step."""

    def begin(self) -> None:
        """Called before the very first step."""

    @property
    def minutes(self) -> float:
        """After how many minutes of training the run ends, if it has not ended before; 0 for no such limit."""
        return 0.0

    def save(self, *, keep: int = DEFAULT_KEEP) -> None:
        """Write a checkpoint of the present state, in the first process."""
        if is_first_process():
            save_checkpoint(self.out, self.step, self.state(), keep=keep)
        wait_for_all()

    def run(
        self,
        *,
        checkpoint_every: int = 1000,
        keep: int = DEFAULT_KEEP,
        validation: Validator | None = None,
        until: int | None = None,
        stop: StopRequest | None = None,
        report: Callable[[int, dict[str, float]], None] = lambda step, values: None,
        report_validation: Callable[[Any], None] = lambda result: None,
    ) -> None:
        """Train from the present step to `until` (by default the end, or when its time is over), then write a
        checkpoint.

        Every `checkpoint_every` steps, and when `stop` asks for the end, a checkpoint is written, the newest `keep` of
        which stay; `validation` runs with it, but not when stopping. `report` gets every step's values.
        """
        last, self._keep = self.steps if until is None else min(until, self.steps), keep
        started = time.perf_counter()
        for step, batch in self.batches_ahead(self.step, last):
            if step == 0:
                self.begin()
            values = self.train_step(batch)
            self.step = step + 1
            values["seconds"] = time.perf_counter() - started
            is_last = self.step == last or self._time_is_over(values["seconds"])
            report(step, values)
            if self._must_stop(stop):
                self.save(keep=keep)
                return
            if self.step % checkpoint_every == 0 or is_last:
                self.save(keep=keep)
                if validation is not None and is_first_process():
                    report_validation(validation.run(self.average, self.step))
                wait_for_all()
            if is_last:
                return
            started = time.perf_counter()  # making the next batch counts, checkpoints and validation do not

    def _time_is_over(self, seconds: float) -> bool:
        """After another step of so many seconds, by the clock of the first process."""
        if not self.minutes:
            return False
        self.seconds += seconds
        if process_count() > 1:
            self.seconds = float(broadcast(torch.tensor(self.seconds, dtype=torch.float32, device=self.device)))
        return self.seconds >= 60 * self.minutes

    def _must_stop(self, stop: StopRequest | None) -> bool:
        """Whether any process was asked to stop; then all of them are."""
        asked = 0 if stop is None else stop.number
        if process_count() > 1:
            asked = int(largest_of_processes(torch.tensor(float(asked), device=self.device)))
            if asked and stop is not None:
                stop.ask(asked)
        return asked > 0

    def _take(self, norm: Tensor) -> bool:
        """Whether the step is finite; ten in a row that are not stop the run, with a checkpoint."""
        finite = bool(torch.isfinite(norm))
        self._skipped_in_a_row = 0 if finite else self._skipped_in_a_row + 1
        self._skipped += not finite
        if self._skipped_in_a_row == _MOST_SKIPPED_IN_A_ROW:
            self.save(keep=self._keep)
            raise TrainingError(
                f"step {self.step}: ten steps in a row gave no finite gradient. There is a checkpoint; "
                "go on with --resume and a lower --learning-rate"
            )
        return finite
