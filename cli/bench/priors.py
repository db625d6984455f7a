"""vqcodec bench priors: orders of the tokens, and other priors than the transformer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL
from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_text

if TYPE_CHECKING:
    from vqcodec.benchmarks.priors.comparison import PriorRows
    from vqcodec.benchmarks.priors.rows import PriorRow
    from vqcodec.benchmarks.priors.tokens import TokenData

RESULTS_FILE, TABLE_FILE = "results.jsonl", "table.md"


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """Comma-separated words."""
    if value is None:
        return None
    return tuple(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))


@click.command()
@click.option(
    "--images",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures (nested) or tar shard; every tenth is held out. [default: generated shapes]",
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name, id or folder of the model.")
@click.option("--level", type=click.IntRange(min=1), default=1, show_default=True, help="Whose tokens are predicted.")
@click.option(
    "--orders",
    callback=_names,
    help="Orders of the tokens for the transformer, separated by commas, such as raster,quincunx. [default: all]",
)
@click.option("--steps", type=click.IntRange(min=1), default=300, show_default=True, help="Of each order's training.")
@click.option("--batch-size", type=click.IntRange(min=1), default=16, show_default=True, help="Grids a step.")
@click.option("--width", type=click.IntRange(min=1), default=128, show_default=True, help="Of the transformer.")
@click.option("--depth", type=click.IntRange(min=1), default=3, show_default=True, help="Of the transformer, blocks.")
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), default=2e-3, show_default=True, help="The highest."
)
@click.option(
    "--crop-size",
    type=click.IntRange(min=16),
    default=256,
    show_default=True,
    help="Side of the crops, pixels; smaller pictures are left out.",
)
@click.option(
    "--crops", type=click.IntRange(min=1), default=1500, show_default=True, help="Random crops to learn from."
)
@click.option(
    "--held-out", type=click.IntRange(min=1), default=150, show_default=True, help="Held-out pictures at most."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of all that is random.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"Folder for {RESULTS_FILE}, which is gone on with if it is there, and {TABLE_FILE}.",
)
@options.as_json
@options.device
@options.debug
def priors(
    images: Path | None,
    model: str,
    level: int,
    orders: tuple[str, ...] | None,
    steps: int,
    batch_size: int,
    width: int,
    depth: int,
    learning_rate: float,
    crop_size: int,
    crops: int,
    held_out: int,
    seed: int,
    out: Path | None,
    as_json: bool,
    device: str,
    debug: bool,
) -> None:
    """Train small priors on the tokens of a model, and measure their bits per token on held-out pictures.

    One transformer in several orders of the tokens, for the same steps; a gated PixelCNN with about as many parameters,
    for as many seconds as the transformer in raster order; and the frequencies of the tokens.
    """
    from vqcodec.benchmarks.priors.comparison import PriorComparison, PriorRows
    from vqcodec.compute.devices import keep_freed_memory

    try:
        plan = PriorComparison(
            **({} if orders is None else {"orders": orders}),
            steps=steps,
            batch_size=batch_size,
            width=width,
            depth=depth,
            learning_rate=learning_rate,
            seed=seed,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    keep_freed_memory()
    data = _tokens(images, model, level, crop_size, crops, held_out, seed, device)
    rows = PriorRows(plan, data, out / RESULTS_FILE if out else None, device=device)
    for line in rows.damaged:
        click.echo(f"warning: {line}", err=True)
    if as_json:
        for prior in plan.priors():
            click.echo(_row(rows, prior).to_json())
    else:
        _print_tables(rows)
    if out:
        _write_tables(rows, out / TABLE_FILE)


def _tokens(
    images: Path | None, model: str, level: int, crop_size: int, crops: int, held_out: int, seed: int, device: str
) -> TokenData:
    """With a bar while they are made, on a terminal."""
    from vqcodec.benchmarks.common.example_sets import HELD_OUT_EVERY, picture_data, toy_data
    from vqcodec.benchmarks.priors.tokens import check_crops, make_tokens
    from vqcodec.codec import Codec

    codec = Codec.load(model, device=device)
    try:
        check_crops(codec.card, level, crop_size)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if images:
        pictures = picture_data(images, crop_size, at_most=HELD_OUT_EVERY * held_out)
    else:
        pictures = toy_data(crop_size, seed, (crops, held_out))
    total = crops + min(held_out, len(pictures.held_out))
    with tqdm(total=total, desc="tokens", unit="crop", leave=False, disable=None) as bar:

        def report(count: int) -> None:
            bar.update(count)

        return make_tokens(
            pictures,
            codec,
            level=level,
            crop_size=crop_size,
            crops=crops,
            held_out=held_out,
            seed=seed,
            report=report,
        )


def _row(rows: PriorRows, prior: str) -> PriorRow:
    """With the bits per token of each step while it trains, on a terminal."""
    with tqdm(desc=prior, unit="step", leave=False, disable=None) as bar:

        def report(step: int, bits: float) -> None:
            bar.set_postfix_str(f"{bits:.3f} bits per token", refresh=False)
            bar.update()

        return rows.row(prior, report)


def _print_tables(rows: PriorRows) -> None:
    """Each row as soon as it is there."""
    from vqcodec.benchmarks.priors.rows import heading, line

    click.echo(_about(rows))
    for title, names in rows.plan.tables().items():
        click.echo(f"\n{title}\n\n{heading()}")
        for prior in names:
            click.echo(line(_row(rows, prior)))


def _write_tables(rows: PriorRows, path: Path) -> None:
    """The same tables as Markdown."""
    from vqcodec.benchmarks.priors.rows import markdown

    tables = {title: list(map(rows.row, names)) for title, names in rows.plan.tables().items()}
    write_text(path, f"{_about(rows)}\n\n{markdown(tables)}")


def _about(rows: PriorRows) -> str:
    data = rows.data
    height, width = data.shape
    return (
        f"{data.name}, level {data.level} of {data.model} (K = {data.codebook_size}, f = {data.factor}): "
        f"{len(data.training)} crops of {height} x {width} tokens to learn from, {len(data.held_out)} pictures held "
        f"out; {rows.plan.describe()}"
    )
