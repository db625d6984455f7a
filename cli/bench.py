"""vqcodec bench: the group of benchmark commands."""

from __future__ import annotations

import click

from vqcodec.cli.bench_ablation import ablation
from vqcodec.cli.bench_kernels import kernels
from vqcodec.cli.bench_portability import portability
from vqcodec.cli.bench_priors import priors
from vqcodec.cli.bench_rd import rd
from vqcodec.cli.bench_sampling import sampling
from vqcodec.cli.bench_speed import speed
from vqcodec.cli.bench_tokens import tokens
from vqcodec.cli.bench_upscale import upscale


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
