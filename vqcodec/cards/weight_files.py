"""Networks and weights from safetensors files whose sha256 a card names. Imports torch only for networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from vqcodec.cards.errors import ModelError
from vqcodec.cards.reading import read_named_file

if TYPE_CHECKING:
    import torch

Network = TypeVar("Network", bound="torch.nn.Module")


def weights_from_file(path: Path, sha256: str, owner: str) -> dict[str, NDArray[Any]]:
    """The weights in a file by name, in their own types. Raises ModelError for missing, damaged or other weights.

    owner: whose weights they are, such as "model photo-5", for errors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    raw = read_named_file(path, sha256, "weights", owner)
    try:
        return load(raw)
    except (SafetensorError, KeyError) as error:  # KeyError: of a type that numpy has not
        raise ModelError(f"{path}: no weights in float16 or float32; get it again") from error


def network_from_file(path: Path, sha256: str, owner: str, make: Callable[[], Network]) -> Network:
    """The network that `make` gives, with the weights of a file, float32, on the CPU.

    owner: as in `weights_from_file`. Raises ModelError for missing, damaged or other weights, and for a shape that
    `make` cannot give.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    raw = read_named_file(path, sha256, "weights", owner)
    try:
        # not under torch.device("meta"): initialisers there import torch's compiler, a second for every command
        with torch.random.fork_rng(devices=[]):
            network = make()
    except (ArithmeticError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        what = " ".join(str(error).split())
        raise ModelError(
            f"{path}: no network of the shape that {owner}'s card states can be made here ({what}); close other "
            "programs if memory is short, else get it again"
        ) from error
    try:
        weights = {key: value.float() for key, value in load(raw).items()}
        network.load_state_dict(weights, assign=True)
    except (SafetensorError, RuntimeError) as error:
        raise ModelError(f"{path}: the weights do not fit the card's configuration; get it again") from error
    return network
