"""vqcodec generate: pictures that the prior makes up."""

from __future__ import annotations

import re
from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import STANDARD, Task, check_target
from vqcodec.cli.common.sampling import (
    STREAM_SUFFIX,
    SamplingJob,
    SeriesWriter,
    read_picture,
    sampling_options,
    token_bar,
)

#: tokens of the coarsest level along each side of a picture whose size is not given: as in Esser et al., 2021
_USUAL_TOKENS = 16


def _parsed_size(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """(width, height) in pixels."""
    from vqcodec.bitstream.limits import MAX_SIDE_PIXELS
    from vqcodec.pictures.image import DEFAULT_MAX_PIXELS

    if value is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", value)
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    if not (1 <= width <= MAX_SIDE_PIXELS and 1 <= height <= MAX_SIDE_PIXELS and width * height <= DEFAULT_MAX_PIXELS):
        raise click.BadParameter(
            f"{value!r}: expected WIDTHxHEIGHT in pixels, as 512x384, and not more than {DEFAULT_MAX_PIXELS} in all"
        )
    return width, height


@click.command()
@click.option(
    "-o",
    "--output-folder",
    required=True,
    type=options.FOLDER,
    metavar="DIR",
    help="The pictures become DIR/000.png and so on.",
)
@click.option(
    "--size", callback=_parsed_size, metavar="WxH", help="In pixels. [default: 16 tokens of level 1 along each side]"
)
@click.option(
    "--condition",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="Tell the prior what this picture has: its edges, its colours, ...",
)
@click.option(
    "--condition-map",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="Tell it what this picture shows: drawn edges, colours, ...",
)
@click.option("--stream", is_flag=True, help="Write .vq streams, which decode to the same pictures.")
@sampling_options(conditions=["condition", "condition_map"])
@options.max_pixels
@options.device
@options.force
@options.as_json
@options.debug
def generate(
    job: SamplingJob,
    output_folder: Path,
    size: tuple[int, int] | None,
    condition: str | None,
    condition_map: str | None,
    stream: bool,
    max_pixels: int,
    device: str,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Generate pictures with the prior of a model.

    With a --condition they are as large as its picture. The bits told are how improbable a token is to the prior, on
    average: what an ideal coder would need.
    """
    condition_file = condition or condition_map
    if condition and condition_map:
        raise click.UsageError("give --condition or --condition-map, not both")
    if condition_file and size:
        raise click.UsageError("the pictures are as large as that of the condition; leave --size out")
    if condition_file and not job.prior.card.condition:
        raise click.UsageError(f"prior {job.prior.card.name} is told nothing of a picture; leave the condition out")
    digits = max(3, len(str(job.series.count - 1)))
    suffix = STREAM_SUFFIX if stream else ".png"
    tasks = [Task(STANDARD, str(output_folder / f"{number:0{digits}}{suffix}")) for number in range(job.series.count)]
    for task in tasks:
        check_target(task, force=force)
    side = _USUAL_TOKENS * job.prior.card.generating_prior.factors[0]
    size = size or (side, side)
    image = read_picture(condition_file, max_pixels) if condition_file else None
    sampler, grid = job.load(device), None
    if image:
        size = image.width, image.height
        grid = (sampler.condition_of if condition else sampler.condition_from_map)(image.rgb)
    with token_bar(job.series.count * sampler.count_tokens(size, job.series.levels)) as progress:
        pictures = sampler.generate(job.series, size=size, condition=grid, progress=progress)
        SeriesWriter(sampler, job, force, as_json, condition_file).write_all(pictures, tasks)
