"""vqcodec decode: streams to pictures."""

from __future__ import annotations

import time
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqcodec.cards.finding import find_model, find_model_by_id
from vqcodec.cli.common import options
from vqcodec.cli.common.batch import Outcome, run
from vqcodec.cli.common.files import (
    FileError,
    Task,
    check_target,
    is_done,
    picture_type,
    read_stream_file,
    write_output,
)
from vqcodec.cli.common.loading import Codecs
from vqcodec.cli.common.option_groups import takes
from vqcodec.cli.common.planning import plan

if TYPE_CHECKING:
    from vqcodec.bitstream import StreamInfo


#: pixels of a picture that is decoded again after it was written; of larger ones only the size is looked at
_MOST_READ_BACK = 1 << 24


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
@click.option("--levels", type=options.AT_LEAST_1, help="Use the first so many levels only. [default: all]")
@click.option("--partial", is_flag=True, help="Take the whole levels of a stream that is cut off.")
@click.option(
    "--model",
    shell_complete=options.complete_models,
    help="Name, id or folder of the model. [default: the one that the stream names]",
)
@takes(options.FolderOptions, "folders")
@takes(options.BatchOptions, "batch")
def decode(
    paths: tuple[str, ...],
    output_folder: Path | None,
    format_: str | None,
    quality: int | None,
    levels: int | None,
    partial: bool,
    model: str | None,
    folders: options.FolderOptions,
    batch: options.BatchOptions,
) -> None:
    """Decode .vq streams to pictures.

    The type of a picture follows the extension of OUT. IN and OUT may be - for stdin and stdout. With -o, IN may also
    be folders, which are searched for .vq files. The seconds told are of decoding alone: without loading the model,
    reading and writing.
    """
    tasks = plan(paths, output_folder, suffix=_suffix(format_), inputs=frozenset({".vq"})).tasks
    overwrite = batch.force or folders.skip_existing
    kinds = {task: picture_type(task.target, format_) for task in tasks}
    named_model = find_model(model) if model else None
    codecs = Codecs(batch.device, tile=batch.tile)

    from vqcodec.bitstream import read_header
    from vqcodec.pictures.image import check_output_size, load_image, save_image
    from vqcodec.pictures.reading import stated_size

    def work(task: Task) -> Outcome:
        if folders.skip_existing and is_done(task, is_whole=bool):
            return Outcome.skipped(task)
        check_target(task, force=overwrite)
        data = read_stream_file(task.source)
        stream = read_header(data)
        header = stream.header
        _check(stream, partial=partial, max_pixels=batch.max_pixels)
        check_output_size(task.target_name, kinds[task], header.width, header.height)
        model_folder = named_model or find_model_by_id(header.model_id)
        options.check_levels(levels, model_folder)
        codec = codecs.get(model_folder)
        started = time.perf_counter()
        decoded = codec.decode_stream(data, levels=levels, allow_partial=partial, max_pixels=batch.max_pixels)
        seconds = time.perf_counter() - started
        buffer = BytesIO()
        lost = save_image(buffer, decoded.image, kinds[task], quality=quality)

        def check(written: bytes) -> None:
            if header.width * header.height > _MOST_READ_BACK:
                width, height = stated_size(written, max_pixels=batch.max_pixels)
            else:
                height, width = load_image(written, max_pixels=batch.max_pixels).rgb.shape[:2]
            if (width, height) != (header.width, header.height):
                raise FileError(f"reads back as {width} x {height}, not {header.width} x {header.height}")

        write_output(task, buffer.getvalue(), force=overwrite, check=check, keep_dates=folders.preserve_dates)
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
        line = (
            f"{task.target_name}: {header.width} x {header.height}, {decoded.levels} of {header.level_count} "
            f"level{'s' if header.level_count > 1 else ''}, {seconds:.2f} s"
        )
        return Outcome(line, values, warnings)

    run(tasks, work, jobs=batch.jobs, as_json=batch.as_json, debug=batch.debug)


def _check(stream: StreamInfo, *, partial: bool, max_pixels: int) -> None:
    """Raises FileError for what an option would permit, naming it."""
    header, whole = stream.header, len(stream.payload_bytes)
    pixels = header.width * header.height
    if pixels > max_pixels:
        raise FileError(
            f"the picture has {pixels} pixels, more than the limit of {max_pixels}: "
            f"allow it with --max-pixels {pixels} if you trust it"
        )
    if whole and not stream.complete and not partial:
        raise FileError(
            f"cut off: {whole} of {header.level_count} levels are whole; get the whole file again, or take them with "
            "--partial"
        )


def _suffix(format_: str | None) -> str:
    """The file suffix for --format: itself if it is one, else the usual one of the type. Raises click.UsageError."""
    from vqcodec.pictures.image import output_extensions

    if format_ is None:
        return ".png"
    kind, wanted = picture_type("--format", format_), f".{format_.lower().lstrip('.')}"
    suffixes = [suffix for suffix in output_extensions() if picture_type(f"x{suffix}", None) == kind]
    return wanted if wanted in suffixes else suffixes[0]
