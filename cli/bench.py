"""vqcodec bench: rate and distortion on a folder of pictures, and speed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from vqcodec.cli import options
from vqcodec.cli.files import FileError
from vqcodec.model_card import DEFAULT_MODEL

_MODEL = click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name, id or folder of the model.")


def _size(context: click.Context, parameter: click.Parameter, value: str) -> tuple[int, int]:
    """WIDTHxHEIGHT in pixels."""
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise click.BadParameter(f"{value!r} is not a size such as 768x512")
    return int(width), int(height)


@click.group()
def bench() -> None:
    """Measure the codec against others, and its speed."""


@bench.command()
@click.option(
    "--images",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of pictures (nested).",
)
@click.option(
    "--perceptual-weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the weights of the LPIPS and DISTS networks; without it they are left out.",
)
@click.option(
    "--out",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for results.jsonl, which is gone on with if it is there, and summary.json.",
)
@_MODEL
@click.option(
    "--entropy", type=click.Choice(["uniform", "static"]), help="Entropy model. [default: static if the model has it]"
)
@click.option(
    "--avif-scale",
    "avif_scales",
    type=click.IntRange(min=1),
    multiple=True,
    default=(1, 2, 3, 4),
    show_default=True,
    help="Reduce the anchor's pictures by this factor, 1 for full size; may be given several times.",
)
@click.option("--no-anchors", is_flag=True, help="Measure our codec alone.")
@click.option(
    "--level",
    "level_counts",
    type=click.IntRange(min=1),
    multiple=True,
    help="Measure this level count; may be given several times. [default: all]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Measure the first so many pictures only.")
@click.option("--markdown", is_flag=True, help="Print the tables as Markdown.")
@options.device
@options.debug
def rd(
    images: Path,
    perceptual_weights: Path | None,
    out: Path,
    model: str,
    entropy: str | None,
    avif_scales: tuple[int, ...],
    no_anchors: bool,
    level_counts: tuple[int, ...],
    limit: int | None,
    markdown: bool,
    device: str,
    debug: bool,
) -> None:
    """Rate and distortion by level count, against AVIF at full size and reduced, at the nearest bytes.

    Bytes are those of whole files. AVIF gets the lowest quality whose file is not smaller than ours. Exit code 1 when a
    picture could not be measured.
    """
    from vqcodec.benchmarks.codecs import VQ, avif_anchors
    from vqcodec.benchmarks.environment import describe_model, describe_run
    from vqcodec.benchmarks.metrics import Metrics
    from vqcodec.benchmarks.rate_distortion import count_points, find_images, run
    from vqcodec.benchmarks.summary import summary
    from vqcodec.benchmarks.tables import comparisons_table, means_table
    from vqcodec.codec import Codec

    found = dict(list(find_images(images).items())[:limit])
    if not found:
        raise FileError(f"{images}: holds no pictures")
    codec = Codec.load(model, device=device)
    metrics = Metrics(perceptual_weights, codec.device)
    for name, reason in metrics.absent.items():
        click.echo(f"warning: {name} is not measured: {reason}", err=True)
    out.mkdir(parents=True, exist_ok=True)
    for count in level_counts:
        options.check_levels(count, codec.model)
    codecs, anchors = [VQ(codec, entropy, level_counts)], avif_anchors(() if no_anchors else avif_scales)
    described = describe_run()
    with tqdm(total=count_points(len(found), codecs, anchors), unit="point", disable=None) as bar:
        result = run(found, codecs, metrics, out / "results.jsonl", anchors=anchors, progress=bar.update)
    for line in result.damaged:
        click.echo(f"warning: {line}", err=True)
    for line in result.failures:
        click.echo(f"error: {line}", err=True)
    summarised = summary(result.points)
    values = described | {
        "model": describe_model(codec) | {"entropy": codecs[0].entropy},
        "images": len(found) - len(result.failures),
        "failures": result.failures,
        "damaged_lines": result.damaged,
        "absent_metrics": metrics.absent,
        "points": len(result.points),
        "points_measured_now": result.measured,
        **asdict(summarised),
    }
    _write_json(out / "summary.json", values)
    if result.points:
        click.echo(means_table(summarised.means, markdown=markdown))
    if summarised.comparisons:
        click.echo("\npictures on which ours is lower than the anchor at the nearest bytes\n")
        click.echo(comparisons_table(summarised.comparisons, markdown=markdown))
    sys.exit(1 if result.failures else 0)


@bench.command()
@click.option(
    "--size",
    callback=_size,
    metavar="WIDTHxHEIGHT",
    default="768x512",
    show_default=True,
    help="Of the picture, in pixels.",
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure this picture, at its own size. [default: a synthetic one]",
)
@click.option(
    "--repeat", type=click.IntRange(min=1), default=10, show_default=True, help="Times each measurement is taken."
)
@click.option("--every-level", is_flag=True, help="Measure every level count, not only all levels.")
@click.option(
    "--cold/--no-cold", default=True, show_default=True, help="Measure whole commands in fresh processes, too."
)
@click.option(
    "--megapixels",
    type=click.FloatRange(min=0, min_open=True),
    help="Measure time and peak memory of one picture of this size instead, in fresh processes.",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads of torch. [default: its own choice]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the results to this JSON file.")
@_MODEL
@options.device
@options.debug
def speed(
    size: tuple[int, int],
    image: Path | None,
    repeat: int,
    every_level: bool,
    cold: bool,
    megapixels: float | None,
    threads: int | None,
    out: Path | None,
    model: str,
    device: str,
    debug: bool,
) -> None:
    """Seconds from pixels to bytes and back, warm, with the share of every step; and of whole commands, cold."""
    import torch

    from vqcodec.benchmarks.environment import describe_model, describe_run
    from vqcodec.benchmarks.processes import ProcessError, measure_cold_start, measure_large
    from vqcodec.benchmarks.speed import dtypes_worth_measuring, measure_speed, synthetic_picture
    from vqcodec.codec import Codec
    from vqcodec.image import load_image, to_pil

    if threads:
        torch.set_num_threads(threads)
    codec = Codec.load(model, device=device)
    path = str(codec.model.path)
    values = describe_run() | {"model": describe_model(codec)}
    try:
        if megapixels:
            large = measure_large(path, megapixels, image=image, device=device, threads=threads)
            values["large"] = asdict(large)
            _print_large(values["large"])
        else:
            rgb = load_image(image, alpha="drop").rgb if image else synthetic_picture(*size)
            most = codec.card.autoencoder.levels
            values["speed"] = []
            for dtype in dtypes_worth_measuring(codec.device):
                codec = Codec.load(path, device=device, dtype=dtype)
                for levels in range(1 if every_level else most, most + 1):
                    values["speed"].append(asdict(measure_speed(codec, rgb, levels=levels, repeat=repeat)))
                    _print_speed(values["speed"][-1])
            if cold:
                values["cold"] = asdict(measure_cold_start(path, to_pil(rgb), device=device))
                for name in ("encode", "decode", "info"):
                    click.echo(f"vqcodec {name}: {values['cold'][f'{name}_seconds']:.2f} s, the whole process")
    except ProcessError as error:
        raise click.ClickException(str(error)) from error
    if out:
        _write_json(out, values)


def _print_speed(values: dict[str, Any]) -> None:
    levels = f"{values['levels']} level{'s' if values['levels'] > 1 else ''}"
    click.echo(
        f"{values['width']} x {values['height']}, {levels}, {values['dtype']} on {values['device']}, "
        f"{values['threads']} threads, median of {values['repeat']}: {values['bytes']} bytes"
    )
    for name in ("encode", "decode"):
        whole = values[f"{name}_seconds"]
        steps = ", ".join(
            f"{step} {1000 * seconds:.1f} ({seconds / whole:.0%})" for step, seconds in values[f"{name}_steps"].items()
        )
        click.echo(f"  {name} {1000 * whole:.1f} ms: {steps}")
    click.echo(f"  peak memory {_megabytes(values['peak_memory_bytes'])}")


def _print_large(values: dict[str, Any]) -> None:
    click.echo(f"{values['width']} x {values['height']}: {values['bytes']} bytes, each in a fresh process")
    for name in ("encode", "decode"):
        memory = _megabytes(values[f"{name}_memory_bytes"])
        click.echo(f"  {name} {values[f'{name}_seconds']:.2f} s, peak memory {memory}")
    click.echo(f"  of which {_megabytes(values['loaded_memory_bytes'])} before encoding: Python, torch, model, picture")


def _megabytes(count: int | None) -> str:
    return "not known here" if count is None else f"{count / 1e6:.0f} MB"


def _write_json(path: Path, values: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)
