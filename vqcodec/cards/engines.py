"""The networks of a model folder: on the core in C where that is possible, else on torch. Imports torch only then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ModelFolder
from vqcodec.cards.weight_files import network_from_file, weights_from_file
from vqcodec.compute.choice import is_cpu
from vqcodec.models.core_engine import CoreEngine
from vqcodec.models.core_networks import core_computes
from vqcodec.native.library import core
from vqcodec.native.networks import WeightsError

if TYPE_CHECKING:
    import torch

    from vqcodec.models.autoencoder import Autoencoder
    from vqcodec.models.torch_engine import TorchEngine


def load_core_engine(model: ModelFolder, device: str) -> CoreEngine | None:
    """The networks of a model on the core; None where it was not built, is not wanted, does not know the networks, or
    `device` names one that is none of its own (cuda, mps). "auto" is the core's even where there is a GPU: what it
    computes is the same everywhere. Raises ModelError, DeviceError or CoreError."""
    config = model.card.autoencoder
    library = core()
    if library is None or not core_computes(config) or not (device == "auto" or is_cpu(device)):
        return None
    weights = weights_from_file(model.weights_path, model.card.weights_sha256, f"model {model.card.name}")
    try:
        return CoreEngine(library, weights, config)
    except WeightsError as error:
        raise ModelError(
            f"{model.weights_path}: the weights do not fit the card's configuration; get it again ({error})"
        ) from error


def torch_dtype(model: ModelFolder, device: str) -> torch.dtype | None:
    """Of convolutions on torch where nobody asked for one: float32 for networks that the core knows, on the CPU, as
    pixels are then within rounding of what it gives; else None, the fastest. Raises DeviceError."""
    import torch

    from vqcodec.compute.devices import choose_device

    return torch.float32 if core_computes(model.card.autoencoder) and choose_device(device).type == "cpu" else None


def load_torch_engine(model: ModelFolder, device: str, dtype: torch.dtype | None, *, tile: bool = False) -> TorchEngine:
    """The networks of a model on torch; dtype of the convolutions, None for the fastest, or the one that its card asks
    for. tile: as in `vqcodec.models.tiled.TiledAutoencoder`. Raises ModelError or DeviceError."""
    import torch

    from vqcodec.compute.devices import choose_device, fast_dtype
    from vqcodec.models.torch_engine import TorchEngine

    chosen = choose_device(device)
    asked = dtype or (torch.float32 if model.card.precision == "float32" else None)
    return TorchEngine(load_network(model), chosen, asked or fast_dtype(chosen), tile=tile)


def load_network(model: ModelFolder) -> Autoencoder:
    """The networks of a model, float32, on the CPU. Raises ModelError for missing, damaged or other weights."""
    from vqcodec.models.building import build_autoencoder

    card = model.card
    return network_from_file(
        model.weights_path, card.weights_sha256, f"model {card.name}", lambda: build_autoencoder(card.autoencoder)
    )
