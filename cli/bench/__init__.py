"""vqcodec bench: the group of benchmark commands."""

from __future__ import annotations

import click

from vqcodec.cli.bench.ablation import ablation
from vqcodec.cli.bench.kernels import kernels
from vqcodec.cli.bench.portability import portability
from vqcodec.cli.bench.priors import priors
from vqcodec.cli.bench.rd import rd
from vqcodec.cli.bench.sampling import sampling
from vqcodec.cli.bench.speed import speed
from vqcodec.cli.bench.tokens import tokens
from vqcodec.cli.bench.upscale import upscale


@click.group()
def bench() -> None:
    """Measure the codec, its speed, and its settings."""


bench.add_command(ablation)
bench.add_command(kernels)
bench.add_command(portability)
bench.add_command(priors)
bench.add_command(rd)
bench.add_command(sampling)
bench.add_command(speed)
bench.add_command(tokens)
bench.add_command(upscale)
