"""vqcodec models import: a checkpoint of another project becomes a model."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cards.finding import find_model
from vqcodec.cli.common import options
from vqcodec.cli.models.listing import as_text, describe_model


@click.command("import")
@click.argument("source")
@click.option("--name", required=True, help="Name of the model, as in `vqcodec encode --model NAME`.")
@click.option(
    "--config",
    type=options.READABLE_FILE,
    help="The official configuration (JSON or YAML).  [default: the one beside the checkpoint]",
)
@click.option("--revision", default="", help="Commit, tag or branch of a repository.")
@click.option("--file", default="", help="Name of the checkpoint in a folder or repository.")
@click.option("--ema/--no-ema", default=None, help="Take the averaged weights, or not.  [default: where there are any]")
@click.option(
    "--range",
    "pixel_range",
    type=click.Choice(["signed", "unit"]),
    help="What its networks take: pixels in [-1, 1] or in [0, 1].  [default: as the configuration says]",
)
@click.option("--licence", default="", help="Of the weights, where the source does not state it.")
@click.option(
    "--for",
    "model",
    metavar="MODEL",
    shell_complete=options.complete_models,
    help="The checkpoint is a prior: the model whose tokens it predicts. Needs --out.",
)
@click.option("--out", type=options.FOLDER, help="Folder of the model.  [default: one where --model NAME finds it]")
@options.force
@options.debug
def import_(
    source: str,
    name: str,
    config: Path | None,
    revision: str,
    file: str,
    ema: bool | None,
    pixel_range: str | None,
    licence: str,
    model: str | None,
    out: Path | None,
    force: bool,
    debug: bool,
) -> None:
    """Make a model of a published checkpoint.

    SOURCE is a file (.safetensors, .ckpt, .pt, .pth, .bin), a folder, or hf://OWNER/REPO[/FOLDER][@REVISION]. Files are
    read as data: nothing in them is run. docs/models.md lists the families.
    """
    from vqcodec.checkpoints.importing import import_checkpoint, import_prior

    if model:
        if not out:
            raise click.UsageError("a prior needs --out, the folder that `vqcodec generate --prior` is given")
        if pixel_range:
            raise click.UsageError("--range is of a model, and a prior (--for) knows no pixels: leave it out")
        places = {"config": config, "revision": revision, "file": file}
        written = import_prior(
            source,
            name,
            find_model(model),
            folder=out,
            averaged=ema,
            licence=licence,
            overwrite=force,
            **places,  # type: ignore[arg-type]
        )
        click.echo(f"{written}: prior {name} for model {model}")
        return
    done = import_checkpoint(
        source,
        name,
        config=config,
        revision=revision,
        file=file,
        averaged=ema,
        pixel_range=pixel_range or "",
        licence=licence,
        folder=out,
        overwrite=force,
    )
    for warning in done.warnings:
        click.echo(f"warning: {warning}", err=True)
    click.echo(as_text(describe_model(done.model)))
    if done.prior:
        click.echo(f"  {'prior':<12}{done.prior}")
