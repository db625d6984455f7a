"""What the commands that train have in common: options, logs, and an end by signal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.option_groups import option, shared
from vqcodec.cli.common.options import ABOVE_0, AT_LEAST_0, AT_LEAST_1, FOLDER, READABLE

Recipe = TypeVar("Recipe")

#: field of `SettingOptions` -> setting of a recipe
_SETTINGS = {
    "steps": "training.steps",
    "batch_size": "training.batch_size",
    "accumulate": "training.accumulate",
    "crop_size": "training.crop.size",
    "learning_rate": "training.learning_rate",
    "seed": "training.seed",
}


@dataclass(frozen=True)
class RunOptions:
    """What every training has: where it writes, how it starts and stops, on what."""

    out: Path = option("--out", required=True, type=FOLDER, help="Folder for checkpoints, logs and previews.")
    resume: bool = option(
        "--resume",
        is_flag=True,
        help="Go on from the newest checkpoint of --out, with its model and settings; settings given replace them.",
    )
    until: int | None = option(
        "--until",
        type=AT_LEAST_1,
        help="Stop at this step, with a checkpoint; the schedule still ends at --steps.",
    )
    checkpoint_every: int = option(
        "--checkpoint-every", type=AT_LEAST_1, default=1000, show_default=True, help="Steps between checkpoints."
    )
    keep: int = option(
        "--keep", type=AT_LEAST_0, default=2, show_default=True, help="Newest checkpoints to keep; 0 for all."
    )
    tensorboard: bool | None = option(
        "--tensorboard/--no-tensorboard",
        default=None,
        help="Logs for TensorBoard in OUT/tensorboard.  [default: where it is installed]",
    )
    device: str = shared(options.device)
    data: tuple[Path, ...] = option(
        "--data",
        multiple=True,
        type=READABLE,
        help="Folder of pictures (nested), tar shard, MNIST or CIFAR-10 file, or picture; may be given several times.",
    )
    validation: Path | None = option(
        "--validation", type=READABLE, help="Held-out pictures, measured at every checkpoint."
    )


@dataclass(frozen=True)
class SettingOptions:
    """Settings of a recipe that have options of their own, and --set for all others."""

    settings: tuple[str, ...] = option(
        "--set",
        multiple=True,
        metavar="NAME=VALUE",
        help="Change any setting, such as training.batch_size=8; docs/training.md says which there are, for stage 1 "
        "`vqcodec train presets NAME` shows all of a preset.",
    )
    steps: int | None = option(
        "--steps", type=AT_LEAST_1, help="Steps in all.  [default: of the preset; 20000 in stage 2]"
    )
    batch_size: int | None = option(
        "--batch-size", type=AT_LEAST_1, help="Crops a step.  [default: of the preset; 16 in stage 2]"
    )
    accumulate: int | None = option(
        "--accumulate", type=AT_LEAST_1, help="Cut a batch into so many parts, to save memory."
    )
    crop_size: int | None = option(
        "--crop-size",
        type=AT_LEAST_1,
        help="Side of the training crops, pixels.  [default: of the preset; 256 in stage 2]",
    )
    learning_rate: float | None = option(
        "--learning-rate", type=ABOVE_0, help="The highest.  [default: of the preset; 0.004 in stage 2]"
    )
    seed: int | None = option("--seed", type=AT_LEAST_0, help="[default: 0]")

    def changed(self, recipe: Recipe, *more: str) -> Recipe:
        """The recipe with these settings, and with `more`, as --set takes them. Raises click.UsageError."""
        from vqcodec.training.common.overrides import SettingError, with_settings

        named = {setting: getattr(self, name) for name, setting in _SETTINGS.items()}
        changes = [f"{setting}={value}" for setting, value in named.items() if value is not None]
        try:
            return with_settings(recipe, [*changes, *more, *self.settings])
        except (SettingError, ValueError) as error:
            raise click.UsageError(str(error)) from error


def check_data(options: RunOptions) -> None:
    """Raises click.MissingParameter without --data."""
    if not options.data:
        raise click.MissingParameter(param_type="option", param_hint="'--data'")


def check_empty(out: Path) -> None:
    """Raises click.ClickException for a folder with checkpoints: a new run would mix its own with them."""
    if any(out.glob("checkpoint-*.pt")):
        raise click.ClickException(f"{out}: holds checkpoints already; give --resume or another --out")


def check_resumed(out: Path, is_same: bool) -> None:
    """Raises click.UsageError where options that say what a new run trains do not describe the run that goes on."""
    if not is_same:
        raise click.UsageError(
            f"{out}: the run there trains another shape than the options say: leave these out, or give another --out"
        )


def train_and_log(
    context: click.Context,
    options: RunOptions,
    make_trainer: Callable[[], Any],
    make_validation: Callable[[Any], Any],
) -> None:
    """Train, in one process or in several that torchrun started; a signal ends it with its usual exit code.

    make_validation: from the trainer, what measures it at every checkpoint, or None; asked for in the first process.
    """
    from vqcodec.compute.distributed import is_first_process, process_group
    from vqcodec.compute.memory import keep_freed_memory
    from vqcodec.training.common.checkpoint import newest_checkpoint
    from vqcodec.training.common.interruption import stop_on_signals

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    keep_freed_memory()
    limits = {name: getattr(options, name) for name in ("checkpoint_every", "keep", "until")}
    with process_group(options.device), stop_on_signals() as stop:
        trainer = make_trainer()
        if is_first_process():
            if trainer.step >= min(options.until or trainer.steps, trainer.steps):
                click.echo(f"warning: {trainer.step} steps are done; --steps or --until asks for more", err=True)
            _run_with_log(trainer, options, limits | {"stop": stop}, make_validation(trainer))
        else:
            trainer.run(**limits, stop=stop)
        if stop.requested:
            if is_first_process():
                click.echo(f"stopped by {stop.requested} after {trainer.step} steps; go on with --resume", err=True)
            context.exit(stop.exit_code)
        if is_first_process():
            click.echo(f"{newest_checkpoint(options.out)}: {trainer.step} of {trainer.steps} steps")


def _run_with_log(trainer: Any, options: RunOptions, limits: dict[str, Any], validation: Any) -> None:
    from vqcodec.training.common.run_log import RunLog

    with RunLog(
        options.out,
        total_steps=min(options.until or trainer.steps, trainer.steps),
        first_step=trainer.step,
        samples_per_step=trainer.config.batch_size,
        tensorboard=options.tensorboard,
    ) as log:

        def report_validation(result: Any) -> None:
            log.log_validation(result.step, result.values)
            if getattr(result, "sheet", None) is not None:
                log.log_images(result.step, result.sheet)

        trainer.run(**limits, validation=validation, report=log.log, report_validation=report_validation)
