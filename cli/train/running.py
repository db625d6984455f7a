"""What the commands that train have in common: options, logs, and an end by signal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from vqcodec.cli.common.options import Command

FOLDER = click.Path(file_okay=False, path_type=Path)
READABLE = click.Path(exists=True, path_type=Path)


def run_options(function: Command) -> Command:
    """--out, --resume, --until, --checkpoint-every, --keep, --tensorboard, --device."""
    for option in reversed(
        (
            click.option("--out", required=True, type=FOLDER, help="Folder for checkpoints, logs and previews."),
            click.option(
                "--resume",
                is_flag=True,
                help="Go on from the newest checkpoint of --out, with its settings; options given here replace them.",
            ),
            click.option(
                "--until",
                type=click.IntRange(min=1),
                help="Stop at this step, with a checkpoint; the schedule still ends at --steps.",
            ),
            click.option(
                "--checkpoint-every",
                type=click.IntRange(min=1),
                default=1000,
                show_default=True,
                help="Steps between checkpoints.",
            ),
            click.option(
                "--keep",
                type=click.IntRange(min=0),
                default=2,
                show_default=True,
                help="Newest checkpoints to keep; 0 for all.",
            ),
            click.option(
                "--tensorboard/--no-tensorboard",
                default=None,
                help="Logs for TensorBoard in OUT/tensorboard.  [default: where it is installed]",
            ),
            click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
        )
    ):
        function = option(function)
    return function


def check_empty(out: Path) -> None:
    """Raises click.ClickException for a folder with checkpoints: a new run would mix its own with them."""
    if any(out.glob("checkpoint-*.pt")):
        raise click.ClickException(f"{out}: holds checkpoints already; give --resume or another --out")


def train_and_log(
    context: click.Context,
    options: dict[str, Any],
    make_trainer: Callable[[], Any],
    make_validation: Callable[[Any], Any],
) -> None:
    """Train, in one process or in several that torchrun started; a signal ends it with its usual exit code.

    make_validation: from the trainer, what measures it at every checkpoint, or None; asked for in the first process.
    """
    from vqcodec.compute.devices import keep_freed_memory
    from vqcodec.compute.distributed import is_first_process, process_group
    from vqcodec.training.common.interruption import stop_on_signals

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    keep_freed_memory()
    limits = {name: options[name] for name in ("checkpoint_every", "keep", "until")}
    with process_group(), stop_on_signals() as stop:
        trainer = make_trainer()
        if is_first_process():
            _run_with_log(trainer, options, limits | {"stop": stop}, make_validation(trainer))
        else:
            trainer.run(**limits, stop=stop)
        if stop.requested:
            if is_first_process():
                click.echo(f"stopped by {stop.requested} after {trainer.step} steps; go on with --resume", err=True)
            context.exit(stop.exit_code)


def _run_with_log(trainer: Any, options: dict[str, Any], limits: dict[str, Any], validation: Any) -> None:
    from vqcodec.training.common.run_log import RunLog

    with RunLog(
        options["out"],
        total_steps=min(options["until"] or trainer.steps, trainer.steps),
        first_step=trainer.step,
        samples_per_step=trainer.config.batch_size,
        tensorboard=options["tensorboard"],
    ) as log:

        def report_validation(result: Any) -> None:
            log.log_validation(result.step, result.values)
            if getattr(result, "sheet", None) is not None:
                log.log_images(result.step, result.sheet)

        trainer.run(**limits, validation=validation, report=log.log, report_validation=report_validation)
