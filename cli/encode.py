"""vqcodec encode: pictures to streams."""

from __future__ import annotations

import re
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from tqdm import tqdm

from vqcodec.cards.finding import find_model
from vqcodec.cli.common import options
from vqcodec.cli.common.batch import Outcome, run, tell_if_slow
from vqcodec.cli.common.files import (
    STANDARD,
    FileError,
    Task,
    check_target,
    is_done,
    read_standard,
    write_output,
)
from vqcodec.cli.common.loading import Codecs
from vqcodec.cli.common.option_groups import option, shared, takes
from vqcodec.cli.common.planning import check_stream_names, plan
from vqcodec.pictures.names import picture_suffixes
from vqcodec.rates.rate import LARGEST_WEIGHT, Rate

if TYPE_CHECKING:
    from vqcodec.cards.model_card import ModelFolder
    from vqcodec.codec import Codec
    from vqcodec.generation.refinement import Refiner
    from vqcodec.pictures.arrays import Pixels
    from vqcodec.pictures.image import LoadedImage
    from vqcodec.pictures.row_sources import RowSource, VipsRows

#: pixels of a picture that is read a few rows at a time, where it can be
_LARGE = 1 << 25
#: as `Rate` calls what the options say
_OPTION_OF_RATE = {
    "bits_per_pixel": "--bpp",
    "max_bytes": "--max-bytes",
    "quality": "--quality",
    "levels": "--levels",
    "weight": "--lambda",
}


@dataclass(frozen=True)
class CodingOptions:
    """How many bytes, by which model, and how hard to look for good tokens."""

    levels: int | None = option(
        "--levels", type=options.AT_LEAST_1, help="How many levels to keep: fewer is smaller. [default: all]"
    )
    quality: float | None = option(
        "--quality",
        type=click.FloatRange(0, 100),
        help="0 (smallest) to 100 (best). With 6 levels these are whole at 16.7, 33.3, 50, 66.7, 83.3 and "
        "100; between, a part of the picture has one level more.",
    )
    max_bytes: int | None = option(
        "--max-bytes",
        type=options.AT_LEAST_1,
        help="The best file that is no larger. With --levels: up to these.",
    )
    bits_per_pixel: float | None = option(
        "--bpp", type=options.ABOVE_0, help="The same with a limit in bits per pixel, such as 0.05."
    )
    weight: float = option(
        "--lambda",
        type=click.FloatRange(0, LARGEST_WEIGHT),
        default=0.0,
        help=f"Take tokens of fewer bits where they are nearly as good, 0 to {LARGEST_WEIGHT:g}: 0.05 saves some 3 %, "
        "more than 0.15 is worse than a level less.  [default: 0]",
    )
    entropy: str | None = shared(options.entropy)
    region_side: int | None = option(
        "--regions",
        type=options.AT_LEAST_1,
        metavar="SIDE",
        help="Code squares of so many pixels by themselves, such as 1024, so that `decode --crop` need not read all: "
        "some bytes more a square.  [default: the picture as a whole]",
    )
    refine_steps: int | None = option(
        "--refine",
        type=options.AT_LEAST_1,
        metavar="STEPS",
        help="Search for better tokens, for minutes a picture: 10 steps give much, 20 more. Needs "
        "--perceptual-weights.",
    )
    perceptual_weights: Path | None = option(
        "--perceptual-weights",
        type=options.READABLE_FOLDER,
        help="For --refine: folder with the weights of the LPIPS networks.",
    )
    model: str = shared(options.model)

    def check(self, model: ModelFolder) -> None:
        """Raises click.UsageError for options that do not go together, or not with the model."""
        try:
            Rate(**self.rate())
        except ValueError as error:
            message = re.sub("|".join(_OPTION_OF_RATE), lambda found: _OPTION_OF_RATE[found[0]], str(error))
            raise click.UsageError(message) from error
        if self.weight and self.entropy == "uniform":
            raise click.UsageError(
                "--lambda changes nothing with --entropy uniform, where every token takes the same bits"
            )
        if self.region_side and (self.max_bytes is not None or self.bits_per_pixel is not None):
            raise click.UsageError("--regions goes with --levels, --quality or --lambda, not with a size of the file")
        from vqcodec.bitstream.regions import check_side

        try:
            check_side(self.region_side or 0, model.card.autoencoder.level_factors)
        except ValueError as error:
            raise click.UsageError(f"--regions: {error}") from error
        if (self.refine_steps is None) != (self.perceptual_weights is None):
            raise click.UsageError("--refine and --perceptual-weights go together: how long to search, and by what")

    def rate(self) -> dict[str, Any]:
        """What `Codec.encode` and `Rate` take alike."""
        return {name: getattr(self, name) for name in _OPTION_OF_RATE}


@dataclass(frozen=True)
class PictureOptions:
    """What of a picture goes into its stream, as `load_image` takes it."""

    icc: str = option(
        "--icc",
        type=click.Choice(["srgb", "keep"]),
        default="srgb",
        show_default=True,
        help="Convert to sRGB, or store the colour profile.",
    )
    alpha: str = option(
        "--alpha",
        type=click.Choice(["keep", "drop"]),
        default="keep",
        show_default=True,
        help="Alpha is kept losslessly.",
    )
    metadata: str = option(
        "--metadata", type=click.Choice(["drop", "keep"]), default="drop", show_default=True, help="EXIF and XMP."
    )


@click.command()
@options.paths
@options.output_folder
@takes(CodingOptions, "coding")
@takes(PictureOptions, "picture")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Read the tokens of each stream back before it is kept, which takes as long as coding them.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Damage that a warning would tell of, and pictures in folders that are passed over, are errors.",
)
@takes(options.FolderOptions, "folders")
@takes(options.BatchOptions, "batch")
def encode(
    paths: tuple[str, ...],
    output_folder: Path | None,
    coding: CodingOptions,
    picture: PictureOptions,
    verify: bool,
    strict: bool,
    folders: options.FolderOptions,
    batch: options.BatchOptions,
) -> None:
    """Encode pictures as .vq streams.

    IN and OUT may be - for stdin and stdout. With -o, IN may also be folders, which are searched for pictures. The
    seconds told are of encoding alone: without loading the model, reading and writing.
    """
    planned = plan(paths, output_folder, suffix=".vq", inputs=picture_suffixes())
    check_stream_names(planned.tasks)
    model_folder = find_model(coding.model)
    options.check_levels(coding.levels, model_folder)
    coding.check(model_folder)

    from vqcodec.bitstream import StreamError, read_header
    from vqcodec.pictures.image import UnreadableImageError, load_image
    from vqcodec.pictures.reading import largest_file
    from vqcodec.pictures.row_sources import open_rows

    options.tell_passed_over(planned.passed_over, strict=strict)
    overwrite = batch.force or folders.skip_existing

    codecs = Codecs(batch.device, tile=batch.tile)
    refiner = None
    if coding.refine_steps is not None and coding.perceptual_weights is not None:
        refiner = _refiner(coding.refine_steps, coding.perceptual_weights, quiet=batch.jobs > 1)

    # whether nothing is asked for that needs the whole picture
    by_rows = Rate(**coding.rate()).is_plain and refiner is None and picture.metadata == "drop"

    def is_whole(data: bytes) -> bool:
        try:
            return read_header(data).complete
        except StreamError:
            return False

    def work(task: Task) -> Outcome:
        if folders.skip_existing and is_done(task, is_whole):
            return Outcome.skipped(task)
        check_target(task, force=overwrite)
        codec = codecs.get(model_folder)
        entropy = coding.entropy or codec.default_entropy
        made = None
        rows = open_rows(Path(task.source), _LARGE, batch.max_pixels) if by_rows and task.source != STANDARD else None
        if rows is not None:
            with suppress(UnreadableImageError):  # `load_image` may read it all the same, or says what is wrong
                made = _encoded_rows(codec, task, rows, coding, entropy)
        if made is None:
            limit = largest_file(batch.max_pixels)
            source = BytesIO(read_standard(limit + 1)) if task.source == STANDARD else task.source
            image = load_image(source, **asdict(picture), max_pixels=batch.max_pixels)
            if strict and image.damage:
                raise FileError(f"{task.source_name}: {'; '.join(image.damage)}: refused by --strict")
            made = _encoded(codec, task, image, coding, entropy, refiner)

        def check(data: bytes) -> None:
            if verify:
                codec.read(data, max_pixels=batch.max_pixels)

        write_output(task, made.stream, force=overwrite, check=check, keep_dates=folders.preserve_dates)
        size, levels = len(made.stream), read_header(made.stream).header.level_count
        warnings = (*made.warnings, *_if_larger(task, size))
        bits_per_pixel = 8 * size / (made.width * made.height)
        values = {
            "input": task.source,
            "output": task.target,
            "bytes": size,
            "bits_per_pixel": round(bits_per_pixel, 5),
            "width": made.width,
            "height": made.height,
            "levels": levels,
            "entropy": entropy,
            "refine_steps": coding.refine_steps,
            "model": codec.card.name,
            "seconds": round(made.seconds, 4),
            "warnings": list(warnings),
        }
        line = (
            f"{task.target_name}: {size} bytes, {bits_per_pixel:.4f} bpp, {made.width} x {made.height}, "
            f"{levels} level{'s' if levels > 1 else ''}, {made.seconds:.2f} s"
        )
        return Outcome(line, values, warnings)

    run(planned.tasks, work, jobs=batch.jobs, as_json=batch.as_json, debug=batch.debug)
    if strict and planned.passed_over:
        sys.exit(1)


@dataclass(frozen=True)
class _Encoded:
    """seconds: of encoding alone."""

    stream: bytes
    width: int
    height: int
    seconds: float
    warnings: tuple[str, ...] = ()


def _encoded(
    codec: Codec, task: Task, image: LoadedImage, coding: CodingOptions, entropy: str, refiner: Refiner | None
) -> _Encoded:
    from vqcodec.pictures.drawings import drawing_warning

    tell_if_slow(task, image.width * image.height)
    started = time.perf_counter()
    stream = codec.encode(image, **coding.rate(), entropy=entropy, refine=refiner, region_side=coding.region_side or 0)
    seconds = time.perf_counter() - started
    return _Encoded(stream, image.width, image.height, seconds, (*image.warnings, *drawing_warning(image)))


def _encoded_rows(codec: Codec, task: Task, rows: VipsRows, coding: CodingOptions, entropy: str) -> _Encoded:
    """A large picture, which is read while it is encoded."""
    tell_if_slow(task, rows.width * rows.height)
    started = time.perf_counter()
    with tqdm(total=rows.height, unit="row", desc="encoding", leave=False, delay=1, disable=None) as bar:
        tokens = [grid[None] for grid in codec.tokenize_pixels(_ShownRows(rows, bar), levels=coding.levels)]
    stream = codec.write(tokens, rows.width, rows.height, entropy=entropy, region_side=coding.region_side or 0)
    return _Encoded(stream, rows.width, rows.height, time.perf_counter() - started)


class _ShownRows:
    """A `RowSource` that shows on a terminal how far it has been read."""

    def __init__(self, rows: RowSource, bar: tqdm[NoReturn]) -> None:
        self.width, self.height = rows.width, rows.height
        self._rows, self._bar = rows, bar

    def read(self, count: int) -> Pixels:
        """See `RowSource.read`."""
        self._bar.update(count)
        return self._rows.read(count)


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
