"""Networks from safetensors files whose sha256 a card names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from vqcodec.cards.errors import ModelError

Network = TypeVar("Network", bound=torch.nn.Module)


def load_weights(path: Path, sha256: str, name: str, make: Callable[[], Network]) -> Network:
    """The network that `make` gives, with the weights of a file, float32, on the CPU.

    name: of the model or prior, for errors. Raises ModelError for missing, damaged or other weights.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: the weights cannot be read ({error.strerror})") from error
    if hashlib.sha256(raw).hexdigest() != sha256:
        raise ModelError(f"{path}: not the weights that {name}'s card names; get it again")
    with torch.device("meta"):
        network = make()
    try:
        weights = {key: value.float() for key, value in load(raw).items()}
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: the weights do not fit the card's configuration; get it again") from error
    return network
