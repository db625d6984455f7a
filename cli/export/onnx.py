"""vqcodec export onnx: the two halves of a model as ONNX graphs."""

from __future__ import annotations

from pathlib import Path

import click

from vqcodec.cli.common import options
from vqcodec.cli.common.files import FileError


@click.command()
@click.argument("model", shell_complete=options.complete_models)
@click.argument("folder", type=options.FOLDER)
@options.force
@options.debug
def onnx(model: str, folder: Path, force: bool, debug: bool) -> None:
    """Write a model as tokenize.onnx and detokenize.onnx.

    Sizes and batch are free. tokenize: "pixels" (B, H, W, 3) uint8 to "tokens" (B, L, h, w) int64. detokenize: "tokens"
    and "levels", (1,) int64, how many of the levels count, to "pixels" (B, f h, f w, 3) uint8. A model of two
    latents has "coarse" and "fine" in the place of "tokens". Both graphs are checked with onnxruntime before they are
    kept. Needs the extra `onnx`.
    """
    if folder.exists() and not force:
        raise FileError(f"{folder}: exists already; give -f to overwrite it")
    from vqcodec.codec import Codec
    from vqcodec.onnx_export.export import export_onnx

    found = export_onnx(Codec.load(model, device="cpu"), folder)
    for path in sorted(folder.glob("*.onnx")):
        click.echo(f"{path}: {path.stat().st_size} bytes")
    click.echo(f"{found.of} tokens are equal, pixels differ by {found.pixels} of 255 at most")
