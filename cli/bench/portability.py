"""vqcodec bench portability: streams and pixels, from one kind of process to another."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cards.model_card import ENTROPY_FILE
from vqcodec.cli.common import options
from vqcodec.cli.common.files import FileError, write_json
from vqcodec.pictures.names import picture_suffixes


@click.command()
@click.option("--streams", type=options.AT_LEAST_0, default=10_000, show_default=True, help="How many.")
@click.option("--pictures", type=options.AT_LEAST_0, default=100, show_default=True, help="How many.")
@click.option(
    "--data", type=options.READABLE_FOLDER, help="Code the pictures in this folder in the place of random ones."
)
@click.option(
    "--builds",
    is_flag=True,
    help="For pictures also compile the core without vectors, and to WebAssembly: needs a checkout, gcc, clang, "
    "wasm-ld and wasmtime. Slow.",
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Model that takes part.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", type=options.FILE, help="Write the result here, as JSON.")
@options.debug
def portability(
    streams: int,
    pictures: int,
    data: Path | None,
    builds: bool,
    model: str,
    seed: int,
    out: Path | None,
    debug: bool,
) -> None:
    """Write streams in processes that differ in threads, vector units and settings, and read them in others; code
    pictures in all that the core differs in.

    Exit code 1 if a single one comes out otherwise.
    """
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.benchmarks.priors.portability import (
        CASES,
        core_cases,
        measure_pixels,
        measure_portability,
        other_builds,
    )

    folder = find_model(model)
    entropy_prior = folder.card.entropy_prior
    transformer = entropy_prior.prior if entropy_prior else None
    own_prior = (transformer, folder.path / ENTROPY_FILE) if transformer else None
    on_core = core_cases()
    all_cases = CASES | on_core
    values: dict[str, Any] = {"cases": {name: asdict(case) for name, case in all_cases.items()}}
    failures: tuple[str, ...] = ()
    if streams:
        with tqdm(total=2 * streams, unit="stream", disable=None) as bar:
            result = measure_portability(streams, own_prior, cases=all_cases, seed=seed, progress=bar.update)
        failures, values = result.failures, values | asdict(result)
        click.echo(
            f"{result.streams} streams ({result.tokens} tokens, {result.payload_bytes} bytes of payload), each written "
            f"in one of {len(all_cases)} kinds of process and read in another: {len(result.failures)} failures"
        )
    given = sorted(path for path in data.iterdir() if path.suffix.lower() in picture_suffixes()) if data else pictures
    if not given and data:
        raise FileError(f"{data}: no pictures there")
    count = len(given) if isinstance(given, list) else given
    differing: tuple[int, ...] = ()
    with TemporaryDirectory() as built:
        cases = on_core | (other_builds(Path(built)) if builds else {})
        if cases:
            with tqdm(total=len(cases) * count, unit="picture", disable=None) as bar:
                painted = measure_pixels(given, str(folder.path), cases=cases, seed=seed, progress=bar.update)
            differing, values = painted.differing, values | {"pixels": asdict(painted) | {"cases": list(cases)}}
            click.echo(
                f"{painted.pictures} pictures ({painted.tokens} tokens) to streams and back in {len(cases)} kinds of "
                f"process: {len(differing)} with other tokens or pixels in one of them"
            )
        else:
            click.echo("pixels: not compared, for there is no core in C here, which is what makes them the same")
    for line in failures[:20]:
        click.echo(line)
    if out is not None:
        write_json(out, describe_run() | values)
    if failures or differing:
        raise SystemExit(1)
