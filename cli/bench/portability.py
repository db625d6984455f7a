"""vqcodec bench portability: streams of the integer prior, from one kind of process to another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cards.model_card import ENTROPY_FILE
from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_json


@click.command()
@click.option("--streams", type=options.AT_LEAST_1, default=10_000, show_default=True, help="How many.")
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Model whose prior takes part.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=options.FILE, help="Write the result here, as JSON.")
@options.debug
def portability(streams: int, model: str, seed: int, out: Path | None, debug: bool) -> None:
    """Write streams in processes that differ in threads, vector units and settings, and read them in others.

    Exit code 1 if a single one comes out otherwise.
    """
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.benchmarks.priors.portability import CASES, measure_portability

    folder = find_model(model)
    entropy_prior = folder.card.entropy_prior
    own_prior = (entropy_prior.prior, folder.path / ENTROPY_FILE) if entropy_prior else None
    with tqdm(total=2 * streams, unit="stream", disable=None) as bar:
        result = measure_portability(streams, own_prior, seed=seed, progress=bar.update)
    click.echo(
        f"{result.streams} streams ({result.tokens} tokens, {result.payload_bytes} bytes of payload), each written in "
        f"one of {len(CASES)} kinds of process and read in another: {len(result.failures)} failures"
    )
    for line in result.failures[:20]:
        click.echo(line)
    if out is not None:
        cases = {name: asdict(case) for name, case in CASES.items()}
        write_json(out, describe_run() | {"cases": cases} | asdict(result))
    if result.failures:
        raise SystemExit(1)
