"""vqcodec bench upscale: pictures made small and large again."""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_json


@click.command()
@options.images
@click.option(
    "--perceptual-weights",
    type=options.READABLE_FOLDER,
    help="Folder with the weights of LPIPS and DISTS.  [default: without them]",
)
@click.option("--factor", type=click.Choice(["2", "4", "8"]), default="4", show_default=True, help="How much larger.")
@options.model
@click.option(
    "--prior",
    type=options.READABLE_FOLDER,
    help="Folder of the prior.  [default: the model's own for this factor]",
)
@click.option("--temperature", type=float, default=0.5, show_default=True, help="As in `vqcodec upscale`.")
@click.option("--top-p", type=float, default=0.9, show_default=True, help="As in `vqcodec upscale`.")
@options.figures
@options.device
@options.debug
def upscale(
    images: tuple[Path, ...],
    perceptual_weights: Path | None,
    factor: str,
    model: str,
    prior: Path | None,
    temperature: float,
    top_p: float,
    out: Path | None,
    device: str,
    debug: bool,
) -> None:
    """Distance from the original of pictures that were shrunk and enlarged, by the prior and by interpolation."""
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.benchmarks.priors.upscaling import as_lines, measure_upscaling, upscaling_table
    from vqcodec.benchmarks.rate_distortion.metrics import Metrics
    from vqcodec.compute.memory import keep_freed_memory
    from vqcodec.generation.config import SamplingConfig
    from vqcodec.generation.sampler import Sampler
    from vqcodec.training.data.pictures import PictureSet

    try:
        config = SamplingConfig(temperature, top_p=top_p)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    keep_freed_memory()
    sampler = Sampler.load(model, prior, condition=f"low-{factor}", device=device)
    pictures = PictureSet(images)
    with tqdm(total=len(pictures), unit="picture", leave=False, disable=None) as bar:
        metrics = Metrics(perceptual_weights, sampler.codec.device)
        rows = measure_upscaling(sampler, pictures, metrics, config=config, progress=bar.update)
    click.echo(upscaling_table(rows))
    if out is not None:
        card = sampler.codec.card
        about = {"model": card.name, "model_id": card.model_id.hex(), "prior": sampler.card.name, "factor": int(factor)}
        about |= {"temperature": temperature, "top_p": top_p}
        result = describe_run() | about | {"ways": as_lines(rows)}
        write_json(out, result)
