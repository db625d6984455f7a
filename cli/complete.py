"""vqcodec complete: a picture of which a part is filled anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import numpy as np

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

if TYPE_CHECKING:
    from vqcodec.generation.masks import Mask
    from vqcodec.pictures.image import LoadedImage


@click.command()
@click.argument("source", metavar="IN", shell_complete=options.complete_files)
@click.argument("target", metavar="OUT", shell_complete=options.complete_files)
@click.option(
    "--mask",
    "mask_file",
    metavar="FILE",
    shell_complete=options.complete_files,
    help="A picture as large as IN, white where it is to be filled.",
)
@click.option("--keep", type=click.Choice(["top", "left", "bottom", "right"]), help="Keep this part and fill the rest.")
@click.option(
    "--share",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of the height or width that --keep keeps. [default: 0.5]",
)
@click.option("--paste", is_flag=True, help="Put the pixels of IN back wherever they are kept.")
@sampling_options()
@options.max_pixels
@options.device
@options.force
@options.as_json
@options.debug
def complete(
    source: str,
    target: str,
    mask_file: str | None,
    keep: str | None,
    share: float | None,
    paste: bool,
    job: SamplingJob,
    max_pixels: int,
    device: str,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Fill a part of a picture with what the prior makes up.

    A token is filled when any of its pixels is; the others stay as IN has them, and the whole picture is decoded from
    tokens, but for --paste. What lies under the mask has no influence. The type of the result follows the extension of
    OUT, .vq among them; with -n 2 or more OUT.png becomes OUT-000.png and so on. IN and OUT may be - for stdin and
    stdout. The lower the kept_bits that --json tells, the better what was filled goes with what is kept.
    """
    if (mask_file is None) == (keep is None):
        raise click.UsageError("say what to fill with --mask FILE, or what to keep with --keep SIDE")
    if share is not None and keep is None:
        raise click.UsageError("--share is of what --keep keeps; a --mask has none")
    if target == STANDARD and job.series.count > 1:
        raise click.UsageError("one picture only fits into stdout; name OUT, or leave -n out")
    if not is_stream(target):
        picture_type(target)
    elif paste:
        raise click.UsageError("a stream holds tokens and no pixels of IN; leave --paste out, or name OUT .png")
    tasks = [Task(source, each) for each in numbered_targets(target, job.series.count)]
    for task in tasks:
        check_target(task, force=force)
        check_target(Task(mask_file or STANDARD, task.target), force=force)  # the mask is no target either
    image = read_picture(source, max_pixels)
    mask = _kept_part(image, tasks[0], keep, share or 0.5) if keep else _mask(str(mask_file), image, tasks[0])
    sampler = job.load(device)
    with token_bar(job.series.count * sampler.count_tokens((image.width, image.height), job.series.levels)) as progress:
        pictures = sampler.complete(image.rgb, mask, job.series, paste=paste, progress=progress)
        SeriesWriter(sampler, job, force, as_json).write_all(pictures, tasks)


def _mask(name: str, image: LoadedImage, task: Task) -> Mask:
    """White pixels of a file. Raises FileError."""
    marks = read_picture(name, image.width * image.height)
    if marks.rgb.shape != image.rgb.shape:
        raise FileError(
            f"{name}: is {marks.width} x {marks.height} pixels, {task.source_name} is {image.width} x {image.height}: "
            "make the mask as large"
        )
    mask: Mask = marks.rgb.mean(axis=2) >= 128
    if not mask.any():
        raise FileError(f"{name}: no pixel is white: paint what is to be filled white")
    return mask


def _kept_part(image: LoadedImage, task: Task, side: str, share: float) -> Mask:
    """Raises FileError for a picture that is too small."""
    from vqcodec.generation.masks import keep_mask

    try:
        return np.asarray(keep_mask(image.width, image.height, side, share))
    except ValueError as error:
        raise FileError(f"{task.source_name}: {error}") from error
