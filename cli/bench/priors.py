"""vqcodec bench priors: orders of the tokens, and other priors than the transformer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from vqcodec.cli.bench.rows import RowOptions
from vqcodec.cli.common import options
from vqcodec.cli.common.option_groups import option, shared, takes

if TYPE_CHECKING:
    from vqcodec.benchmarks.priors.comparison import PriorRows
    from vqcodec.benchmarks.priors.rows import PriorRow
    from vqcodec.benchmarks.priors.token_sets import TokenSets


@dataclass(frozen=True)
class TokenOptions:
    """Whose tokens the priors learn, and how many."""

    images: Path | None = option(
        "--images",
        type=options.READABLE,
        help="Folder of pictures (nested) or tar shard; every tenth is held out. [default: generated shapes]",
    )
    model: str = shared(options.model)
    level: int = option(
        "--level", type=options.AT_LEAST_1, default=1, show_default=True, help="Whose tokens are predicted."
    )
    crop_size: int = option(
        "--crop-size",
        type=click.IntRange(min=16),
        default=256,
        show_default=True,
        help="Side of the crops, pixels; smaller pictures are left out.",
    )
    crops: int = option(
        "--crops", type=options.AT_LEAST_1, default=1500, show_default=True, help="Random crops to learn from."
    )
    held_out: int = option(
        "--held-out", type=options.AT_LEAST_1, default=150, show_default=True, help="Held-out pictures at most."
    )


@dataclass(frozen=True)
class PriorsOptions:
    """Which priors are trained, and how."""

    orders: tuple[str, ...] | None = option(
        "--orders",
        callback=options.comma_separated,
        help="Orders of the tokens for the transformer, separated by commas, such as raster,quincunx. [default: all]",
    )
    steps: int = option(
        "--steps", type=options.AT_LEAST_1, default=300, show_default=True, help="Of each order's training."
    )
    batch_size: int = option(
        "--batch-size", type=options.AT_LEAST_1, default=16, show_default=True, help="Grids a step."
    )
    width: int = option("--width", type=options.AT_LEAST_1, default=128, show_default=True, help="Of the transformer.")
    depth: int = option(
        "--depth", type=options.AT_LEAST_1, default=3, show_default=True, help="Of the transformer, blocks."
    )
    learning_rate: float = option(
        "--learning-rate", type=options.ABOVE_0, default=2e-3, show_default=True, help="The highest."
    )
    seed: int = option("--seed", type=options.AT_LEAST_0, default=0, show_default=True, help="Of all that is random.")


@click.command()
@takes(TokenOptions, "token_options")
@takes(PriorsOptions, "training")
@takes(RowOptions, "output")
def priors(token_options: TokenOptions, training: PriorsOptions, output: RowOptions) -> None:
    """Train small priors on the tokens of a model, and measure their bits per token on held-out pictures.

    One transformer in several orders of the tokens, for the same steps; a gated PixelCNN with about as many parameters,
    for as many seconds as the transformer in raster order; and the frequencies of the tokens.
    """
    from vqcodec.benchmarks.priors.comparison import PriorComparison, PriorRows
    from vqcodec.compute.memory import keep_freed_memory

    try:
        plan = PriorComparison(**{name: value for name, value in asdict(training).items() if value is not None})
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    keep_freed_memory()
    data = _tokens(token_options, training.seed, output.device)
    rows = PriorRows(plan, data, output.results, device=output.device)
    output.tell(
        rows.damaged,
        lambda: (_row(rows, prior).to_json() for prior in plan.priors()),
        lambda: _print_tables(rows),
        lambda: _markdown(rows),
    )


def _tokens(token_options: TokenOptions, seed: int, device: str) -> TokenSets:
    """With a bar while they are made, on a terminal."""
    from vqcodec.benchmarks.common.example_sets import HELD_OUT_EVERY, picture_data, toy_data
    from vqcodec.benchmarks.priors.token_sets import check_crops, make_tokens
    from vqcodec.codec import Codec

    codec = Codec.load(token_options.model, device=device)
    try:
        check_crops(codec.card, token_options.level, token_options.crop_size)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if token_options.images:
        pictures = picture_data(
            token_options.images, token_options.crop_size, at_most=HELD_OUT_EVERY * token_options.held_out
        )
    else:
        pictures = toy_data(token_options.crop_size, seed, (token_options.crops, token_options.held_out))
    total = token_options.crops + min(token_options.held_out, len(pictures.held_out))
    with tqdm(total=total, desc="tokens", unit="crop", leave=False, disable=None) as bar:

        def report(count: int) -> None:
            bar.update(count)

        return make_tokens(
            pictures,
            codec,
            level=token_options.level,
            crop_size=token_options.crop_size,
            crops=token_options.crops,
            held_out=token_options.held_out,
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


def _markdown(rows: PriorRows) -> str:
    """The same tables as Markdown."""
    from vqcodec.benchmarks.priors.rows import markdown

    tables = {title: list(map(rows.row, names)) for title, names in rows.plan.tables().items()}
    return f"{_about(rows)}\n\n{markdown(tables)}"


def _about(rows: PriorRows) -> str:
    data = rows.data
    height, width = data.shape
    return (
        f"{data.name}, level {data.level} of {data.model} (K = {data.codebook_size}, f = {data.factor}): "
        f"{len(data.training)} crops of {height} x {width} tokens to learn from, {len(data.held_out)} pictures held "
        f"out; {rows.plan.describe()}"
    )
