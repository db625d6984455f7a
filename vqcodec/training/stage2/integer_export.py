"""From a trained prior to the whole numbers of `vqcodec.prior.integer`: weights to 8 bits, activations by measurement.

Post-training quantisation after Jacob et al., 2018 (§2 and §3): a scale a row of each weight matrix, and one for each
activation, from the largest values (but for one in ten thousand) on tokens of pictures. The gains of normalisations go
into the weights behind them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, TypeAlias, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from vqcodec.prior.arithmetic import ATTENTION_ONE, ATTENTION_RANGE, LIMIT, LOGIT_BITS, TOKEN_RANGE
from vqcodec.prior.checks import GELU_LIMIT, UNSEEN
from vqcodec.prior.integer import RESIDUAL_BITS
from vqcodec.prior.transformer import Block, LevelInput, Prior

#: the share of an activation's values that its scale need not reach
_BEYOND: Final = 1e-4
#: units of logits: fractional bits below a factor of two
_LOGIT: Final = math.log2(math.e) * (1 << LOGIT_BITS)
_RESIDUAL: Final = 1 << RESIDUAL_BITS
#: the exponential of the largest logit of a token
_TOKEN_ONE: Final = 1 << 24

Arrays: TypeAlias = dict[str, NDArray[Any]]
Steps: TypeAlias = NDArray[np.float64] | float


def integer_arrays(prior: Prior, tokens: Sequence[Tensor]) -> Arrays:
    """What `IntegerPrior` takes. tokens: (B, h, w) int64 of each level, of pictures like those to be coded.

    Raises ValueError for a prior that is told labels, conditions or coordinates, or of levels of several resolutions.
    """
    config = prior.config
    if len(set(config.factors)) > 1:
        raise ValueError("a prior that codes streams has levels of one resolution")
    if config.classes or config.condition or config.coordinates:
        raise ValueError("a prior that codes streams knows tokens alone: no classes, condition or coordinates")
    largest = _largest(prior, tokens)
    arrays: Arrays = {
        "attention_exponentials": _exponentials(ATTENTION_RANGE, ATTENTION_ONE),
        "token_exponentials": token_exponentials(),
        "relative": _relative(prior),
        "spacings": _rounded(_values(prior.spacings.weight) * _RESIDUAL),
        "head_gain": np.array(LIMIT / largest["norm"]),
    }
    gain = _values(prior.norm.weight) * largest["norm"] / LIMIT
    token_steps: list[float] = []
    for level, (table, head) in enumerate(zip(prior.tokens, prior.heads, strict=True)):
        arrays |= _linear(f"heads.{level}.", cast("nn.Linear", head), gain, 1 / _LOGIT)
        arrays[f"start.{level}"] = _rounded(_values(prior.levels.weight[level]) * _RESIDUAL)
        step, arrays[f"tokens.{level}"] = _table(_values(cast("nn.Embedding", table).weight))
        token_steps.append(step)
        arrays |= _input(level, cast("LevelInput", prior.inputs[level]), token_steps)
    for number, block in enumerate(prior.each_block()):
        arrays |= _block(f"blocks.{number}.", block, {name: largest[f"{number}.{name}"] for name in _ACTIVATIONS})
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}  # as files need them


#: of a block, as `_watch` names them
_ACTIVATIONS: Final = ("attention_norm", "query", "key", "value", "mixed", "mlp_norm", "hidden", "gelu")


def _block(prefix: str, block: Block, largest: dict[str, float]) -> Arrays:
    attention, steps = block.attention, {name: value / LIMIT for name, value in largest.items()}
    hidden = largest["hidden"] / GELU_LIMIT
    width = attention.out.in_features
    per_row = np.repeat([steps["query"], steps["key"], steps["value"]], width)
    root = math.sqrt(width // attention.heads)
    logit_scale = steps["query"] * steps["key"] / root * _LOGIT
    curve = F.gelu(torch.arange(-GELU_LIMIT, GELU_LIMIT + 1, dtype=torch.float64) * hidden).numpy()
    attention_gain = _values(block.attention_norm.weight) * steps["attention_norm"]
    mlp_gain = _values(block.mlp_norm.weight) * steps["mlp_norm"]
    return {
        f"{prefix}attention_gain": np.array(1 / steps["attention_norm"]),
        **_linear(f"{prefix}into.", attention.into, attention_gain, per_row),
        f"{prefix}logit_scale": np.full(attention.heads, logit_scale),
        f"{prefix}value_scale": np.array(steps["value"] / steps["mixed"]),
        **_linear(f"{prefix}out.", attention.out, steps["mixed"], 1 / _RESIDUAL),
        f"{prefix}mlp_gain": np.array(1 / steps["mlp_norm"]),
        **_linear(f"{prefix}widen.", block.widen, mlp_gain, hidden),
        f"{prefix}gelu": _rounded(curve / steps["gelu"]).clip(-LIMIT, LIMIT).astype(np.int8),
        **_linear(f"{prefix}narrow.", block.narrow, steps["gelu"], 1 / _RESIDUAL),
    }


def _input(level: int, made: LevelInput, token_steps: list[float]) -> Arrays:
    """Of what enters the slots of a level. token_steps: of the vectors of its tokens and of all coarser ones."""
    arrays = _linear(f"near.{level}.", made.near, token_steps[level], 1 / _RESIDUAL)
    if made.below is None:
        return arrays
    steps = np.tile(np.repeat(token_steps[:-1], made.below.in_channels // level), 3)
    for row, weight in enumerate(_values(made.below.weight).transpose(2, 0, 3, 1)):  # of the kernel: out, column, in
        bias = made.below.bias if row == 1 else None
        arrays |= _matrix(f"below.{level}.{row}.", weight.reshape(len(weight), -1), bias, steps, 1 / _RESIDUAL)
    return arrays


def _linear(prefix: str, layer: nn.Linear, input_step: Steps, output_step: Steps) -> Arrays:
    """A layer that takes whole numbers, `input_step` each, and gives whole numbers, `output_step` each."""
    return _matrix(prefix, _values(layer.weight), layer.bias, input_step, output_step)


def _matrix(
    prefix: str, weight: NDArray[np.float64], bias: Tensor | None, input_step: Steps, output_step: Steps
) -> Arrays:
    """The same of a matrix (out, in)."""
    weight = weight * input_step
    steps = np.maximum(np.abs(weight).max(axis=1), 1e-12) / LIMIT
    offset = np.zeros(len(weight)) if bias is None else _values(bias) / output_step
    return {
        f"{prefix}weight": np.rint(weight / steps[:, None]).astype(np.int8),
        f"{prefix}scale": (steps / output_step).astype(np.float32),
        f"{prefix}offset": _rounded(offset),
    }


def _table(vectors: NDArray[np.float64]) -> tuple[float, NDArray[np.int8]]:
    """The step of embedding vectors, and the vectors in steps."""
    step = float(np.abs(vectors).max()) / LIMIT
    return step, np.rint(vectors / step).astype(np.int8)


def _relative(prior: Prior) -> NDArray[np.int32]:
    """(heads, positions + 1): what attention adds, the last for slots that are not seen."""
    known = _values(prior.relative.weight).T * _LOGIT
    return _rounded(np.pad(known, ((0, 0), (0, 1)), constant_values=UNSEEN))


def token_exponentials() -> NDArray[np.int32]:
    """(TOKEN_RANGE + 1,): of how far a token's logit is below the largest, as `token_frequencies` takes them."""
    return _exponentials(TOKEN_RANGE, _TOKEN_ONE)


def _exponentials(reach: int, one: int) -> NDArray[np.int32]:
    """one * 2 ** (-i / 2^LOGIT_BITS) for i up to `reach`, of which the last is 0."""
    values = one * np.exp2(-np.arange(reach + 1) / (1 << LOGIT_BITS))
    values[-1] = 0
    return _rounded(values)


@torch.no_grad()
def _largest(prior: Prior, tokens: Sequence[Tensor]) -> dict[str, float]:
    """How large each activation gets: `norm`, and those of each block by its number."""
    sizes_by_name: dict[str, float] = {}

    def see(name: str, values: Tensor) -> None:
        sizes = values.abs().flatten()
        place = max(1, math.floor(sizes.numel() * (1 - _BEYOND)))
        sizes_by_name[name] = max(sizes_by_name.get(name, 0.0), float(sizes.kthvalue(place).values))

    handles = [_watch_norm(prior.norm, "norm", see)]
    for number, block in enumerate(prior.each_block()):
        handles += _watch_block(block, f"{number}.", see)
    try:
        for level in range(prior.config.levels):
            prior(tokens[: level + 1], level)
    finally:
        for handle in handles:
            handle.remove()
    return sizes_by_name


def _watch_norm(norm: nn.RMSNorm, name: str, see: Any) -> Any:
    """What it gives before its gain."""
    return norm.register_forward_hook(lambda module, given, made: see(name, made / norm.weight))


def _watch_block(block: Block, prefix: str, see: Any) -> list[Any]:
    def split(module: nn.Module, given: Any, made: Tensor) -> None:
        for name, part in zip(("query", "key", "value"), made.chunk(3, dim=2), strict=True):
            see(prefix + name, part)

    attention = block.attention
    return [
        _watch_norm(block.attention_norm, f"{prefix}attention_norm", see),
        _watch_norm(block.mlp_norm, f"{prefix}mlp_norm", see),
        attention.into.register_forward_hook(split),
        attention.out.register_forward_pre_hook(lambda module, given: see(f"{prefix}mixed", given[0])),
        block.widen.register_forward_hook(lambda module, given, made: see(f"{prefix}hidden", made)),
        block.narrow.register_forward_pre_hook(lambda module, given: see(f"{prefix}gelu", given[0])),
    ]


def _values(tensor: Tensor) -> NDArray[np.float64]:
    values: NDArray[np.float64] = tensor.detach().double().cpu().numpy()
    return values


def _rounded(values: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(values).astype(np.int32)
