"""vqcodec encode: pictures to streams."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from vqcodec.cli import options
from vqcodec.cli.files import STANDARD, FileError, Outcome, Task, check_target, plan, read_input, run, staged
from vqcodec.model_card import DEFAULT_MODEL, find_model

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".jp2", ".gif", ".ppm", ".pgm", ".tga"}
)


@click.command()
@options.paths
@options.output_folder
@click.option("--levels", type=click.IntRange(min=1), help="How many levels to keep: fewer is smaller. [default: all]")
@click.option(
    "--entropy", type=click.Choice(["uniform", "static"]), help="Entropy model. [default: static if the model has it]"
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
    entropy: str | None,
    model: str,
    icc: str,
    alpha: str,
    metadata: str,
    max_pixels: int,
    jobs: int,
    device: str,
    force: bool,
    as_json: bool,
    debug: bool,
) -> None:
    """Encode pictures as .vq streams.

    IN and OUT may be - for stdin and stdout. With -o, IN may also be folders, which are searched for pictures.
    """
    tasks = plan(paths, output_folder, suffix=".vq", inputs=PICTURE_SUFFIXES)
    for task in tasks:
        if Path(task.target).suffix.lower() in PICTURE_SUFFIXES:
            raise click.UsageError(
                f"{task.target} is a picture's name; the stream goes into a .vq file, or give -o DIR"
            )
    model_folder = find_model(model)
    options.check_levels(levels, model_folder)

    from vqcodec.codec import Codec
    from vqcodec.image import load_image

    codec = Codec.load(model_folder.path, device=device)
    entropy = entropy or codec.default_entropy

    def work(task: Task) -> Outcome:
        check_target(task.target, force=force)
        started = time.perf_counter()
        source = io.BytesIO(read_input(STANDARD)) if task.source == STANDARD else task.source
        image = load_image(source, icc=icc, alpha=alpha, metadata=metadata, max_pixels=max_pixels)  # type: ignore[arg-type]
        stream = codec.encode(image, levels=levels, entropy=entropy)
        seconds = time.perf_counter() - started
        _write(task.target, stream, force=force, read_back=lambda data: codec.read(data, max_pixels=max_pixels))
        used = levels or codec.card.autoencoder.levels
        bits_per_pixel = 8 * len(stream) / (image.width * image.height)
        values = {
            "input": task.source,
            "output": task.target,
            "bytes": len(stream),
            "bits_per_pixel": round(bits_per_pixel, 5),
            "width": image.width,
            "height": image.height,
            "levels": used,
            "entropy": entropy,
            "model": codec.card.name,
            "seconds": round(seconds, 4),
            "warnings": list(image.warnings),
        }
        name = "stdout" if task.target == STANDARD else task.target
        line = (
            f"{name}: {len(stream)} bytes, {bits_per_pixel:.4f} bpp, {image.width} x {image.height}, "
            f"{used} level{'s' if used > 1 else ''}, {seconds:.2f} s"
        )
        return Outcome(line, values, image.warnings)

    run(tasks, work, jobs=jobs, as_json=as_json, debug=debug)


def _write(target: str, stream: bytes, *, force: bool, read_back: Callable[[bytes], object]) -> None:
    """Write, read the written bytes again and check their checksum, then give the file its name."""
    if target == STANDARD:
        read_back(stream)
        sys.stdout.buffer.write(stream)
        return
    with staged(target, force=force) as temporary:
        temporary.write_bytes(stream)
        written = temporary.read_bytes()
        if written != stream:
            raise FileError(f"{target}: reads back other bytes than were written; is the disk full or failing?")
        read_back(written)
