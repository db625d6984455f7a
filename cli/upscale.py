"""vqcodec upscale: a larger picture, with detail that the prior makes up."""

from __future__ import annotations

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import STANDARD, FileError, Task, check_target, picture_type
from vqcodec.cli.common.sampling import (
    SamplingJob,
    SeriesWriter,
    is_stream,
    numbered_targets,
    read_picture,
    sampling_options,
    token_bar,
)
from vqcodec.generation.config import FOR_UPSCALING


@click.command()
@click.argument("source", metavar="IN", shell_complete=options.complete_files)
@click.argument("target", metavar="OUT", shell_complete=options.complete_files)
@click.option("--factor", type=click.Choice(["2", "4", "8"]), default="4", show_default=True, help="How much larger.")
@click.option("--free", is_flag=True, help="Leave the colours as they come; by default OUT, shrunk, is IN.")
@sampling_options(lambda values: f"low-{values['factor']}", conditions=["source"], usual=FOR_UPSCALING)
@options.max_pixels
@options.device
@options.force
@options.as_json
@options.debug
def upscale(
    source: str,
    target: str,
    factor: str,
    free: bool,
    job: SamplingJob,
    max_pixels: int,
    device: str,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Make a picture larger, with detail from the prior.

    The type of the result follows the extension of OUT; a .vq stream holds tokens and is as with --free. With -n 2 or
    more OUT.png becomes OUT-000.png and so on: other pictures that IN may be of. IN and OUT may be - for stdin and
    stdout.
    """
    if target == STANDARD and job.series.count > 1:
        raise click.UsageError("one picture only fits into stdout; name OUT, or leave -n out")
    if not is_stream(target):
        picture_type(target)
    tasks = [Task(source, each) for each in numbered_targets(target, job.series.count)]
    for task in tasks:
        check_target(task, force=force)
    times = int(factor)
    image = read_picture(source, max_pixels)
    width, height = image.width * times, image.height * times
    if width * height > max_pixels:
        raise FileError(
            f"{tasks[0].source_name}: {times} times larger it is {width} x {height}, above {max_pixels} pixels; raise "
            "--max-pixels if that is what you want"
        )
    sampler = job.load(device)
    with token_bar(job.series.count * sampler.count_tokens((width, height), job.series.levels)) as progress:
        pictures = sampler.upscale(image.rgb, job.series, keep=not free, progress=progress)
        SeriesWriter(sampler, job, force, as_json, tasks[0].source).write_all(pictures, tasks)
