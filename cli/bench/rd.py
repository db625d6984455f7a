"""vqcodec bench rd: rate and distortion on a folder of pictures."""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cli.common import options
from vqcodec.cli.common.files import FileError, write_json
from vqcodec.cli.common.option_groups import option, shared, takes

if TYPE_CHECKING:
    from vqcodec.benchmarks.rate_distortion.measuring import Run
    from vqcodec.benchmarks.rate_distortion.store import Store
    from vqcodec.benchmarks.rate_distortion.summary import Summary
    from vqcodec.benchmarks.rate_distortion.tools import ToolMaker, Tools

OURS = "vq"
_CODECS = (OURS, "jpeg", "webp", "avif", "jxl", "jpeg2000")
#: packages of the extra, by the name under which they are imported
_EXTRA = ("bjontegaard", "imagecodecs", "plotly")


def _codec_names(context: click.Context, parameter: click.Parameter, value: str) -> tuple[str, ...]:
    """Comma-separated codecs."""
    names = options.comma_separated(context, parameter, value)
    if not names or set(names) - set(_CODECS):
        raise click.BadParameter(f"{value!r}: take some of {','.join(_CODECS)}")
    return names


@dataclass(frozen=True)
class RdOptions:
    """What is measured: pictures, codecs, operating points."""

    images: Path = option("--images", required=True, type=options.READABLE_FOLDER, help="Folder of pictures (nested).")
    codecs: tuple[str, ...] = option(
        "--codecs",
        callback=_codec_names,
        default=",".join(_CODECS),
        show_default=True,
        help="What to measure, separated by commas.",
    )
    scales: tuple[int, ...] = option(
        "--scales",
        callback=options.comma_separated_numbers,
        default="1,2,3,4",
        show_default=True,
        help="Reduce the pictures by these factors before the other codecs, 1 for full size.",
    )
    perceptual_weights: Path | None = option(
        "--perceptual-weights",
        type=options.READABLE_FOLDER,
        help="Folder with the weights of the LPIPS and DISTS networks; without it they are left out.",
    )
    out: Path = option(
        "--out",
        required=True,
        type=options.FOLDER,
        help="Folder for results.jsonl, which is gone on with if it is there, summary.json, report.html and pictures/.",
    )
    models: tuple[str, ...] = option(
        "--model",
        multiple=True,
        default=(DEFAULT_MODEL,),
        show_default=True,
        help="Name, id or folder of the model; may be given several times.",
    )
    entropy: str | None = shared(options.entropy)
    levels: tuple[int, ...] = option(
        "--level",
        type=options.AT_LEAST_1,
        multiple=True,
        help="Measure this level count; may be given several times. [default: all]",
    )
    qualities: tuple[float, ...] = option(
        "--quality",
        type=click.FloatRange(0, 100),
        multiple=True,
        help="Measure this quality besides, as `vqcodec encode` has it; may be given several times.",
    )
    refine_steps: int | None = option(
        "--refine",
        type=options.AT_LEAST_1,
        metavar="STEPS",
        help="Measure refined pictures besides, as `vqcodec encode` has it; needs --perceptual-weights.",
    )
    refine_levels: tuple[int, ...] = option(
        "--refine-level",
        type=options.AT_LEAST_1,
        multiple=True,
        help="With --refine: with this level count; may be given several times. [default: all]",
    )
    published: Path | None = option(
        "--published",
        type=options.READABLE_FILE,
        help="JSON file of published RD points to draw beside the measured ones; see docs/benchmarks.md.",
    )
    pictures: bool = option(
        "--pictures/--no-pictures", default=True, show_default=True, help="Keep decoded pictures for the report."
    )
    jobs: int = option(
        "--jobs",
        type=options.AT_LEAST_1,
        default=1,
        show_default=True,
        help="Processes that measure; with several, seconds are those of a busy machine.",
    )
    limit: int | None = option("--limit", type=options.AT_LEAST_1, help="Measure the first so many pictures only.")
    markdown: bool = option("--markdown", is_flag=True, help="Print the tables as Markdown.")
    device: str = shared(options.device)
    debug: bool = shared(options.debug)

    @property
    def our_models(self) -> tuple[str, ...]:
        """The models that are measured: none where our codec is not asked for."""
        return self.models if OURS in self.codecs else ()

    def check(self) -> None:
        """Raises click.UsageError for options that do not go together, ModelError for a model that is not there."""
        if self.refine_steps and not self.perceptual_weights:
            raise click.UsageError("--refine needs --perceptual-weights, the networks that it looks through")
        if self.refine_levels and not self.refine_steps:
            raise click.UsageError("--refine-level goes with --refine")

    def tool_maker(self) -> ToolMaker:
        """Raises click.BadParameter for level counts that a model does not have, ModelError."""
        from vqcodec.benchmarks.rate_distortion.tools import ToolMaker

        for model in self.our_models:
            for count in (*self.levels, *self.refine_levels):
                options.check_levels(count, find_model(model), "--level")
        return ToolMaker(
            models=self.our_models,
            entropy=self.entropy,
            levels=self.levels,
            qualities=self.qualities,
            formats=tuple(name for name in self.codecs if name != OURS),
            scales=self.scales,
            perceptual_weights=self.perceptual_weights,
            device=self.device,
            refine_steps=self.refine_steps,
            refine_levels=self.refine_levels,
        )


@click.command()
@takes(RdOptions, "rd_options")
def rd(rd_options: RdOptions) -> None:
    """Rate and distortion by real bytes: this codec, and others at full size and reduced.

    Reports means, BD-rates and win rates at equal bytes, as tables and as OUT/report.html. A second run measures only
    what is missing. Exit code 1 when a picture could not be measured.
    """
    rd_options.check()
    _check_extra()
    from vqcodec.benchmarks.pages.report import write_report
    from vqcodec.benchmarks.rate_distortion.codecs import VQ
    from vqcodec.benchmarks.rate_distortion.measuring import Workers, count_points, find_images, run
    from vqcodec.benchmarks.rate_distortion.published import read_published
    from vqcodec.benchmarks.rate_distortion.store import frechet_distances
    from vqcodec.benchmarks.rate_distortion.summary import summary

    curves = read_published(rd_options.published) if rd_options.published else []
    images = dict(list(find_images(rd_options.images).items())[: rd_options.limit])
    if not images:
        raise FileError(f"{rd_options.images}: holds no pictures")
    maker = rd_options.tool_maker()
    tools = maker()
    for name, reason in tools.metrics.absent.items():
        click.echo(f"warning: {name} is not measured: {reason}", err=True)
    out = rd_options.out
    out.mkdir(parents=True, exist_ok=True)
    store = _store(out, tools, len(images), rd_options.pictures)
    workers = Workers(rd_options.jobs, maker) if rd_options.jobs > 1 else None
    started = time.perf_counter()
    with tqdm(total=count_points(len(images), tools.codecs), unit="point", disable=None) as bar:
        result = run(images, tools, out / "results.jsonl", store=store, workers=workers, progress=bar.update)
    seconds = time.perf_counter() - started
    _print_problems(result)
    names_of_ours = [codec.name for codec in tools.codecs if isinstance(codec, VQ)]
    distances = frechet_distances(result.points, store) if store.wants_features else {}
    summarised = summary(result.points, names_of_ours, distances)
    described = _describe(maker, tools, result) | {"seconds": seconds, "jobs": rd_options.jobs}
    write_json(out / "summary.json", described | asdict(summarised))
    if result.points:
        report = out / "report.html"
        shown = store if rd_options.pictures else None
        write_report(report, summarised, result.points, shown, described, published=curves, ours=names_of_ours)
        _print_tables(summarised, rd_options.markdown)
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
        click.echo("\npictures on which ours is better, of those on which the anchor has a file this small\n")
        click.echo(win_rates_table(wins, markdown=markdown))
