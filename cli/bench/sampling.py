"""vqcodec bench sampling: how fast the prior samples."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_json


@click.command()
@click.option("--size", default="tiny", show_default=True, help="Of the prior: tiny, small, base or paper.")
@click.option("--side", type=options.AT_LEAST_1, default=16, show_default=True, help="Tokens along each side.")
@click.option("--batch-size", type=options.AT_LEAST_1, default=1, show_default=True, help="Pictures at a time.")
@options.figures
@options.debug
def sampling(size: str, side: int, batch_size: int, out: Path | None, debug: bool) -> None:
    """Tokens per second on the CPU, one after the other, with and without keeping keys and values."""
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.benchmarks.speed.sampling import measure_sampling_speed

    try:
        speed = measure_sampling_speed(size, side, batch_size)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    click.echo(
        f"{speed.size}, {speed.parameters / 1e6:.1f} M parameters, {speed.tokens} tokens, batch {speed.batch}: "
        f"{speed.cached_tokens_per_second:.0f} tokens/s kept, {speed.recomputed_tokens_per_second:.0f} anew each time, "
        f"{speed.speedup:.1f} times; the same tokens: {'yes' if speed.same_tokens else 'no'}"
    )
    if out is not None:
        result = describe_run() | asdict(speed) | {"speedup": speed.speedup}
        write_json(out, result)
