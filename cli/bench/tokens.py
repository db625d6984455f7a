"""vqcodec bench tokens: what the tokens of pictures cost under the prior."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_json


@click.command()
@click.option(
    "--images",
    multiple=True,
    required=True,
    type=click.Path(exists=True, path_type=Path),
    help="Folder of pictures (nested), tar shard or picture; may be given several times.",
)
@click.option("--model", help="Name, id or folder of the model.  [default: photo-4]")
@click.option(
    "--prior",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the prior.  [default: the model's own]",
)
@click.option("--condition-model", help="Model of what the prior is told.  [default: the one that the prior names]")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures here, as JSON.")
@options.device
@options.debug
def tokens(
    images: tuple[Path, ...],
    model: str | None,
    prior: Path | None,
    condition_model: str | None,
    out: Path | None,
    device: str,
    debug: bool,
) -> None:
    """Bits per token by level: fixed length, statistics, and the prior (estimated, in floating point)."""
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.benchmarks.priors.token_rates import as_lines, measure_token_rates, rates_table
    from vqcodec.cards.finding import DEFAULT_MODEL, find_model
    from vqcodec.cards.prior_card import find_prior
    from vqcodec.codec import Codec
    from vqcodec.compute.devices import keep_freed_memory
    from vqcodec.generation.sampler import load_condition
    from vqcodec.training.data.pictures import PictureSet

    folder = find_model(model or DEFAULT_MODEL)
    chosen = find_prior(folder, prior)
    keep_freed_memory()
    codec = Codec.load(folder.path, device=device)
    condition = load_condition(chosen.card, codec, condition_model)
    rates = measure_token_rates(codec, chosen.load().to(codec.device), PictureSet(images), condition)
    click.echo(rates_table(rates))
    if out is not None:
        about = {"model": folder.card.name, "model_id": folder.card.model_id.hex(), "prior": chosen.card.name}
        result = describe_run() | about | {"levels": as_lines(rates)}
        write_json(out, result)
