"""What generate, complete and upscale share: options about sampling, loading, writing the pictures of a series."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from vqcodec.cards.finding import find_model
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cards.prior_card import PriorCard, PriorFolder, find_prior
from vqcodec.cli.common import options
from vqcodec.cli.common.failures import describe, printable
from vqcodec.cli.common.files import STANDARD, FileError, Task, picture_type, read_standard, write_output
from vqcodec.cli.common.loading import Codecs
from vqcodec.cli.common.option_groups import option, shared, takes
from vqcodec.cli.common.options import AT_LEAST_0, AT_LEAST_1, FOLDER
from vqcodec.generation.config import DEFAULT_BATCH_SIZE, DrawnLevels, SamplingConfig, Series

if TYPE_CHECKING:
    from vqcodec.generation.sampler import SampledPicture, Sampler
    from vqcodec.pictures.image import LoadedImage

STREAM_SUFFIX = ".vq"
#: classes that are named when another is asked for
_MOST_NAMED = 20


@dataclass(frozen=True)
class SeriesOptions:
    """Which pictures are sampled, and by what."""

    count: int = option("-n", "--count", type=AT_LEAST_1, default=1, show_default=True, help="How many pictures.")
    seed: int = option(
        "--seed",
        type=AT_LEAST_0,
        default=0,
        show_default=True,
        help="Picture i of a seed is the same, however many are made.",
    )
    class_: str | None = option("--class", metavar="CLASS", help="Name or number of a class that the prior knows.")
    temperature: float | None = option(
        "--temperature", type=float, help="Below 1 plainer, 0 most probable. [default: 1, to upscale 0.5]"
    )
    top_k: int | None = option("--top-k", type=int, help="Draw from the K most probable tokens only. [default: all]")
    top_p: float | None = option(
        "--top-p",
        type=float,
        help="Draw from the fewest tokens that have this probability together. [default: all, to upscale 0.9]",
    )
    guidance: float = option(
        "--guidance",
        type=float,
        default=0.0,
        show_default=True,
        help="How much more of the class or condition than without: 0.5..4.",
    )
    levels: int | None = option(
        "--levels", type=AT_LEAST_1, help="Sample the first so many levels only. [default: all]"
    )
    batch_size: int = option(
        "--batch-size", type=AT_LEAST_1, default=DEFAULT_BATCH_SIZE, show_default=True, help="Pictures at a time."
    )
    model: str = shared(options.model)
    prior: Path | None = option(
        "--prior", type=FOLDER, help="Folder of the prior. [default: the one in the model's folder]"
    )
    condition_model: str | None = option(
        "--condition-model",
        metavar="MODEL",
        help="Model of what the prior is told. [default: the installed one that the prior names]",
    )

    def resolved(self, kind: str, usual: SamplingConfig) -> SamplingJob:
        """With the model and the prior found.

        kind: of the condition that the prior must be told, "" for any or none. usual: has the temperature and top p
        that are taken where none are given. Raises click.UsageError, ModelError.
        """
        temperature = usual.temperature if self.temperature is None else self.temperature
        top_p = usual.top_p if self.top_p is None else self.top_p
        try:
            config = SamplingConfig(temperature, self.top_k, top_p, self.guidance)
        except ValueError as error:
            raise click.UsageError(str(error)) from error
        model = find_model(self.model)
        prior = find_prior(model, self.prior, condition=kind)
        most = DrawnLevels.of(model.card, prior.card.generating_prior).levels
        if self.levels is not None and self.levels > most:
            raise click.BadParameter(
                f"pictures of prior {prior.card.name} have 1 to {most} levels", param_hint="'--levels'"
            )
        labels = None if self.class_ is None else [_label(self.class_, prior.card)] * self.count
        series = Series(self.count, self.seed, labels, config, self.levels, self.batch_size)
        return SamplingJob(model, prior, self.condition_model, series)


@dataclass(frozen=True)
class SamplingJob:
    """Pictures of one class, or of none, that are to be sampled, and by what.

    condition_model: name, id or folder of what makes the tokens of the prior's condition; None for the installed one.
    """

    model: ModelFolder
    prior: PriorFolder
    condition_model: str | None
    series: Series

    @property
    def class_name(self) -> str | None:
        """Its name, or its number where the prior has no names; None without a class."""
        if self.series.labels is None:
            return None
        names, label = self.prior.card.classes, self.series.labels[0]
        return names[label] if names else str(label)

    def load(self, device: str) -> Sampler:
        """The networks. Raises LoadingError or ModelError."""
        codec = Codecs(device).get(self.model)
        from vqcodec.generation.sampler import Sampler, load_condition

        return Sampler(codec, self.prior, load_condition(self.prior.card, codec, self.condition_model))


#: the values of a command's options -> the kind of condition that its prior must be told, "" for any or none
KindOf = Callable[[Mapping[str, Any]], str]


def sampling_options(
    kind_of: KindOf = lambda values: "",
    *,
    conditions: Collection[str] = (),
    usual: SamplingConfig | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options about what is sampled; the command gets them as `job`, a SamplingJob.

    conditions: names of the command's own options that give the prior a condition, to which guidance may lead. usual:
    as in `SeriesOptions.resolved`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_job(*, series_options: SeriesOptions, **values: Any) -> None:
            if series_options.guidance and not (series_options.class_ or any(values[name] for name in conditions)):
                names = ["--class", *(f"--{name.replace('_', '-')}" for name in conditions if name != "source")]
                raise click.UsageError(f"--guidance leads towards what is asked for: give {' or '.join(names)}")
            command(job=series_options.resolved(kind_of(values), usual or SamplingConfig()), **values)

        return takes(SeriesOptions, "series_options")(with_job)

    return decorate


def _label(text: str, card: PriorCard) -> int:
    """The label of a class by name, or else by number. Raises click.BadParameter."""
    count = card.generating_prior.classes
    if not count:
        raise click.BadParameter(
            f"prior {card.name} knows no classes; leave --class out, or give another prior", param_hint="'--class'"
        )
    if text in card.classes:
        return card.classes.index(text)
    if text.isdecimal() and int(text) < count:
        return int(text)
    names = ", ".join(card.classes[:_MOST_NAMED]) + (", ..." if len(card.classes) > _MOST_NAMED else "")
    raise click.BadParameter(
        f"{text!r}: prior {card.name} has the classes 0 to {count - 1}{f' ({names})' if names else ''}",
        param_hint="'--class'",
    )


@contextmanager
def token_bar(total: int) -> Iterator[Callable[[int], object]]:
    """A bar of tokens on a terminal; gives what is called with how many more are done."""
    quiet = sys.stderr is None or not sys.stderr.isatty()
    with tqdm(total=total, unit="token", unit_scale=True, disable=quiet, leave=False) as bar:
        yield bar.update


@dataclass(frozen=True)
class SeriesWriter:
    """Writes the pictures of a series as they come, and tells of each. condition: the file that they were told."""

    sampler: Sampler
    job: SamplingJob
    force: bool
    as_json: bool
    condition: str | None = None

    def write_all(self, pictures: Iterable[SampledPicture], tasks: list[Task]) -> None:
        """Picture i goes to task i. Raises FileError at the first that cannot be written; those before are whole."""
        for task, picture in zip(tasks, pictures, strict=True):
            self._write(picture, task)
            with tqdm.external_write_mode():
                text = json.dumps(self._values(picture, task)) if self.as_json else printable(self._line(picture, task))
                click.echo(text, err=task.target == STANDARD)

    def _write(self, picture: SampledPicture, task: Task) -> None:
        from vqcodec.pictures.image import LoadedImage, load_image, save_image

        height, width = picture.rgb.shape[:2]
        if is_stream(task.target):
            codec = self.sampler.codec
            stream = codec.write(picture.tokens, width, height)
            write_output(task, stream, force=self.force, check=lambda data: codec.read(data, max_pixels=width * height))
            return

        def check(written: bytes) -> None:
            if load_image(written, max_pixels=width * height).rgb.shape != picture.rgb.shape:
                raise FileError(f"{task.target_name}: does not read back as {width} x {height} pixels")

        buffer = BytesIO()
        save_image(buffer, LoadedImage(picture.rgb), picture_type(task.target))
        write_output(task, buffer.getvalue(), force=self.force, check=check)

    def _values(self, picture: SampledPicture, task: Task) -> dict[str, Any]:
        height, width = picture.rgb.shape[:2]
        return {
            "output": task.target,
            "width": width,
            "height": height,
            "levels": len(picture.tokens),
            "class": self.job.class_name,
            "condition": self.condition,
            "seed": self.job.series.seed,
            "number": picture.number,
            "tokens": sum(grid.numel() for grid in picture.tokens),
            "sampled_tokens": picture.filled,
            "sampled_bits": round(picture.bits, 2),
            "kept_bits": round(picture.kept_bits, 2),
            "model": self.sampler.codec.card.name,
            "prior": self.sampler.card.name,
        }

    def _line(self, picture: SampledPicture, task: Task) -> str:
        height, width = picture.rgb.shape[:2]
        levels = len(picture.tokens)
        class_ = f", class {self.job.class_name}" if self.job.class_name is not None else ""
        return (
            f"{task.target_name}: {width} x {height}{class_}, {levels} level{'s' if levels > 1 else ''}, "
            f"{picture.filled} of {sum(grid.numel() for grid in picture.tokens)} tokens sampled, "
            f"{picture.bits / picture.filled:.2f} bits each"
        )


def is_stream(target: str) -> bool:
    """Whether a stream goes into a file of this name."""
    return Path(target).suffix.lower() == STREAM_SUFFIX


def numbered_targets(target: str, count: int) -> list[str]:
    """Numbered when there are several."""
    if count == 1:
        return [target]
    path, digits = Path(target), max(3, len(str(count - 1)))
    return [str(path.with_name(f"{path.stem}-{number:0{digits}}{path.suffix}")) for number in range(count)]


def read_picture(name: str, max_pixels: int) -> LoadedImage:
    """Raises FileError with a line that names the file."""
    from vqcodec.pictures.image import ImageError, load_image
    from vqcodec.pictures.reading import largest_file

    shown = "stdin" if name == STANDARD else name
    source = BytesIO(read_standard(largest_file(max_pixels) + 1)) if name == STANDARD else name
    try:
        image = load_image(source, alpha="drop", max_pixels=max_pixels)
    except ImageError as error:
        raise FileError(describe(error, shown)) from error
    for warning in image.warnings:
        click.echo(f"warning: {printable(f'{shown}: {warning}')}", err=True)
    return image
