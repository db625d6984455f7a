"""vqcodec bench rd: rate and distortion on a folder of pictures."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cli.common import options
from vqcodec.cli.common.files import FileError, write_json

if TYPE_CHECKING:
    from vqcodec.benchmarks.rate_distortion.measuring import Run
    from vqcodec.benchmarks.rate_distortion.store import Store
    from vqcodec.benchmarks.rate_distortion.summary import Summary
    from vqcodec.benchmarks.rate_distortion.tools import ToolMaker, Tools

OURS = "vq"
_CODECS = (OURS, "jpeg", "webp", "avif", "jxl", "jpeg2000")
#: packages of the extra, by the name under which they are imported
_EXTRA = ("bjontegaard", "imagecodecs", "plotly")


def _names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Comma-separated codecs."""
    names = tuple(dict.fromkeys(name.strip() for name in value.split(",") if name.strip()))
    unknown = [name for name in names if name not in _CODECS]
    if unknown or not names:
        raise click.BadParameter(f"{value!r}: take some of {','.join(_CODECS)}")
    return names


def _scales(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, ...]:
    """Comma-separated factors."""
    parts = [part.strip() for part in value.split(",")]
    if not all(part.isdecimal() and int(part) for part in parts):
        raise click.BadParameter(f"{value!r} is not a list of factors such as 1,2,4")
    return tuple(dict.fromkeys(map(int, parts)))


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--images", required=True, type=_FOLDER, help="Folder of pictures (nested).")
@click.option(
    "--codecs",
    "names",
    callback=_names,
    default=",".join(_CODECS),
    show_default=True,
    help="What to measure, separated by commas.",
)
@click.option(
    "--scales",
    callback=_scales,
    default="1,2,3,4",
    show_default=True,
    help="Reduce the pictures by these factors before the other codecs, 1 for full size.",
)
@click.option(
    "--perceptual-weights",
    type=_FOLDER,
    help="Folder with the weights of the LPIPS and DISTS networks; without it they are left out.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for results.jsonl, which is gone on with if it is there, summary.json, report.html and pictures/.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    default=(DEFAULT_MODEL,),
    show_default=True,
    help="Name, id or folder of the model; may be given several times.",
)
@click.option(
    "--entropy",
    type=click.Choice(["prior", "static", "uniform"]),
    help="Entropy model. [default: the first of these that the model has]",
)
@click.option(
    "--level",
    "levels",
    type=click.IntRange(min=1),
    multiple=True,
    help="Measure this level count; may be given several times. [default: all]",
)
@click.option(
    "--quality",
    "qualities",
    type=click.FloatRange(0, 100),
    multiple=True,
    help="Measure this quality besides, as `vqcodec encode` has it; may be given several times.",
)
@click.option(
    "--refine",
    "refine_steps",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Measure refined pictures besides, as `vqcodec encode` has it; needs --perceptual-weights.",
)
@click.option(
    "--refine-level",
    "refine_levels",
    type=click.IntRange(min=1),
    multiple=True,
    help="With --refine: with this level count; may be given several times. [default: all]",
)
@click.option(
    "--published",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="JSON file of published RD points to draw beside the measured ones; see docs/benchmarks.md.",
)
@click.option("--pictures/--no-pictures", default=True, show_default=True, help="Keep decoded pictures for the report.")
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes that measure; with several, seconds are those of a busy machine.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Measure the first so many pictures only.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@options.device
@options.debug
def rd(
    images: Path,
    names: tuple[str, ...],
    scales: tuple[int, ...],
    perceptual_weights: Path | None,
    out: Path,
    models: tuple[str, ...],
    entropy: str | None,
    levels: tuple[int, ...],
    qualities: tuple[float, ...],
    refine_steps: int | None,
    refine_levels: tuple[int, ...],
    published: Path | None,
    pictures: bool,
    jobs: int,
    limit: int | None,
    markdown: bool,
    device: str,
    debug: bool,
) -> None:
    """Rate and distortion by real bytes: this codec, and others at full size and reduced.

    Reports means, BD-rates and win rates at equal bytes, as tables and as OUT/report.html. A second run measures only
    what is missing. Exit code 1 when a picture could not be measured.
    """
    if refine_steps and not perceptual_weights:
        raise click.UsageError("--refine needs --perceptual-weights, the networks that it looks through")
    if refine_levels and not refine_steps:
        raise click.UsageError("--refine-level goes with --refine")
    _check_extra()
    from vqcodec.benchmarks.pages.report import write_report
    from vqcodec.benchmarks.rate_distortion.codecs import VQ
    from vqcodec.benchmarks.rate_distortion.measuring import Workers, count_points, find_images, run
    from vqcodec.benchmarks.rate_distortion.published import read_published
    from vqcodec.benchmarks.rate_distortion.store import frechet_distances
    from vqcodec.benchmarks.rate_distortion.summary import summary
    from vqcodec.benchmarks.rate_distortion.tools import ToolMaker

    curves = read_published(published) if published else []
    found = dict(list(find_images(images).items())[:limit])
    if not found:
        raise FileError(f"{images}: holds no pictures")
    ours = models if OURS in names else ()
    for model in ours:
        for count in (*levels, *refine_levels):
            options.check_levels(count, find_model(model))
    maker = ToolMaker(
        models=ours,
        entropy=entropy,
        levels=levels,
        qualities=qualities,
        formats=tuple(name for name in names if name != OURS),
        scales=scales,
        weights=perceptual_weights,
        device=device,
        refine_steps=refine_steps,
        refine_levels=refine_levels,
    )
    tools = maker()
    for name, reason in tools.metrics.absent.items():
        click.echo(f"warning: {name} is not measured: {reason}", err=True)
    out.mkdir(parents=True, exist_ok=True)
    store = _store(out, tools, len(found), pictures)
    workers = Workers(jobs, maker) if jobs > 1 else None
    started = time.perf_counter()
    with tqdm(total=count_points(len(found), tools.codecs), unit="point", disable=None) as bar:
        result = run(found, tools, out / "results.jsonl", store=store, workers=workers, progress=bar.update)
    seconds = time.perf_counter() - started
    _print_problems(result)
    names_of_ours = [codec.name for codec in tools.codecs if isinstance(codec, VQ)]
    distances = frechet_distances(result.points, store) if store.wants_features else {}
    summarised = summary(result.points, names_of_ours, distances)
    described = _describe(maker, tools, result) | {"seconds": seconds, "jobs": jobs}
    write_json(out / "summary.json", described | asdict(summarised))
    if result.points:
        report = out / "report.html"
        shown = store if pictures else None
        write_report(report, summarised, result.points, shown, described, published=curves, ours=names_of_ours)
        _print_tables(summarised, markdown)
        click.echo(f"\n{report}")
    sys.exit(1 if result.failures else 0)


def _check_extra() -> None:
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise click.ClickException(f"{', '.join(missing)}: not installed; pip install 'vqcodec[bench]'")


def _store(out: Path, tools: Tools, images: int, pictures: bool) -> Store:
    from vqcodec.benchmarks.rate_distortion.frechet import FRECHET_MINIMUM_IMAGES
    from vqcodec.benchmarks.rate_distortion.store import Store

    has_features = "lpips_vgg" not in tools.metrics.absent
    return Store(out, wants_pictures=pictures, wants_features=has_features and images >= FRECHET_MINIMUM_IMAGES)


def _describe(maker: ToolMaker, tools: Tools, result: Run) -> dict[str, Any]:
    """What the result file says about the run, apart from the results."""
    from vqcodec.benchmarks.common.environment import describe_model, describe_run
    from vqcodec.benchmarks.common.memory import peak_memory_bytes
    from vqcodec.benchmarks.rate_distortion.codecs import VQ

    ours = [codec for codec in tools.codecs if isinstance(codec, VQ)]
    return describe_run() | {
        "models": [describe_model(own.codec) | {"entropy": own.entropy} for own in ours],
        "scales": maker.scales,
        "images": len({point.image for point in result.points}),
        "failures": result.failures,
        "damaged_lines": result.damaged,
        "absent_metrics": tools.metrics.absent,
        "points": len(result.points),
        "points_measured_now": result.measured,
        "peak_memory_bytes": peak_memory_bytes(),
    }


def _print_problems(result: Run) -> None:
    for line in result.damaged:
        click.echo(f"warning: {line}", err=True)
    for line in result.failures:
        click.echo(f"error: {line}", err=True)


def _print_tables(summarised: Summary, markdown: bool) -> None:
    from vqcodec.benchmarks.rate_distortion.summary import ALL_ANCHORS, BEST_SCALE
    from vqcodec.benchmarks.rate_distortion.tables import bd_rates_table, means_table, win_rates_table

    def is_shown(anchor: str) -> bool:
        return anchor == ALL_ANCHORS or anchor.endswith(f"/{BEST_SCALE}")

    click.echo(means_table(summarised.means, markdown=markdown))
    rates = [rate for rate in summarised.bd_rates if is_shown(rate.anchor)]
    if rates:
        click.echo("\nBD-rate: more bytes (%) than each format, at its best scale, for the same quality\n")
        click.echo(bd_rates_table(rates, markdown=markdown))
    wins = [win for win in summarised.win_rates if is_shown(win.anchor)]
    if wins:
        click.echo("\npictures on which ours is better, of those on which the anchor reaches the same bytes\n")
        click.echo(win_rates_table(wins, markdown=markdown))
