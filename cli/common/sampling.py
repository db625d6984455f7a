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

from vqcodec.cards.finding import DEFAULT_MODEL, find_model
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cards.prior_card import PriorCard, PriorFolder, find_prior
from vqcodec.cli.common.failures import describe, printable
from vqcodec.cli.common.files import STANDARD, FileError, Task, picture_type, read_standard, write_output
from vqcodec.cli.common.loading import Codecs
from vqcodec.generation.config import SamplingConfig

if TYPE_CHECKING:
    from vqcodec.generation.sampler import SampledPicture, Sampler
    from vqcodec.pictures.image import LoadedImage

STREAM_SUFFIX = ".vq"
#: classes that are named when another is asked for
_MOST_NAMED = 20


@dataclass(frozen=True)
class Series:
    """Pictures that are to be sampled. label: of all of them, or None. levels: as asked for.

    condition_model: name, id or folder of what makes the tokens of the prior's condition; None for the installed one.
    """

    model: ModelFolder
    prior: PriorFolder
    condition_model: str | None
    label: int | None
    config: SamplingConfig
    levels: int | None
    count: int
    seed: int
    batch_size: int

    @property
    def class_name(self) -> str | None:
        """Its name, or its number where the prior has no names; None without a class."""
        if self.label is None:
            return None
        names = self.prior.card.classes
        return names[self.label] if names else str(self.label)

    def load(self, device: str) -> Sampler:
        """The networks. Raises LoadingError or ModelError."""
        codec = Codecs(device).get(self.model)
        from vqcodec.generation.sampler import Sampler, load_condition

        return Sampler(codec, self.prior, load_condition(self.prior.card, codec, self.condition_model))

    def arguments(self) -> dict[str, Any]:
        """What `generate`, `complete` and `upscale` of Sampler are told alike."""
        labels = None if self.label is None else [self.label] * self.count
        same = {name: getattr(self, name) for name in ("count", "seed", "config", "levels", "batch_size")}
        return same | {"labels": labels}


_OPTIONS = (
    click.option("-n", "--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many pictures."),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Picture i of a seed is the same, however many are made.",
    ),
    click.option("--class", "class_", metavar="CLASS", help="Name or number of a class that the prior knows."),
    click.option("--temperature", type=float, help="Below 1 plainer, 0 most probable. [default: 1, to upscale 0.5]"),
    click.option("--top-k", type=int, help="Draw from the K most probable tokens only. [default: all]"),
    click.option(
        "--top-p",
        type=float,
        help="Draw from the fewest tokens that have this probability together. [default: all, to upscale 0.9]",
    ),
    click.option(
        "--guidance",
        type=float,
        default=0.0,
        show_default=True,
        help="How much more of the class or condition than without: 0.5..4.",
    ),
    click.option("--levels", type=click.IntRange(min=1), help="Sample the first so many levels only. [default: all]"),
    click.option("--batch-size", type=click.IntRange(min=1), default=8, show_default=True, help="Pictures at a time."),
    click.option("--model", default=DEFAULT_MODEL, show_default=True, help="Name, id or folder of the model."),
    click.option(
        "--prior",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder of the prior. [default: the one in the model's folder]",
    ),
    click.option(
        "--condition-model",
        metavar="MODEL",
        help="Model of what the prior is told. [default: the installed one that the prior names]",
    ),
)
_NAMES = (
    *("count", "seed", "class_", "temperature", "top_k", "top_p", "guidance", "levels", "batch_size", "model"),
    *("prior", "condition_model"),
)
#: the values of a command's options -> the kind of condition that its prior must be told, "" for any or none
KindOf = Callable[[Mapping[str, Any]], str]


def sampling_options(
    kind_of: KindOf = lambda values: "",
    *,
    conditions: Collection[str] = (),
    default: SamplingConfig | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The options about what is sampled; the command gets them as `series`, checked.

    conditions: names of the command's own options that give the prior a condition, to which guidance may lead. default:
    has the temperature and top p that are taken where none are given.
    """
    usual = default or SamplingConfig()

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_series(**values: Any) -> None:
            told = {name: values.pop(name) for name in _NAMES}
            for name in ("temperature", "top_p"):
                told[name] = getattr(usual, name) if told[name] is None else told[name]
            if told["guidance"] and not (told["class_"] or any(values[name] for name in conditions)):
                options = ["--class", *(f"--{name.replace('_', '-')}" for name in conditions if name != "source")]
                raise click.UsageError(f"--guidance leads towards what is asked for: give {' or '.join(options)}")
            command(series=_series(kind_of(values), **told), **values)

        decorated: Callable[..., None] = with_series
        for option in reversed(_OPTIONS):
            decorated = option(decorated)
        return decorated

    return decorate


def _series(
    kind: str,
    *,
    model: str,
    prior: Path | None,
    condition_model: str | None,
    class_: str | None,
    levels: int | None,
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    guidance: float,
    **others: int,
) -> Series:
    """Raises click.UsageError, ModelError."""
    try:
        config = SamplingConfig(temperature, top_k, top_p, guidance)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    model_folder = find_model(model)
    folder = find_prior(model_folder, prior, condition=kind)
    if levels is not None and levels > folder.card.prior.levels:
        most = folder.card.prior.levels
        raise click.BadParameter(f"prior {folder.card.name} has 1 to {most} levels", param_hint="'--levels'")
    label = None if class_ is None else _label(class_, folder.card)
    return Series(model_folder, folder, condition_model, label, config, levels, **others)


def _label(text: str, card: PriorCard) -> int:
    """The label of a class by name, or else by number. Raises click.BadParameter."""
    count = card.prior.classes
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
class Writer:
    """Writes the pictures of a series as they come, and tells of each. condition: the file that they were told."""

    sampler: Sampler
    series: Series
    force: bool
    as_json: bool
    condition: str | None = None

    def write_all(self, pictures: Iterable[SampledPicture], tasks: list[Task]) -> None:
        """Picture i goes to task i. Raises FileError at the first that cannot be written; those before are whole."""
        for task, picture in zip(tasks, pictures, strict=True):
            self._write(picture, task)
            with tqdm.external_write_mode():
                told = json.dumps(self._values(picture, task)) if self.as_json else printable(self._line(picture, task))
                click.echo(told, err=task.target == STANDARD)

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
            "class": self.series.class_name,
            "condition": self.condition,
            "seed": self.series.seed,
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
        class_ = f", class {self.series.class_name}" if self.series.class_name is not None else ""
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

    shown = "stdin" if name == STANDARD else name
    source = BytesIO(read_standard()) if name == STANDARD else name
    try:
        image = load_image(source, alpha="drop", max_pixels=max_pixels)
    except ImageError as error:
        raise FileError(describe(error, shown)) from error
    for warning in image.warnings:
        click.echo(f"warning: {printable(f'{shown}: {warning}')}", err=True)
    return image
