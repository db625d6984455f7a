"""vqcodec encode: pictures to streams."""

from __future__ import annotations

import re
import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cli.common import options
from vqcodec.cli.common.batch import Outcome, run
from vqcodec.cli.common.files import (
    PICTURE_SUFFIXES,
    STANDARD,
    Task,
    check_stream_names,
    check_target,
    plan,
    read_standard,
    write_output,
)
from vqcodec.cli.common.loading import Codecs
from vqcodec.rates.rate import LARGEST_WEIGHT, Rate

if TYPE_CHECKING:
    from vqcodec.generation.refinement import Refiner

#: as `Rate` calls what the options say
_OPTIONS = {
    "bits_per_pixel": "--bpp",
    "max_bytes": "--max-bytes",
    "quality": "--quality",
    "levels": "--levels",
    "weight": "--lambda",
}


@click.command()
@options.paths
@options.output_folder
@click.option("--levels", type=click.IntRange(min=1), help="How many levels to keep: fewer is smaller. [default: all]")
@click.option(
    "--quality",
    type=click.FloatRange(0, 100),
    help="0 (smallest) to 100 (best). Sizes come in steps, one for each level: with 4 levels at 25, 50, 75 and 100.",
)
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    help="The best file that is no larger; between the steps it may be much smaller. With --levels: up to these.",
)
@click.option(
    "--bpp", type=click.FloatRange(min=0, min_open=True), help="The same with a limit in bits per pixel, such as 0.05."
)
@click.option(
    "--lambda",
    "weight",
    type=click.FloatRange(0, LARGEST_WEIGHT),
    default=0.0,
    help=f"Take tokens of fewer bits where they are nearly as good, 0 to {LARGEST_WEIGHT:g}: 0.05 saves some 3 %, "
    "more than 0.15 is worse than a level less.  [default: 0]",
)
@click.option(
    "--entropy",
    type=click.Choice(["prior", "static", "uniform"]),
    help="How tokens become bits: by the learned prior (smallest, slowest), by a table of how often each occurs, or "
    "all alike. [default: the first of these that the model has]",
)
@click.option(
    "--refine",
    "refine_steps",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Search for better tokens, for minutes a picture: 10 steps give much, 20 more. Needs --perceptual-weights.",
)
@click.option(
    "--perceptual-weights",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="For --refine: folder with the weights of the LPIPS networks.",
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name, id or folder of the model.")
@click.option(
    "--icc",
    type=click.Choice(["srgb", "keep"]),
    default="srgb",
    show_default=True,
    help="Convert to sRGB, or store the colour profile.",
)
@click.option(
    "--alpha", type=click.Choice(["keep", "drop"]), default="keep", show_default=True, help="Alpha is kept losslessly."
)
@click.option(
    "--metadata", type=click.Choice(["drop", "keep"]), default="drop", show_default=True, help="EXIF and XMP."
)
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Read the tokens of each stream back before it is kept, which takes as long as coding them.",
)
@options.max_pixels
@options.jobs
@options.device
@options.force
@options.as_json
@options.debug
def encode(
    paths: tuple[str, ...],
    output_folder: Path | None,
    levels: int | None,
    quality: float | None,
    max_bytes: int | None,
    bpp: float | None,
    weight: float,
    entropy: str | None,
    refine_steps: int | None,
    perceptual_weights: Path | None,
    model: str,
    icc: str,
    alpha: str,
    metadata: str,
    verify: bool,
    max_pixels: int,
    jobs: int,
    device: str,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Encode pictures as .vq streams.

    IN and OUT may be - for stdin and stdout. With -o, IN may also be folders, which are searched for pictures. The
    seconds told are of encoding alone: without loading the model, reading and writing.
    """
    tasks = plan(paths, output_folder, suffix=".vq", inputs=PICTURE_SUFFIXES)
    check_stream_names(tasks)
    model_folder = find_model(model)
    options.check_levels(levels, model_folder)
    try:
        Rate(levels, quality, max_bytes, bpp, weight)
    except ValueError as error:
        raise click.UsageError(re.sub("|".join(_OPTIONS), lambda found: _OPTIONS[found[0]], str(error))) from error
    if weight and entropy == "uniform":
        raise click.UsageError("--lambda changes nothing with --entropy uniform, where every token takes the same bits")

    if (refine_steps is None) != (perceptual_weights is None):
        raise click.UsageError("--refine and --perceptual-weights go together: how long to search, and by what")

    from vqcodec.bitstream import read_header
    from vqcodec.pictures.image import load_image

    codecs = Codecs(device)
    refiner = None
    if refine_steps is not None and perceptual_weights is not None:
        refiner = _refiner(refine_steps, perceptual_weights, quiet=jobs > 1)

    def work(task: Task) -> Outcome:
        check_target(task, force=force)
        source = BytesIO(read_standard()) if task.source == STANDARD else task.source
        image = load_image(source, icc=icc, alpha=alpha, metadata=metadata, max_pixels=max_pixels)  # type: ignore[arg-type]
        codec = codecs.get(model_folder)
        entropy_name = entropy or codec.default_entropy
        started = time.perf_counter()
        stream = codec.encode(
            image,
            levels=levels,
            quality=quality,
            max_bytes=max_bytes,
            bits_per_pixel=bpp,
            weight=weight,
            entropy=entropy_name,
            refine=refiner,
        )
        seconds = time.perf_counter() - started

        def check(data: bytes) -> None:
            if verify:
                codec.read(data, max_pixels=max_pixels)

        write_output(task, stream, force=force, check=check)
        used = read_header(stream).header.level_count
        warnings = (*image.warnings, *_if_larger(task, len(stream)))
        bits_per_pixel = 8 * len(stream) / (image.width * image.height)
        values = {
            "input": task.source,
            "output": task.target,
            "bytes": len(stream),
            "bits_per_pixel": round(bits_per_pixel, 5),
            "width": image.width,
            "height": image.height,
            "levels": used,
            "entropy": entropy_name,
            "refine_steps": refine_steps,
            "model": codec.card.name,
            "seconds": round(seconds, 4),
            "warnings": list(warnings),
        }
        line = (
            f"{task.target_name}: {len(stream)} bytes, {bits_per_pixel:.4f} bpp, {image.width} x {image.height}, "
            f"{used} level{'s' if used > 1 else ''}, {seconds:.2f} s"
        )
        return Outcome(line, values, warnings)

    run(tasks, work, jobs=jobs, as_json=as_json, debug=debug)


def _refiner(steps: int, weights: Path, *, quiet: bool) -> Refiner:
    """It shows its steps on a terminal."""
    from vqcodec.generation.refinement import Refiner

    bar = tqdm(unit="step", desc="refining", leave=False, delay=1, disable=quiet or None)

    def show(done: int, total: int) -> None:
        if done == 0:
            bar.reset(total)
        bar.update(done - bar.n)
        if done == total:
            bar.clear()

    return Refiner(weights, steps=steps, report=show)


def _if_larger(task: Task, size: int) -> tuple[str, ...]:
    """A warning where the stream is larger than the file that it was made of."""
    if task.source == STANDARD:
        return ()
    before = Path(task.source).stat().st_size if Path(task.source).is_file() else size
    return (f"{size} bytes are more than the {before} of the picture itself: keep that",) if size > before else ()
