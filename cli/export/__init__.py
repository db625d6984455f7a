"""vqcodec export: a checkpoint becomes the folder of a model or of a prior; `onnx` makes graphs of a model."""

from __future__ import annotations

import click

from vqcodec.cli.export.checkpoint import export as export_checkpoint
from vqcodec.cli.export.onnx import onnx


class _CheckpointOrCommand(click.Group):
    """What is no name of a command is a checkpoint."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [_CHECKPOINT, *args]
        return super().parse_args(ctx, args)


_CHECKPOINT = "checkpoint"


@click.group(cls=_CheckpointOrCommand)
def export() -> None:
    """Make models of checkpoints, or graphs of models.

    `vqcodec export CHECKPOINT FOLDER` is short for `vqcodec export checkpoint CHECKPOINT FOLDER`.
    """


export.add_command(export_checkpoint, _CHECKPOINT)
export.add_command(onnx)
