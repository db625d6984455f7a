"""From a trained context network to the arrays of `vqcodec.prior.context`: the whole numbers that it was trained in."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from vqcodec.prior.context_checks import context_name
from vqcodec.prior.context_network import ContextNetwork, LevelNetwork, WholeLinear, WholeTable
from vqcodec.training.stage2.integer_export import token_exponentials

Arrays: TypeAlias = dict[str, NDArray[Any]]


def context_arrays(network: ContextNetwork, first: int | None = None) -> Arrays:
    """What `ContextModel` takes, of which it gives the logits of `network` on a CPU to the last bit.

    first: the first level that is wanted, counted from 0, by default that of the network.
    """
    arrays: Arrays = {"token_exponentials": token_exponentials()}
    for level in range(network.config.first if first is None else first, network.config.levels):
        arrays |= {context_name(level) + name: array for name, array in _level(network.level(level)).items()}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # as files need them


def _level(network: LevelNetwork) -> Arrays:
    arrays: Arrays = {"tokens": _whole(network.tokens.whole())}
    if network.start is not None:
        arrays["start"] = _whole(network.start.whole())[0]
    for name, module in network.named_modules():
        if isinstance(module, WholeLinear):
            arrays |= _linear(_number_from_1(name), module)
        elif isinstance(module, WholeTable) and name.startswith("below."):
            arrays[name] = _whole(module.whole())
    return arrays


def _number_from_1(name: str) -> str:
    """near.0, of the second group, is near.1 there."""
    kind, _, number = name.partition(".")
    return f"near.{int(number) + 1}" if kind == "near" else name


def _linear(name: str, module: WholeLinear) -> Arrays:
    weight, scale, offset = module.whole()
    if weight.ndim == 4:  # inputs last: row and column of the kernel, channel
        weight = weight.permute(0, 2, 3, 1)
    return {
        f"{name}.weight": _whole(weight.flatten(1)),
        f"{name}.scale": scale.detach().cpu().numpy(),
        f"{name}.offset": offset.detach().cpu().numpy().astype(np.int32),
    }


def _whole(values: Tensor) -> NDArray[np.int8]:
    return values.detach().cpu().numpy().astype(np.int8)
