"""vqcodec bench kernels: how fast the nearest codes are found, and how often wrongly."""

from __future__ import annotations

from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from vqcodec.cards.finding import DEFAULT_MODEL
from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_json

if TYPE_CHECKING:
    import torch

    from vqcodec.benchmarks.kernels.flips import Flips
    from vqcodec.benchmarks.kernels.speed import KernelTime

#: by default, on a GPU and on a CPU
_VECTORS = {True: (2**12, 2**16, 2**20, 2**22), False: (2**12, 2**15)}
_CODES = {True: (512, 4096, 16384, 65536), False: (512, 1024, 4096, 16384)}
_DIMENSIONS = (4, 8, 16, 32, 64, 256)
#: cases of more multiplications are left out
_MOST_PRODUCTS = {True: 2.0**46, False: 2.0**35}


@click.command()
@click.option("--vectors", "-n", type=options.AT_LEAST_1, multiple=True, help="How many are looked up (repeatable).")
@click.option("--codes", "-k", type=click.IntRange(1, 262144), multiple=True, help="How many there are (repeatable).")
@click.option("--dimension", "-d", type=click.IntRange(1, 1024), multiple=True, help="Of both (repeatable).")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    multiple=True,
    default=["float32"],
    show_default=True,
    help="Of the vectors (repeatable).",
)
@click.option(
    "--against", "names", multiple=True, help="Only these methods (repeatable); all that there are by default."
)
@click.option("--flips", type=options.AT_LEAST_1, help="Instead: compare so many random vectors with float64.")
@click.option(
    "--images",
    multiple=True,
    type=options.READABLE,
    help="With --flips: latents of these, too; a folder, tar shard or picture (repeatable).",
)
@click.option("--model", default=DEFAULT_MODEL, show_default=True, help="With --images: whose latents.")
@options.device
@options.figures
@options.debug
def kernels(
    vectors: tuple[int, ...],
    codes: tuple[int, ...],
    dimension: tuple[int, ...],
    dtype: tuple[str, ...],
    names: tuple[str, ...],
    flips: int | None,
    images: tuple[Path, ...],
    model: str,
    device: str,
    out: Path | None,
    debug: bool,
) -> None:
    """Seconds to find the nearest of K codes to each of N vectors of dimension D, against other ways to do it.

    N, K and D are combined, but for combinations that take very long. With --flips: how many indices are not those of
    float64. Exit code 1 if one of ours is not.
    """
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.compute.devices import choose_device
    from vqcodec.kernels import path_for

    if images and flips is None:
        raise click.UsageError("--images goes with --flips")
    place = choose_device(device)
    path, reason = path_for(place)
    click.echo(f"{place.type}: {path.value} ({reason})")
    result = describe_run() | {"device": str(place), "path": path.value}
    wrong = 0
    if flips is not None:
        counted = _count_flips(flips, codes or (1024,), dimension or (8,), images, model, place)
        wrong = sum(each.flips for each in counted)
        result["flips"] = [asdict(each) for each in counted]
    else:
        result |= _measure(vectors, codes, dimension, dtype, names, place)
    if out is not None:
        write_json(out, result)
    if wrong:
        raise SystemExit(1)


def _measure(
    vectors: tuple[int, ...],
    codes: tuple[int, ...],
    dimensions: tuple[int, ...],
    dtypes: tuple[str, ...],
    names: tuple[str, ...],
    device: torch.device,
) -> dict[str, object]:
    from vqcodec.benchmarks.kernels.floor import device_rates
    from vqcodec.benchmarks.kernels.rivals import rivals
    from vqcodec.benchmarks.kernels.speed import KernelCase, measure_kernels

    on_gpu = device.type == "cuda"
    try:
        searches = rivals(names, on_gpu=on_gpu)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    chosen = product(vectors or _VECTORS[on_gpu], codes or _CODES[on_gpu], dimensions or _DIMENSIONS, dtypes)
    cases = [KernelCase(*each) for each in chosen]
    named = bool(vectors and codes and dimensions)
    cases = [case for case in cases if named or case.products <= _MOST_PRODUCTS[on_gpu]]
    rates = device_rates(device)
    times = []
    for time in measure_kernels(cases, searches, device, rates):
        click.echo(_described(time))
        times.append(time)
    return {"rates": None if rates is None else asdict(rates), "times": [asdict(time) for time in times]}


def _described(time: KernelTime) -> str:
    case = time.case
    name = f"N={case.vectors} K={case.codes} D={case.dimension} {case.dtype}, {time.method}: "
    if time.seconds is None or time.teraflops is None:
        return name + f"failed ({time.failure})"
    text = f"{time.seconds * 1e3:.3f} ms, {time.teraflops * 1e3:.1f} GFLOP/s"
    if time.peak_bytes is not None:
        text += f", {time.peak_bytes / 2**20:.1f} MiB"
    if time.agreeing is not None and time.agreeing < 1:
        text += f", {1 - time.agreeing:.1e} of the indices differ"
    if time.floor_share is not None:
        text += f", {time.floor_share:.0%} of the floor"
    return name + text


def _count_flips(
    count: int,
    codes: tuple[int, ...],
    dimensions: tuple[int, ...],
    images: tuple[Path, ...],
    model: str,
    device: torch.device,
) -> list[Flips]:
    from vqcodec.benchmarks.kernels.flips import latent_flips, random_flips
    from vqcodec.codec import Codec
    from vqcodec.training.data.pictures import PictureSet

    flips = []
    with tqdm(unit=" vectors", unit_scale=True, disable=None) as bar:
        for size, dimension in product(codes, dimensions):
            flips.append(random_flips(count, size, dimension, device, progress=bar.update))
        if images:
            codec = Codec.load(model, device=str(device))
            flips += latent_flips(codec, PictureSet(images), progress=bar.update)
    for each in flips:
        click.echo(
            f"{each.source}, K={each.codes} D={each.dimension}: {each.flips} of {each.vectors} vectors have another "
            f"index than by float64 ({each.plain_float32_flips} by a plain float32 product)"
        )
    return flips
