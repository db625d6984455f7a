"""vqcodec compare: a page on which to look at files of one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vqcodec.cards.finding import find_model, find_model_by_id
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cli.common import options
from vqcodec.cli.common.failures import describe, printable
from vqcodec.cli.common.files import FileError, Task, check_target, read_stream_file, write_output
from vqcodec.cli.common.loading import Codecs

if TYPE_CHECKING:
    from vqcodec.benchmarks.pages.comparison import ComparedFile
    from vqcodec.pictures.arrays import Pixels
    from vqcodec.pictures.conversion import LoadedImage


@click.command()
@click.argument("original", metavar="ORIGINAL", shell_complete=options.complete_files)
@click.argument("files", nargs=-1, required=True, metavar="FILE...", shell_complete=options.complete_files)
@click.option(
    "--out",
    required=True,
    metavar="PAGE",
    shell_complete=options.complete_files,
    help="The page to write, an HTML file.",
)
@click.option(
    "--perceptual-weights",
    type=options.READABLE_FOLDER,
    help="Folder with the weights of the LPIPS and DISTS networks; without it they are left out.",
)
@click.option(
    "--model",
    shell_complete=options.complete_models,
    help="Name, id or folder of the model for .vq files. [default: the one that each names]",
)
@options.max_pixels
@options.device
@options.force
@options.debug
def compare(
    original: str,
    files: tuple[str, ...],
    out: str,
    perceptual_weights: Path | None,
    model: str | None,
    max_pixels: int,
    device: str,
    force: bool,
    debug: bool,
) -> None:
    """Make a page that compares files of one picture.

    ORIGINAL is what the FILEs were made from. FILEs are .vq streams, which are decoded, and pictures of any type, all
    of one size in pixels. The page needs nothing beside it. PSNR and MS-SSIM (from 176 pixels a side) are always told,
    LPIPS and DISTS with --perceptual-weights.
    """
    for name in (original, *files):
        check_target(Task(name, out), force=force)
    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise click.UsageError(f"{out}: the page is an HTML file; name it .html")
    named_model = find_model(model) if model else None

    from vqcodec.benchmarks.pages.comparison import check_file, comparison_page
    from vqcodec.benchmarks.rate_distortion.metrics import Metrics
    from vqcodec.compute.devices import choose_device

    reader = _Reader(Codecs(device), named_model, max_pixels)
    first = reader.read(original)
    others = []
    for name in files:
        others.append(reader.read(name))
        check_file(others[-1], first)
    metrics = Metrics(perceptual_weights, choose_device(device))
    if perceptual_weights:
        for name, reason in metrics.absent.items():
            click.echo(f"warning: {name} is not measured: {printable(reason)}", err=True)
    page = comparison_page(first, others, metrics).encode(errors="backslashreplace")
    write_output(Task(original, out), page, force=force, check=lambda written: None)
    count = f"{len(files)} file{'s' if len(files) > 1 else ''}"
    click.echo(printable(f"{out}: {count} beside {original}, {first.size} pixels; a page of {len(page)} bytes"))


class _Reader:
    """Reads files of any form, and tells what it has to warn of."""

    def __init__(self, codecs: Codecs, model: ModelFolder | None, max_pixels: int) -> None:
        self._codecs, self._model, self._max_pixels = codecs, model, max_pixels

    def read(self, name: str) -> ComparedFile:
        """Raises FileError with a line that names the file."""
        from vqcodec.bitstream import StreamError
        from vqcodec.cards.errors import ModelError
        from vqcodec.pictures.image import ImageError

        try:
            return self._stream(name) if _is_stream(name) else self._picture(name)
        except (StreamError, ImageError, ModelError) as error:
            raise FileError(describe(error, name)) from error

    def _stream(self, name: str) -> ComparedFile:
        from vqcodec.benchmarks.pages.comparison import ComparedFile
        from vqcodec.bitstream import read_header

        data = read_stream_file(name)
        codec = self._codecs.get(self._model or find_model_by_id(read_header(data).header.model_id))
        decoded = codec.decode_stream(data, max_pixels=self._max_pixels)
        _warn(name, decoded.image.warnings)
        levels = f"{decoded.levels} level{'s' if decoded.levels > 1 else ''}"
        return ComparedFile(name, f"{codec.card.name}, {levels}", len(data), _in_srgb(decoded.image))

    def _picture(self, name: str) -> ComparedFile:
        from vqcodec.benchmarks.pages.comparison import ComparedFile
        from vqcodec.pictures.image import load_image

        loaded = load_image(name, alpha="drop", max_pixels=self._max_pixels)
        _warn(name, loaded.warnings)
        kind = Path(name).suffix.lstrip(".").upper() or "picture"
        return ComparedFile(name, kind, Path(name).stat().st_size, loaded.rgb)


def _in_srgb(image: LoadedImage) -> Pixels:
    """As the pictures are, whatever profile the stream keeps."""
    import numpy as np

    from vqcodec.pictures.conversion import icc_to_srgb, to_pil

    return image.rgb if image.icc is None else np.asarray(icc_to_srgb(to_pil(image.rgb), image.icc))


def _is_stream(name: str) -> bool:
    """By its suffix or its first bytes."""
    from vqcodec.bitstream import MAGIC

    if Path(name).suffix.lower() == ".vq":
        return True
    try:
        with open(name, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False  # what is wrong is said when it is read as a picture


def _warn(name: str, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        click.echo(f"warning: {printable(f'{name}: {warning}')}", err=True)
