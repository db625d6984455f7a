"""vqcodec train: train the networks on a folder of pictures."""

from __future__ import annotations

import click

from vqcodec.cli.train.presets import presets
from vqcodec.cli.train.stage1 import stage1
from vqcodec.cli.train.stage2 import stage2, tokens
from vqcodec.cli.train.toys import toys


@click.group()
def train() -> None:
    """Train the networks on your own pictures."""


for command in (presets, toys, stage1, stage2, tokens):
    train.add_command(command)
