"""vqcodec doctor: what runs here, on what, and what falls back to what."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import click

from vqcodec import __version__
from vqcodec.cards.errors import ModelError
from vqcodec.cards.finding import DEFAULT_MODEL, MODELS_VARIABLE, installed_models
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cli.common import options
from vqcodec.cli.common.failures import printable, report
from vqcodec.native import library

_LIBRARIES = ("torch", "numpy", "pillow", "constriction", "safetensors", "zstandard", "click", "tqdm", "triton")
#: of the gradient of the self test, of 255: a working trained model is far below, broken arithmetic far above
_MOST_MEAN_ERROR = 64


@click.command()
@options.debug
def doctor(debug: bool) -> None:
    """Show versions, devices and models, and test them.

    Every installed model encodes and decodes a small picture. Exit code 1 if one fails or none is installed.
    """
    _row("vqcodec", __version__)
    _row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in _LIBRARIES:
        _row(name, _version(name))
    _row("core", _core())
    for name, text in _devices():
        _row(name, text)
    _row("nearest codes", _kernels())
    _row("range coder", _range_coder())
    _row("formats", _formats())
    models = list(installed_models())
    if not models:
        raise ModelError(
            f"no model is installed: install vqcodec again, or name a folder of model folders in {MODELS_VARIABLE}"
        )
    failed = False
    for model in models:
        _row("model", f"{model.card.name} ({model.card.model_id.hex()}), {model.path}")
        try:
            _row("self test", _self_test(model))
        except Exception as error:
            failed = True
            click.echo(report(error, f"self test of {model.card.name}", debug=debug), err=True)
    sys.exit(1 if failed else 0)


def _row(name: str, text: str) -> None:
    click.echo(f"{name:<15}{printable(text)}")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed (not needed)" if name == "triton" else "not installed"


def _core() -> str:
    """Raises CoreError for a core that was asked for and is not there, or variables with wrong values."""
    if library.core() is None:
        return f"torch and numpy: {library.missing() or 'VQCODEC_CORE=torch'}"
    threads = library.thread_count()
    return f"native, {library.unit()}, {threads} thread{'s' if threads > 1 else ''}"


def _devices() -> list[tuple[str, str]]:
    import torch

    from vqcodec.compute.devices import choose_device, cpu_multiplies_bfloat16, fast_dtype

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
    on_torch = f"{chosen.type}, torch in {str(fast_dtype(chosen)).removeprefix('torch.')}"
    rows.append(("chosen", f"cpu, the core where it knows the model, else {on_torch}" if _has_core() else on_torch))
    return rows


def _has_core() -> bool:
    """Whether it is used; what is wrong with it has a row of its own."""
    try:
        return library.core() is not None
    except library.CoreError:
        return False


def _range_coder() -> str:
    return "the core's for the prior, constriction for tables" if _has_core() else "constriction"


def _kernels() -> str:
    from vqcodec.compute.devices import choose_device
    from vqcodec.kernels import path_for

    path, reason = path_for(choose_device("auto"))
    return f"{path.value} ({reason})"


def _formats() -> str:
    from vqcodec.pictures.image import output_extensions

    return "writes " + " ".join(output_extensions())


def _self_test(model: ModelFolder) -> str:
    """Encode and decode a gradient. Raises ModelError for a stream that gives other tokens or a bad picture.

    A model that takes no pictures is not tested.
    """
    import numpy as np

    from vqcodec.codec import Codec
    from vqcodec.models.network_input import picture_input

    codec = Codec.load(model.path)
    try:
        codec.check_pictures()
    except ModelError as error:
        return f"none, {error}"
    side = model.card.autoencoder.picture_side
    height, width = (side, side) if side else (64, 96)
    flat = np.full((height, width), 128, np.uint8)
    ramp = np.broadcast_to(np.linspace(0, 255, width).astype(np.uint8), flat.shape)
    picture = np.stack([ramp, flat, np.zeros_like(flat)], 2)
    stream = codec.encode(picture)
    tokens = codec.tokenize(picture_input(model.card.autoencoder, picture))
    for grid, expected in zip(codec.read(stream).tokens.levels, tokens, strict=True):
        if not np.array_equal(grid.indices, expected[0].numpy()):
            raise ModelError("the stream gives other tokens than were written into it: please report this")
    decoded = codec.decode(stream)
    difference = np.abs(np.asarray(decoded).astype(float) - picture).mean()
    if model.card.name == DEFAULT_MODEL and difference > _MOST_MEAN_ERROR:
        raise ModelError(f"a gradient came back with a mean error of {difference:.0f} of 255: please report this")
    return f"ok: {decoded.width} x {decoded.height} pixels in {len(stream)} bytes, mean error {difference:.1f} of 255"
