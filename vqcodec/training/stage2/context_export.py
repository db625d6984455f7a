"""From a context network to the arrays of `vqcodec.prior.context`, whole numbers that it was trained in, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load
from torch import Tensor

from vqcodec.cards.errors import ModelError
from vqcodec.cards.model_card import ENTROPY_FILE, ModelFolder
from vqcodec.cards.reading import read_named_file
from vqcodec.prior.arithmetic import InexactError
from vqcodec.prior.context_checks import check_context_arrays, context_name
from vqcodec.prior.context_config import ContextConfig
from vqcodec.prior.context_network import UNITS, ContextNetwork, LevelNetwork, WholeLinear, WholeTable
from vqcodec.training.stage2.integer_export import token_exponentials

Arrays: TypeAlias = dict[str, NDArray[Any]]

_PARTS: Final = ("weight", "scale", "offset")


def context_arrays(network: ContextNetwork, first: int | None = None) -> Arrays:
    """What `ContextModel` takes, of which it gives the logits of `network` on a CPU to the last bit.

    first: the first level that is wanted, counted from 0, by default that of the network.
    """
    arrays: Arrays = {"token_exponentials": token_exponentials()}
    for level in range(network.config.first if first is None else first, network.config.levels):
        arrays |= {context_name(level) + name: array for name, array in _level(network.level(level)).items()}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # as files need them


def network_of_arrays(config: ContextConfig, arrays: Mapping[str, NDArray[Any]]) -> ContextNetwork:
    """The network that gives these arrays: to train on where only they are left. arrays: checked ones."""
    network = ContextNetwork(config)
    with torch.no_grad():
        for number in config.covered:
            level, prefix = network.level(number), context_name(number)
            for name, module in level.named_modules():
                if isinstance(module, WholeLinear):
                    _fill(module, *(arrays[f"{prefix}{_number_from_1(name)}.{part}"] for part in _PARTS))
                elif isinstance(module, WholeTable):
                    whole = arrays[prefix + name].reshape(module.weight.shape)
                    module.weight.copy_(torch.from_numpy(whole.astype(np.float32)) / UNITS)
    return network.eval().requires_grad_(False)


def network_of_model(model: ModelFolder) -> ContextNetwork:
    """The context network of a model, from its whole numbers. Raises ModelError where it has none, or its file is
    missing or damaged."""
    stated, owner = model.card.entropy_prior, f"model {model.card.name}"
    if stated is None or stated.context is None:
        raise ModelError(f"{owner} has no context network to start from; leave --init out")
    path = model.path / ENTROPY_FILE
    arrays = load(read_named_file(path, stated.sha256, "integer prior", owner))
    try:
        check_context_arrays(stated.context, arrays)
    except InexactError as error:
        raise ModelError(f"{path}: no integer prior of this card ({error}); get the model again") from error
    return network_of_arrays(stated.context, arrays)


def _fill(module: WholeLinear, weight: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any]) -> None:
    """Every row's largest weight is 127, so that rounding the product once more changes nothing."""
    steps = torch.from_numpy(scale) / module.gain
    whole = torch.from_numpy(weight.astype(np.float32))
    if module.weight.ndim == 4:
        outputs, inputs, rows, cols = module.weight.shape
        whole = whole.reshape(outputs, rows, cols, inputs).permute(0, 3, 1, 2)
    module.weight.copy_(whole * steps.view(-1, *[1] * (whole.ndim - 1)))
    module.bias.copy_(torch.from_numpy(offset.astype(np.float32)) / (UNITS * module.gain))


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
