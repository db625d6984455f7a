"""Networks from safetensors files whose sha256 a card names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load

from vqcodec.cards.errors import ModelError
from vqcodec.cards.reading import read_named_file

Network = TypeVar("Network", bound=torch.nn.Module)


def network_from_file(path: Path, sha256: str, owner: str, make: Callable[[], Network]) -> Network:
    """The network that `make` gives, with the weights of a file, float32, on the CPU.

    owner: whose weights they are, such as "model photo-4", for errors. Raises ModelError for missing, damaged or
    other weights.
    """
    raw = read_named_file(path, sha256, "weights", owner)
    # not under torch.device("meta"): initialisers there import torch's compiler, a second that every command would pay
    with torch.random.fork_rng(devices=[]):
        network = make()
    try:
        weights = {key: value.float() for key, value in load(raw).items()}
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: the weights do not fit the card's configuration; get it again") from error
    return network
