"""What a training run shows while it goes on: a log file, a progress bar, and scalars and pictures for TensorBoard."""

from __future__ import annotations

import importlib.util
import re
import statistics
from collections import deque
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from tqdm import tqdm

from vqcodec.pictures.arrays import Pixels
from vqcodec.training.common.json_lines import drop_lines_from, line_of

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
#: steps whose median time gives the speed: enough to hide a slow one, few enough to follow a change
_SPEED_STEPS = 20
#: seconds until TensorBoard can show what was logged
_FLUSH_SECONDS = 30

#: group in TensorBoard -> names, without the number of a level
_GROUPS = {
    "loss": (
        "total",
        "l1",
        "l2",
        "colour",
        "chroma",
        "border_jump",
        "repetition",
        "lpips_alex",
        "lpips_vgg",
        "dists",
        "commitment",
        "codebook",
        "adversarial",
        "discriminator",
        "bits",
    ),
    "rate": ("saved", "bpp"),
    "codebook": ("usage", "perplexity", "dead", "revived"),
    "adversary": ("adaptive_weight", "logits_real", "logits_made"),
    "optimizer": ("gradient_norm", "skipped"),
    "speed": ("seconds", "images_per_second"),
}
_GROUP_OF = {name: group for group, names in _GROUPS.items() for name in names}


class RunLogError(RuntimeError):
    """The run cannot be logged in the way that was asked for."""


def tensorboard_is_installed() -> bool:
    """Whether the package `tensorboard` is there; it is not imported."""
    return importlib.util.find_spec("tensorboard") is not None


def wants_tensorboard(choice: bool | None) -> bool:
    """`choice`, or for None whether TensorBoard is installed. Raises RunLogError when it is wanted but not there."""
    if choice and not tensorboard_is_installed():
        raise RunLogError("TensorBoard is not installed: pip install 'vqcodec[train]'")
    return tensorboard_is_installed() if choice is None else choice


def scalar_name(name: str) -> str:
    """The name with its group for TensorBoard: usage_1 -> codebook/usage_1; other/NAME where it has no group."""
    return f"{_GROUP_OF.get(re.sub(r'_[0-9]+$', '', name), 'other')}/{name}"


class RunLog:
    """Context manager that writes OUT/log.jsonl and OUT/tensorboard and shows a bar (on a terminal only).

    Steps are numbered from 0. A run that goes on from `first_step` drops from log.jsonl what a killed run wrote from
    that step on. Every line is with the operating system before `log` returns, so that no kill loses it.

    On TensorBoard's axis stands how many steps are done, as in the names of checkpoints and previews: step + 1.
    There, too, what a killed run wrote after its last checkpoint is not shown twice.

    total_steps: the step before which the run ends. samples_per_step: pictures, for the speed in images a second.
    tensorboard: None for "where it is installed". scalar_interval: steps between two points of TensorBoard's curves.
    Raises RunLogError when TensorBoard is asked for and not installed, OSError when `out` cannot be written.
    """

    def __init__(
        self,
        out: Path,
        *,
        total_steps: int,
        first_step: int,
        samples_per_step: int,
        tensorboard: bool | None = None,
        scalar_interval: int = 10,
    ) -> None:
        with_tensorboard = wants_tensorboard(tensorboard)
        self._total_steps, self._samples, self._interval = total_steps, samples_per_step, scalar_interval
        self._seconds: deque[float] = deque(maxlen=_SPEED_STEPS)
        out.mkdir(parents=True, exist_ok=True)
        drop_lines_from(out / LOG_FILE, first_step)
        with ExitStack() as opened:
            self._file = opened.enter_context((out / LOG_FILE).open("a", buffering=1, encoding="utf-8"))
            self._writer = None
            if with_tensorboard:
                self._writer = opened.enter_context(_writer(out / TENSORBOARD_FOLDER, first_step))
            self._bar = opened.enter_context(tqdm(initial=first_step, total=total_steps, unit="step", disable=None))
            self._opened = opened.pop_all()

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files and the bar; more than once does nothing."""
        self._opened.close()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a step by name; to `seconds`, the step's time, the speed in images_per_second is added.

        The speed is the number of pictures by the median time of the last 20 steps.
        """
        shown = dict(values)
        if "seconds" in values:
            self._seconds.append(values["seconds"])
            shown["images_per_second"] = self._samples / max(statistics.median(self._seconds), 1e-9)
        self._file.write(line_of(step, shown))
        self._bar.set_postfix(_short(shown), refresh=False)
        self._bar.update()
        if step % self._interval == 0 or step + 1 == self._total_steps:
            self._add_scalars({scalar_name(name): value for name, value in shown.items()}, step + 1)

    def log_validation(self, step: int, values: Mapping[str, float]) -> None:
        """Show the figures of a validation after `step` steps in TensorBoard, as validation/NAME."""
        self._add_scalars({f"validation/{name}": value for name, value in values.items()}, step)

    def log_images(self, step: int, sheet: Pixels) -> None:
        """Show originals and reconstructions after `step` steps, (H, W, 3) uint8, in TensorBoard."""
        if self._writer is not None:
            self._writer.add_image("validation/reconstructions", sheet, step, dataformats="HWC")

    def _add_scalars(self, values: Mapping[str, float], steps_done: int) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, steps_done)


def _writer(folder: Path, first_step: int) -> SummaryWriter:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=first_step + 1, flush_secs=_FLUSH_SECONDS)


def _short(values: Mapping[str, float]) -> dict[str, str]:
    """The losses and the speed, for the bar."""
    shown = {name: f"{value:.3g}" for name, value in values.items() if scalar_name(name).startswith("loss/")}
    if "images_per_second" in values:
        shown["images/s"] = f"{values['images_per_second']:.3g}"
    return shown
