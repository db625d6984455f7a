"""Codes and projections of each family -> the state of our levels.

Every function takes the tensors of a tokenizer under taming's names, (K, D) codes among them, and the channels C of the
latents, and says what the levels are and what their tensors are, by the names of `ResidualQuantizer.state_dict()`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from vqcodec.models.config import QuantizerConfig

if TYPE_CHECKING:
    from torch import Tensor

_SMOOTHING: Final = "quantize.quant_resi.qresi_ls"
#: reads the tensor of a name; KeyError where there is none
Tensors: TypeAlias = "Mapping[str, Tensor]"


@dataclass(frozen=True)
class Levels:
    """state: of the levels. inner: the convolutions before and after the codes are a part of the networks.

    folded: what was computed in advance, in words.
    """

    config: QuantizerConfig
    state: dict[str, Tensor]
    inner: bool = False
    folded: tuple[str, ...] = ()


def nearest(tensors: Tensors) -> Levels:
    """taming: the nearest of the codes to what quant_conv gives."""
    return _one(tensors, tensors["quantize.embedding.weight"], "euclidean")


def cosine(tensors: Tensors) -> Levels:
    """LlamaGen: codes and vectors are scaled to length 1 first."""
    return _one(tensors, tensors["quantize.embedding.weight"], "cosine")


def product(tensors: Tensors) -> Levels:
    """IBQ: the code with the largest inner product."""
    return _one(tensors, tensors["quantize.embedding.weight"], "product")


def projected(tensors: Tensors) -> Levels:
    """VQGAN-LC: the nearest of fixed vectors that a linear map takes to D dimensions; stored as what it gives."""
    codes = tensors["tok_embeddings.weight"] @ tensors["codebook_projection.weight"].T
    if "codebook_projection.bias" in tensors:
        codes = codes + tensors["codebook_projection.bias"]
    made = _one(tensors, codes, "euclidean")
    return Levels(made.config, made.state, folded=("codebook_projection into the codes",))


def gumbel(tensors: Tensors) -> Levels:
    """taming's GumbelVQ: the largest logit, without noise, as the official evaluation has it but for that."""
    codes = tensors["quantize.embed.weight"]
    config = QuantizerConfig((len(codes),), codes.shape[1], codebook="gumbel", lookup="euclidean")
    state = {
        "levels.0.logits.weight": tensors["quantize.proj.weight"].flatten(1),
        "levels.0.logits.bias": tensors["quantize.proj.bias"],
        "levels.0.codebook.code_vectors": codes,
        **_identity("levels.0.project_out", codes.shape[1]),
    }
    return Levels(config, state, inner=True)


def told(tensors: Tensors) -> Levels:
    """MoVQ: the nearest of the codes, which the Decoder is told before and after `post_quant_conv`."""
    made = _bare(tensors["quantize.embedding.weight"])
    return Levels(made.config, made.state, inner=True)


def residual(tensors: Tensors) -> Levels:
    """RQ-VAE: levels in the space of the codes, whose tables have one row more, for padding."""
    count = sum(name.startswith("quantizer.codebooks.") and name.endswith(".weight") for name in tensors)
    tables = [tensors[f"quantizer.codebooks.{level}.weight"][:-1] for level in range(count)]
    config = QuantizerConfig(tuple(map(len, tables)), tables[0].shape[1], codebook="gradient", lookup="euclidean")
    state: dict[str, Tensor] = {}
    for level, table in enumerate(tables):
        state |= _level(level, table)
    return Levels(config, state, inner=True)


def scales(tensors: Tensors, grids: Sequence[int], mixing: float) -> Levels:
    """VAR: levels of one table in grids of these sides, and convolutions of which each serves several scales.

    mixing: the share of the convolution in 1 - mixing + mixing * convolution, which is one convolution, too.
    """
    import torch

    codes = tensors["quantize.embedding.weight"]
    channels, count = codes.shape[1], len(grids)
    places = _places(sum(name.startswith(f"{_SMOOTHING}.") and name.endswith(".weight") for name in tensors))
    unchanged = torch.zeros(channels, channels, 3, 3)
    unchanged[:, :, 1, 1] = torch.eye(channels)
    state: dict[str, Tensor] = {}
    for level in range(count):
        near = int(np.abs(places - level / max(1, count - 1)).argmin())
        weight, bias = (tensors[f"{_SMOOTHING}.{near}.{part}"] for part in ("weight", "bias"))
        state |= _level(level, codes)
        state[f"smoothings.{level}.weight"] = mixing * weight + (1 - mixing) * unchanged
        state[f"smoothings.{level}.bias"] = mixing * bias
    config = QuantizerConfig(
        (len(codes),) * count, channels, codebook="gradient", lookup="euclidean", level_grids=tuple(grids)
    )
    return Levels(config, state, inner=True, folded=("quant_resi into its convolutions",))


def _places(count: int) -> NDArray[np.float64]:
    """Where so many convolutions stand among the scales, from 0 to 1, as VAR's code has it."""
    margin = 1 / 3 / count if count == 4 else 1 / 2 / count
    return np.linspace(margin, 1 - margin, count)


def bare(tensors: Tensors) -> Levels:
    """MaskGIT: the nearest of the codes, with nothing between them and the latents."""
    return _bare(tensors["quantize.embedding.weight"])


def simvq(tensors: Tensors) -> Levels:
    """SimVQ: the same with the codes that a linear map makes of a fixed table; stored as what it gives."""
    codes = tensors["quantize.embedding.weight"] @ tensors["quantize.embedding_proj.weight"].T
    made = _bare(codes + tensors["quantize.embedding_proj.bias"])
    return Levels(made.config, made.state, folded=("quantize.embedding_proj into the codes",))


def signs(tensors: Tensors) -> Levels:
    """Open-MAGVIT2: bit i of the token is the sign of channel i. That is the nearest of all codes of -1 and 1."""
    import torch

    channels = len(tensors["encoder.conv_out.bias"])
    tokens = torch.arange(2**channels)
    codes = (tokens[:, None] >> torch.arange(channels) & 1) * 2.0 - 1.0
    return _bare(codes)


def _bare(codes: Tensor) -> Levels:
    config = QuantizerConfig((len(codes),), codes.shape[1], codebook="gradient", lookup="euclidean")
    return Levels(config, _level(0, codes))


def _one(tensors: Tensors, codes: Tensor, lookup: str) -> Levels:
    """One level whose projections are the 1x1 convolutions around the codes."""
    state = {"levels.0.codebook.code_vectors": codes}
    for ours, theirs in (("project_in", "quant_conv"), ("project_out", "post_quant_conv")):
        state[f"levels.0.{ours}.weight"] = tensors[f"{theirs}.weight"].flatten(1)
        state[f"levels.0.{ours}.bias"] = tensors[f"{theirs}.bias"]
    config = QuantizerConfig((len(codes),), codes.shape[1], codebook="gradient", lookup=lookup)
    return Levels(config, state)


def _level(number: int, codes: Tensor) -> dict[str, Tensor]:
    """A level that looks codes up in the space of the latents."""
    made = {f"levels.{number}.codebook.code_vectors": codes}
    for name in ("project_in", "project_out"):
        made |= _identity(f"levels.{number}.{name}", codes.shape[1])
    return made


def _identity(name: str, channels: int) -> dict[str, Tensor]:
    import torch

    return {f"{name}.weight": torch.eye(channels), f"{name}.bias": torch.zeros(channels)}


QUANTIZERS: Final[dict[str, Callable[[Tensors], Levels]]] = {
    "nearest": nearest,
    "cosine": cosine,
    "product": product,
    "projected": projected,
    "gumbel": gumbel,
    "told": told,
    "residual": residual,
    "bare": bare,
    "simvq": simvq,
    "signs": signs,
}
