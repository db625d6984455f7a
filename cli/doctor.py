"""vqcodec doctor: what runs here, on what, and what falls back to what."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from vqcodec import __version__
from vqcodec.cli import options
from vqcodec.cli.failures import describe
from vqcodec.model_card import DEFAULT_MODEL, installed_models

_LIBRARIES = ("torch", "numpy", "pillow", "constriction", "safetensors", "zstandard", "click", "tqdm", "triton")


@click.command()
@options.debug
def doctor(debug: bool) -> None:
    """Show versions, devices and fallbacks, then encode and decode a small picture. Exit code 1 if that fails."""
    _row("vqcodec", __version__)
    _row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in _LIBRARIES:
        _row(name, _version(name))
    for name, text in _devices():
        _row(name, text)
    _row("nearest codes", "plain torch, in chunks (on every device)")
    _row("range coder", "constriction, on the CPU")
    _row("formats", _formats())
    for model in installed_models():
        _row("model", f"{model.card.name} ({model.card.model_id.hex()}), {model.size_bytes / 1e6:.1f} MB")
    try:
        _row("self test", _self_test())
    except Exception as error:
        line = describe(error)
        if debug or line is None:
            raise
        click.echo(f"error: self test: {line}", err=True)
        sys.exit(1)


def _row(name: str, text: str) -> None:
    click.echo(f"{name:<15}{text}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (not needed)" if name == "triton" else "not installed"


def _devices() -> list[tuple[str, str]]:
    import torch

    from vqcodec.devices import choose_device, cpu_multiplies_bfloat16, fast_dtype

    cpu_type = (
        "bfloat16, multiplied in hardware" if cpu_multiplies_bfloat16() else "float32: no AMX or AVX512-BF16 here"
    )
    rows = [("cpu", f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, {cpu_type}")]
    if torch.cuda.is_available():
        rows += [("cuda", torch.cuda.get_device_name(number)) for number in range(torch.cuda.device_count())]
    else:
        rows.append(
            ("cuda", f"not available ({'this torch has no CUDA' if torch.version.cuda is None else 'no GPU seen'})")
        )
    rows.append(("mps", "available" if torch.backends.mps.is_available() else "not available"))
    chosen = choose_device("auto")
    rows.append(("chosen", f"{chosen.type}, {str(fast_dtype(chosen)).removeprefix('torch.')}"))
    return rows


def _formats() -> str:
    from vqcodec.image import output_extensions

    return "writes " + " ".join(output_extensions())


def _self_test() -> str:
    import numpy as np

    from vqcodec.codec import Codec

    codec = Codec.load(DEFAULT_MODEL)
    ramp = np.linspace(0, 255, 96).astype(np.uint8)
    picture = np.stack(
        [np.broadcast_to(ramp, (64, 96)), np.full((64, 96), 128, np.uint8), np.zeros((64, 96), np.uint8)], 2
    )
    stream = codec.encode(picture)
    error = np.abs(np.asarray(codec.decode(stream)).astype(float) - picture).mean()
    if error > 64:
        raise ArithmeticError(f"a gradient came back with a mean error of {error:.0f} of 255")
    return f"ok: 96 x 64 pixels in {len(stream)} bytes, mean error {error:.1f} of 255"
