"""vqcodec bench speed: how long encoding and decoding take, and where the time goes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.failures import is_about_memory, printable
from vqcodec.cli.common.files import write_json
from vqcodec.cli.common.option_groups import option, shared, takes

if TYPE_CHECKING:
    from vqcodec.benchmarks.speed.stages import Speed
    from vqcodec.codec import Codec
    from vqcodec.pictures.arrays import Pixels

#: column -> least width and text; a column is as wide as its name at least
_COLUMNS: dict[str, tuple[int, Callable[[Speed], str]]] = {
    "size": (9, lambda speed: f"{speed.width}x{speed.height}"),
    "batch": (5, lambda speed: str(speed.batch)),
    "levels": (6, lambda speed: str(speed.levels)),
    "work": (10, lambda speed: speed.work),
    "ms": (8, lambda speed: f"{1000 * speed.seconds:.1f}"),
    "CPU ms": (8, lambda speed: f"{1000 * speed.cpu_seconds:.1f}"),
    "MP/s": (7, lambda speed: f"{speed.megapixels_per_second:.2f}"),
    "images/s": (8, lambda speed: f"{speed.images_per_second:.1f}"),
    "bytes": (6, lambda speed: "-" if speed.bytes is None else str(speed.bytes)),
    "network": (7, lambda speed: _share(speed, "network")),
    "quantiser": (9, lambda speed: _share(speed, "quantiser")),
    "coder": (5, lambda speed: _share(speed, "entropy coder")),
    "rest": (4, lambda speed: _share(speed, "rest")),
}


def _sizes(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Each WIDTHxHEIGHT in pixels."""
    return tuple(map(_size, values))


def _size(value: str) -> tuple[int, int]:
    width, _, height = value.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise click.BadParameter(f"{value!r} is not a size such as 768x512")
    return int(width), int(height)


@dataclass(frozen=True)
class SpeedOptions:
    """What is measured: pictures, types, how often."""

    sizes: tuple[tuple[int, int], ...] = option(
        "--size",
        multiple=True,
        callback=_sizes,
        metavar="WIDTHxHEIGHT",
        help="Of the picture, in pixels; may be given several times. [default: 768x512]",
    )
    image: Path | None = option(
        "--image", type=options.READABLE_FILE, help="Measure this picture, at its own size. [default: a synthetic one]"
    )
    batches: tuple[int, ...] = option(
        "--batch",
        type=options.AT_LEAST_1,
        multiple=True,
        help="Pictures at a time; may be given several times. More than 1 measures tokenize and detokenize. "
        "[default: 1]",
    )
    dtypes: tuple[str, ...] = option(
        "--dtype",
        type=click.Choice(["native", "float32", "bfloat16"]),
        multiple=True,
        help="What computes: native, the core in C, or torch in a type; may be given several times. [default: native "
        "where it is there, float32, and bfloat16 where the device multiplies it]",
    )
    entropy: str | None = shared(options.entropy)
    repeat: int = option(
        "--repeat", type=options.AT_LEAST_1, default=10, show_default=True, help="Times each measurement is taken."
    )
    every_level: bool = option("--every-level", is_flag=True, help="Measure every level count, not only all levels.")
    cold: bool = option(
        "--cold/--no-cold",
        default=True,
        show_default=True,
        help="Measure whole commands in fresh processes, too, on the first picture.",
    )
    megapixels: float | None = option(
        "--megapixels",
        type=options.ABOVE_0,
        help="Measure time and peak memory of one picture of this size instead, in fresh processes.",
    )
    threads: int | None = option(
        "--threads", type=options.AT_LEAST_1, help="Threads of what computes. [default: its own choice]"
    )
    out: Path | None = option("--out", type=options.FILE, help="Write the results to this JSON file.")
    model: str = shared(options.model)
    device: str = shared(options.device)
    debug: bool = shared(options.debug)

    def check(self) -> None:
        """Raises click.UsageError for options that do not go together."""
        if self.image and self.sizes:
            raise click.UsageError("--image is measured at its own size: leave out --size")
        if self.megapixels and (self.sizes or self.batches or self.dtypes or self.every_level):
            raise click.UsageError(
                "--megapixels measures one picture: leave out --size, --batch, --dtype, --every-level"
            )


@click.command()
@takes(SpeedOptions, "speed_options")
def speed(speed_options: SpeedOptions) -> None:
    """Milliseconds and megapixels a second, warm, with the share of network, quantiser and entropy coder.

    From pixels to the bytes of a stream and back, or with --batch from tensors to tokens and back; and of whole
    commands, cold. Exit code 1 when something could not be measured.
    """
    import torch

    from vqcodec.benchmarks.common.environment import describe_model, describe_run
    from vqcodec.benchmarks.speed.processes import measure_cold_start, measure_large
    from vqcodec.benchmarks.speed.stages import arithmetics_worth_measuring, synthetic_picture
    from vqcodec.codec import Codec
    from vqcodec.native.library import use_threads
    from vqcodec.pictures.image import load_image, to_pil

    speed_options.check()
    if speed_options.threads:
        torch.set_num_threads(speed_options.threads)
        use_threads(speed_options.threads)
    device, image = speed_options.device, speed_options.image
    codec = Codec.load(speed_options.model, device=device)
    path = str(codec.model.path)
    entropy = speed_options.entropy or codec.default_entropy
    values: dict[str, Any] = describe_run() | {"model": describe_model(codec), "entropy": entropy, "failures": []}
    if speed_options.megapixels:
        values["large"] = asdict(
            measure_large(
                path,
                speed_options.megapixels,
                image=image,
                device=device,
                threads=speed_options.threads,
                entropy=entropy,
            )
        )
        _print_large(values["large"])
    else:
        values["speed"] = []
        pictures = [load_image(image, alpha="drop").rgb] if image else []
        pictures = pictures or [synthetic_picture(*size) for size in speed_options.sizes or [(768, 512)]]
        most = codec.card.autoencoder.levels
        cases = list(
            product(pictures, speed_options.batches or (1,), range(1 if speed_options.every_level else most, most + 1))
        )
        for name in speed_options.dtypes or arithmetics_worth_measuring(codec):
            with _noted(name, values["failures"], debug=speed_options.debug):
                codec = Codec.load(path, device=device, dtype=None if name == "native" else getattr(torch, name))
                values["speed"] += _measure(
                    codec,
                    cases,
                    values["failures"],
                    repeat=speed_options.repeat,
                    entropy=entropy,
                    debug=speed_options.debug,
                )
        if speed_options.cold:
            values["cold"] = asdict(
                measure_cold_start(
                    path, to_pil(pictures[0]), device=device, threads=speed_options.threads, entropy=entropy
                )
            )
            _print_cold(values["cold"], pictures[0])
    if speed_options.out:
        write_json(speed_options.out, values)
    sys.exit(1 if values["failures"] else 0)


def _measure(
    codec: Codec,
    cases: Iterable[tuple[Pixels, int, int]],
    failures: list[str],
    *,
    repeat: int,
    entropy: str,
    debug: bool,
) -> list[dict[str, Any]]:
    """Measure and print each (picture, batch, level count); what cannot be measured goes to `failures`."""
    from vqcodec.benchmarks.speed.stages import measure_batch, measure_speed, threads_of

    dtype, threads = codec.arithmetic, threads_of(codec)
    click.echo(
        f"{codec.card.name}, {entropy} coding, in {dtype} on {codec.place}, threads: {threads}, medians of {repeat}"
    )
    click.echo("  ".join(name.rjust(width) for name, (width, _) in _COLUMNS.items()))
    measured = []
    for rgb, batch, levels in cases:
        with _noted(f"{rgb.shape[1]}x{rgb.shape[0]}, batch {batch}, {levels} levels, {dtype}", failures, debug=debug):
            if batch == 1:
                speeds = measure_speed(codec, rgb, levels=levels, repeat=repeat, entropy=entropy)
            else:
                speeds = measure_batch(codec, rgb, batch=batch, levels=levels, repeat=repeat)
            for speed in speeds:
                click.echo("  ".join(text(speed).rjust(width) for width, text in _COLUMNS.values()))
            measured += [speed.to_dict() for speed in speeds]
    if measured:
        click.echo(f"peak memory {_megabytes(measured[-1]['peak_memory_bytes'])}, of the process")
    return measured


@contextmanager
def _noted(name: str, failures: list[str], *, debug: bool) -> Iterator[None]:
    """Too little memory, and what torch cannot do on a device, become one line on stderr and in `failures`."""
    try:
        yield
    except (MemoryError, RuntimeError, TypeError) as error:  # TypeError: of a type that the device does not know
        if debug:
            click.echo(traceback.format_exc(), err=True, nl=False)
        if is_about_memory(error):
            reason = "not enough memory: give a smaller --batch or --size, or close other programs"
        else:
            reason = f"torch cannot compute it here ({printable((str(error).splitlines() or [''])[0])})"
        failures.append(f"{name}: {reason}")
        click.echo(f"error: {failures[-1]}", err=True)


def _share(speed: Speed, part: str) -> str:
    return f"{speed.shares[part]:.0%}" if part in speed.shares else "-"


def _print_cold(values: dict[str, Any], rgb: Pixels) -> None:
    for name in ("encode", "decode", "info"):
        seconds = values[f"{name}_seconds"]
        click.echo(f"vqcodec {name}, {rgb.shape[1]}x{rgb.shape[0]}: {seconds:.2f} s, the whole process")


def _print_large(values: dict[str, Any]) -> None:
    click.echo(f"{values['width']} x {values['height']}: {values['bytes']} bytes, each in a fresh process")
    for name in ("encode", "decode"):
        memory = _megabytes(values[f"{name}_memory_bytes"])
        click.echo(f"  {name} {values[f'{name}_seconds']:.2f} s, peak memory {memory}")
    click.echo(f"  of which {_megabytes(values['loaded_memory_bytes'])} before encoding: Python, torch, model, picture")


def _megabytes(count: int | None) -> str:
    return "not known here" if count is None else f"{count / 1e6:.0f} MB"
