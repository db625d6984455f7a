"""vqcodec bench ablation: what f, K, the quantiser and the losses do to a small model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from vqcodec.cli.bench.rows import RowOptions
from vqcodec.cli.common import options
from vqcodec.cli.common.option_groups import option, takes

if TYPE_CHECKING:
    from vqcodec.benchmarks.ablation.rows import Row
    from vqcodec.benchmarks.ablation.runs import Rows, Variant


@dataclass(frozen=True)
class AblationOptions:
    """Which models are trained, and how."""

    factors: tuple[int, ...] = option(
        "--factors",
        callback=options.comma_separated_numbers,
        default="2,4,8,16",
        show_default=True,
        help="Downsampling factors f, separated by commas, at the middle one of the codebook sizes.",
    )
    codebook_sizes: tuple[int, ...] = option(
        "--codebook-sizes",
        callback=options.comma_separated_numbers,
        default="16,64,256,1024",
        show_default=True,
        help="Codebook sizes K, separated by commas, at the middle one of the factors.",
    )
    quantizers: bool = option(
        "--quantizers/--no-quantizers", default=True, show_default=True, help="Compare kinds of quantisers too."
    )
    steps: int = option("--steps", type=options.AT_LEAST_1, default=600, show_default=True, help="Of each training.")
    crop_size: int = option(
        "--crop-size",
        type=click.IntRange(min=16),
        default=64,
        show_default=True,
        help="Side of the training crops, pixels; a multiple of every factor.",
    )
    seed: int = option("--seed", type=options.AT_LEAST_0, default=0, show_default=True, help="Of all that is random.")


@click.command()
@click.option(
    "--images",
    type=options.READABLE,
    help="Folder of pictures (nested) or tar shard; every tenth is held out. [default: generated shapes]",
)
@click.option(
    "--perceptual-weights",
    type=options.READABLE_FOLDER,
    help="Folder with the weights of LPIPS (AlexNet): adds it and a discriminator to the losses, and rows without.",
)
@takes(AblationOptions, "training")
@takes(RowOptions, "output")
def ablation(
    images: Path | None,
    perceptual_weights: Path | None,
    training: AblationOptions,
    output: RowOptions,
) -> None:
    """Train small models that differ in one setting, and measure each on held-out pictures.

    The settings: the downsampling factor f, the codebook size K, the kind of quantiser, with --perceptual-weights the
    losses. PSNR (dB) is that of the start, where each patch is coded by itself, and that of the trained networks, which
    see what surrounds it.
    """
    from vqcodec.benchmarks.ablation.runs import Ablation, Rows
    from vqcodec.benchmarks.common.example_sets import picture_data, toy_data
    from vqcodec.compute.memory import keep_freed_memory

    try:
        plan = Ablation(**asdict(training), perceptual=perceptual_weights is not None)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    keep_freed_memory()
    data = picture_data(images, training.crop_size) if images else toy_data(training.crop_size, training.seed)
    rows = Rows(plan, data, output.results, perceptual_weights=perceptual_weights, device=output.device)
    output.tell(
        rows.damaged,
        lambda: (_row(rows, variant).to_json() for variant in plan.variants()),
        lambda: _print_tables(rows),
        lambda: _markdown(rows),
    )


def _row(rows: Rows, variant: Variant) -> Row:
    """With a bar while it trains, on a terminal."""
    name = f"f = {variant.factor}, K = {variant.codebook_size}, {variant.quantizer}"
    with tqdm(total=rows.ablation.steps, desc=name, unit="step", leave=False, disable=None) as bar:

        def report(step: int, values: dict[str, float]) -> None:
            bar.update()

        return rows.row(variant, report)


def _print_tables(rows: Rows) -> None:
    """Each row as soon as it is there."""
    from vqcodec.benchmarks.ablation.rows import columns, line, padded

    names = columns(rows.ablation.perceptual)
    click.echo(_about(rows))
    for title, variants in rows.ablation.sweeps().items():
        click.echo(f"\nby {title}\n\n{padded(names, names)}")
        for variant in variants:
            click.echo(line(_row(rows, variant), names))


def _markdown(rows: Rows) -> str:
    """The same tables as Markdown."""
    from vqcodec.benchmarks.ablation.rows import columns, markdown

    sweeps = {title: list(map(rows.row, variants)) for title, variants in rows.ablation.sweeps().items()}
    return f"{_about(rows)}\n\n{markdown(sweeps, columns(rows.ablation.perceptual))}"


def _about(rows: Rows) -> str:
    data = rows.data
    return (
        f"{data.name}: {len(data.training)} pictures to learn from, {len(data.held_out)} held out, measured on "
        f"{data.side} x {data.side} pixels; {rows.ablation.describe()}"
    )
