"""vqcodec decode: streams to pictures."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from vqcodec.cards.finding import find_model, find_model_by_id
from vqcodec.cli.common import options
from vqcodec.cli.common.batch import Outcome, run, tell_if_slow
from vqcodec.cli.common.files import (
    FileError,
    Task,
    check_target,
    is_done,
    picture_type,
    read_stream_file,
    stream_output,
    write_output,
)
from vqcodec.cli.common.loading import Codecs
from vqcodec.cli.common.option_groups import takes
from vqcodec.cli.common.planning import plan

if TYPE_CHECKING:
    from vqcodec.bitstream import StreamInfo
    from vqcodec.decoding import Crop, PictureBands
    from vqcodec.pictures.arrays import Pixels
    from vqcodec.pictures.image import LoadedImage


#: pixels of a large picture: a PNG file of it is written while it is decoded, and once it is written only its size is
#: looked at, where smaller ones are decoded again
_LARGE = 1 << 24


def _crop(context: click.Context, parameter: click.Parameter, value: str | None) -> Crop | None:
    """A callback: four whole numbers."""
    if value is None:
        return None
    found = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*", value)
    if found is None:
        raise click.BadParameter(f"{value!r} is not X,Y,W,H, four whole numbers such as 0,0,640,480")
    left, top, width, height = map(int, found.groups())
    if not width or not height:
        raise click.BadParameter(f"{value!r} has no pixels: its last two numbers are width and height")
    return left, top, width, height


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
@click.option(
    "--crop",
    metavar="X,Y,W,H",
    callback=_crop,
    help="Only these pixels: left, top, width, height. Of streams made with --regions little more is read.",
)
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
    crop: Crop | None,
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
    codecs = Codecs(batch.device, tile=batch.tile, paints=True)

    from vqcodec.bitstream import read_header
    from vqcodec.pictures.image import check_output_size

    def work(task: Task) -> Outcome:
        if folders.skip_existing and is_done(task, is_whole=bool):
            return Outcome.skipped(task)
        check_target(task, force=overwrite)
        data = read_stream_file(task.source)
        stream = read_header(data)
        header = stream.header
        _check(stream, partial=partial, crop=crop, max_pixels=batch.max_pixels)
        width, height = crop[2:] if crop else (header.width, header.height)
        check_output_size(task.target_name, kinds[task], width, height)
        model_folder = named_model or find_model_by_id(header.model_id)
        options.check_levels(levels, model_folder)
        codec = codecs.get(model_folder)
        tell_if_slow(task, width * height)
        started = time.perf_counter()
        bands = codec.decode_in_bands(
            data, levels=levels, crop=crop, allow_partial=partial, max_pixels=batch.max_pixels
        )
        if kinds[task] == "PNG" and width * height > _LARGE:
            lost = _write_while_decoding(task, bands, force=overwrite, keep_dates=folders.preserve_dates)
            seconds = time.perf_counter() - started
        else:
            decoded = bands.whole()
            seconds = time.perf_counter() - started
            lost = _write_at_once(
                task, decoded.image, kinds[task], quality, force=overwrite, keep_dates=folders.preserve_dates
            )
        warnings = (*bands.stream.warnings, *lost)
        values = {
            "input": task.source,
            "output": task.target,
            "bytes": len(data),
            "width": width,
            "height": height,
            "levels": bands.levels,
            "model": codec.card.name,
            "arithmetic": codec.arithmetic,
            "complete": bands.stream.complete,
            "seconds": round(seconds, 4),
            "warnings": list(warnings),
        }
        line = (
            f"{task.target_name}: {width} x {height}, {bands.levels} of {header.level_count} "
            f"level{'s' if header.level_count > 1 else ''}, {seconds:.2f} s"
        )
        return Outcome(line, values, warnings)

    run(tasks, work, jobs=batch.jobs, as_json=batch.as_json, debug=batch.debug)


def _write_at_once(
    task: Task, image: LoadedImage, kind: str, quality: int | None, *, force: bool, keep_dates: bool
) -> tuple[str, ...]:
    """Returns what the file does not hold."""
    from vqcodec.pictures.image import load_image, save_image
    from vqcodec.pictures.reading import stated_size

    buffer = BytesIO()
    lost = save_image(buffer, image, kind, quality=quality)
    width, height = image.width, image.height

    def check(written: bytes) -> None:
        if width * height > _LARGE:
            _check_size(stated_size(written, max_pixels=width * height), (width, height))
        else:
            rows, columns = load_image(written, max_pixels=width * height).rgb.shape[:2]
            _check_size((columns, rows), (width, height))

    write_output(task, buffer.getvalue(), force=force, check=check, keep_dates=keep_dates)
    return lost


def _write_while_decoding(task: Task, bands: PictureBands, *, force: bool, keep_dates: bool) -> tuple[str, ...]:
    """Returns what the file does not hold."""
    import numpy as np
    from tqdm import tqdm

    from vqcodec.pictures.files import save_png_rows
    from vqcodec.pictures.image import LoadedImage
    from vqcodec.pictures.reading import stated_size

    width, height = bands.area.width, bands.area.height
    boxes, pixel = bands.boxes, np.zeros((1, 1), np.uint8)
    like = LoadedImage(
        rgb=np.zeros((1, 1, 3), np.uint8),
        alpha=None if bands.alpha_rows is None else pixel,
        icc=boxes.icc,
        exif=boxes.exif,
        xmp=boxes.xmp,
    )
    lost: tuple[str, ...] = ()

    def write(file: BinaryIO) -> None:
        nonlocal lost
        with tqdm(total=height, unit="row", desc="decoding", leave=False, delay=1, disable=None) as bar:

            def told() -> Iterator[Pixels]:
                for band in bands:
                    yield band
                    bar.update(len(band))

            lost = save_png_rows(file, told(), width, height, like)

    def check(written: Path) -> None:
        _check_size(stated_size(written, max_pixels=width * height), (width, height))

    stream_output(task, write, force=force, check=check, keep_dates=keep_dates)
    return lost


def _check_size(found: tuple[int, int], expected: tuple[int, int]) -> None:
    if found != expected:
        raise FileError(f"reads back as {found[0]} x {found[1]}, not {expected[0]} x {expected[1]}")


def _check(stream: StreamInfo, *, partial: bool, crop: Crop | None, max_pixels: int) -> None:
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
    if crop and (crop[0] + crop[2] > header.width or crop[1] + crop[3] > header.height):
        raise FileError(f"--crop reaches beyond its {header.width} x {header.height} pixels")


def _suffix(format_: str | None) -> str:
    """The file suffix for --format: itself if it is one, else the usual one of the type. Raises click.UsageError."""
    from vqcodec.pictures.image import output_extensions

    if format_ is None:
        return ".png"
    kind, wanted = picture_type("--format", format_), f".{format_.lower().lstrip('.')}"
    suffixes = [suffix for suffix in output_extensions() if picture_type(f"x{suffix}", None) == kind]
    return wanted if wanted in suffixes else suffixes[0]
