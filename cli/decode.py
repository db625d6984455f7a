"""vqcodec decode: streams to pictures."""

from __future__ import annotations

import io
import sys
import time
from functools import lru_cache
from pathlib import Path
from threading import Lock

import click

from vqcodec.cli import options
from vqcodec.cli.files import STANDARD, FileError, Outcome, Task, check_target, plan, read_input, run, staged
from vqcodec.model_card import find_model, find_model_by_id


@click.command()
@options.paths
@options.output_folder
@click.option(
    "--format",
    "format_",
    default=None,
    help="Type of the pictures. [default: by extension; png with -o and for stdout]",
)
@click.option("--quality", type=click.IntRange(1, 100), help="Of JPEG, WebP and AVIF files. [default: 95, 95, 90]")
@click.option("--levels", type=click.IntRange(min=1), help="Use the first so many levels only. [default: all]")
@click.option("--partial", is_flag=True, help="Take the whole levels of a stream that is cut off.")
@click.option("--model", help="Name, id or folder of the model. [default: the one that the stream names]")
@options.max_pixels
@options.jobs
@options.device
@options.force
@options.as_json
@options.debug
def decode(
    paths: tuple[str, ...],
    output_folder: Path | None,
    format_: str | None,
    quality: int | None,
    levels: int | None,
    partial: bool,
    model: str | None,
    max_pixels: int,
    jobs: int,
    device: str,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Decode .vq streams to pictures; the type follows the extension of OUT.

    IN and OUT may be - for stdin and stdout. With -o, IN may also be folders, which are searched for .vq files.
    """
    suffix = f".{(format_ or 'png').lower()}"
    tasks = plan(paths, output_folder, suffix=suffix, inputs=frozenset({".vq"}))
    from vqcodec.image import check_output_type

    for task in tasks:
        check_output_type(task.target if task.target != STANDARD else "stdout.png", format_)

    from vqcodec.bitstream import read_header
    from vqcodec.codec import Codec
    from vqcodec.image import load_image, save_image

    lock = Lock()

    @lru_cache(maxsize=4)
    def codec_in(folder: Path) -> Codec:
        return Codec.load(folder, device=device)

    def work(task: Task) -> Outcome:
        check_target(task.target, force=force)
        started = time.perf_counter()
        data = read_input(task.source)
        header = read_header(data).header
        folder = find_model(model) if model else find_model_by_id(header.model_id)
        options.check_levels(levels, folder)
        with lock:
            codec = codec_in(folder.path)
        decoded = codec.decode_stream(data, levels=levels, allow_partial=partial, max_pixels=max_pixels)
        seconds = time.perf_counter() - started
        if task.target == STANDARD:
            buffer = io.BytesIO()
            lost = save_image(buffer, decoded.image, format_ or "png", quality=quality)
            sys.stdout.buffer.write(buffer.getvalue())
        else:
            with staged(task.target, force=force) as temporary:
                kind = format_ or Path(task.target).suffix[1:]
                lost = save_image(temporary, decoded.image, kind, quality=quality)
                _check_picture(
                    load_image(temporary, max_pixels=max_pixels).rgb.shape, header.height, header.width, task
                )
        warnings = (*decoded.image.warnings, *lost)
        values = {
            "input": task.source,
            "output": task.target,
            "bytes": len(data),
            "width": header.width,
            "height": header.height,
            "levels": decoded.levels,
            "model": codec.card.name,
            "complete": decoded.stream.complete,
            "seconds": round(seconds, 4),
            "warnings": list(warnings),
        }
        name = "stdout" if task.target == STANDARD else task.target
        line = (
            f"{name}: {header.width} x {header.height}, {decoded.levels} of {header.level_count} "
            f"level{'s' if header.level_count > 1 else ''}, {seconds:.2f} s"
        )
        return Outcome(line, values, warnings)

    run(tasks, work, jobs=jobs, as_json=as_json, debug=debug)


def _check_picture(shape: tuple[int, ...], height: int, width: int, task: Task) -> None:
    if shape[:2] != (height, width):
        raise FileError(f"{task.target}: reads back as {shape[1]} x {shape[0]}, not {width} x {height}")
