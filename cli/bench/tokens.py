"""vqcodec bench tokens: what the tokens of pictures cost under the prior."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import write_json


@click.command()
@options.images
@options.model
@options.prior
@click.option("--condition-model", help="Model of what the prior is told.  [default: the one that the prior names]")
@options.figures
@options.device
@options.debug
def tokens(
    images: tuple[Path, ...],
    model: str,
    prior: Path | None,
    condition_model: str | None,
    out: Path | None,
    device: str,
    debug: bool,
) -> None:
    """Bits per token by level: fixed length, statistics, and the prior (estimated, in floating point)."""
    from vqcodec.benchmarks.common.environment import describe_run
    from vqcodec.benchmarks.priors.token_rates import as_lines, measure_token_rates, rates_table
    from vqcodec.cards.finding import find_model
    from vqcodec.cards.prior_card import find_prior
    from vqcodec.codec import Codec
    from vqcodec.compute.memory import keep_freed_memory
    from vqcodec.generation.sampler import load_condition
    from vqcodec.training.data.pictures import PictureSet

    model_folder = find_model(model)
    prior_folder = find_prior(model_folder, prior)
    keep_freed_memory()
    codec = Codec.load(model_folder.path, device=device)
    condition = load_condition(prior_folder.card, codec, condition_model)
    rates = measure_token_rates(codec, prior_folder.load_own().to(codec.device), PictureSet(images), condition)
    click.echo(rates_table(rates))
    if out is not None:
        about = {
            "model": model_folder.card.name,
            "model_id": model_folder.card.model_id.hex(),
            "prior": prior_folder.card.name,
        }
        result = describe_run() | about | {"levels": as_lines(rates)}
        write_json(out, result)
