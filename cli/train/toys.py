"""vqcodec train toys: drawn pictures to try the trainer on."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common.options import AT_LEAST_0, AT_LEAST_1, FOLDER


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--count", type=AT_LEAST_1, default=2000, show_default=True, help="Pictures.")
@click.option("--side", type=click.IntRange(min=16), default=32, show_default=True, help="Pixels along a side.")
@click.option("--seed", type=AT_LEAST_0, default=0, show_default=True)
def toys(folder: Path, count: int, side: int, seed: int) -> None:
    """Draw pictures of coloured shapes into FOLDER, one folder a class, to try the trainer on.

    \b
        vqcodec train toys shapes
        vqcodec train stage1 --preset tiny --data shapes --out run
    """
    from vqcodec.training.data.toy_shapes import write_toy_folder

    write_toy_folder(folder, count, side, seed)
    click.echo(f"{folder}: {count} pictures of {side} x {side} pixels")
