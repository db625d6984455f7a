"""The tensors of an official tokenizer -> the configuration and the state dict of our networks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vqcodec.checkpoints.errors import ForeignCheckpointError
from vqcodec.checkpoints.families import IBQ, Family, Recognised
from vqcodec.checkpoints.official_config import OfficialConfig
from vqcodec.checkpoints.quantizers import QUANTIZERS, Levels, scales
from vqcodec.checkpoints.stored_tensors import Part, StoredTensor, TensorsByName, Zeros
from vqcodec.models.config import AutoencoderConfig, NetworksConfig
from vqcodec.models.magvit_config import MagvitConfig
from vqcodec.models.maskgit_config import MaskgitConfig
from vqcodec.models.taming_config import TamingConfig

if TYPE_CHECKING:
    from torch import Tensor

#: parts of the official models that a tokenizer is made of
_PARTS: Final = ("encoder.", "decoder.", "quant", "post_quant_conv.", "tok_embeddings.", "codebook_projection.")
_AVERAGED: Final = "model_ema."
#: IBQ's codes have many dimensions; those of latent diffusion, which may be averaged too, have 3 to 8
_MANY_DIMENSIONS: Final = 16
#: how many names an error message lists
_NAMED: Final = 5


@dataclass(frozen=True)
class Translated:
    """config, state: of `vqcodec.models.building.build_autoencoder`. The rest is for the card.

    used_codes: which codes the project's priors know, in their order (taming's `remap`); () for all.
    """

    family: Family
    config: AutoencoderConfig
    state: dict[str, Tensor]
    averaged: bool
    folded: tuple[str, ...]
    left_out: tuple[str, ...]
    used_codes: tuple[int, ...] = ()


class _Renamed(Mapping[str, "Tensor"]):
    """Tensors by our names, read when they are asked for."""

    def __init__(self, stored: dict[str, StoredTensor]) -> None:
        self.stored = stored

    def __getitem__(self, name: str) -> Tensor:
        return self.stored[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tensor.shape for name, tensor in self.stored.items()}


def translate(
    tensors: TensorsByName,
    recognised: Recognised,
    official: OfficialConfig,
    file: Path,
    *,
    averaged: bool | None = None,
    pixel_range: str = "",
) -> Translated:
    """tensors: of the file, by their official names; values are read only of what is needed.

    averaged: take the weights averaged over training (`model_ema.*`, whose names have no points); None to take them
    where there are any, as the official evaluations do. pixel_range: "signed" or "unit", over what the configuration
    or the family says. Raises ForeignCheckpointError for missing and unknown names, for wrong shapes, and for networks
    that ours cannot be.
    """
    own = {
        name.removeprefix(recognised.prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(recognised.prefix)
    }
    chosen, is_averaged = _choose_weights(own, averaged, file)
    family = _family(recognised.family, official, own)
    needed, left_out = _sort(chosen, family)
    stages = 1 + max((int(found[1]) for name in needed if (found := _STAGE.match(name))), default=0)
    renamed = _Renamed({family.rename(name, stages): tensor for name, tensor in needed.items()})
    _split_attention(renamed)
    chosen_range = pixel_range or official.pixel_range or _range(family, renamed)
    if official.class_name.endswith(_MUSE):
        left_out = [*left_out, *_silence_single_attention(renamed)]
    try:
        levels = _levels(family, official, renamed, own)
        networks = _networks(family, renamed, official, chosen_range, levels)
        config = AutoencoderConfig(networks, levels.config)
        state = _state(renamed, levels, config)
    except (ValueError, KeyError, IndexError, RuntimeError, TypeError) as error:
        if isinstance(error, ForeignCheckpointError):
            raise
        raise ForeignCheckpointError(f"{file}: {family.title}, but not as it should be: {_line(error)}") from error
    _check(state, config, file)
    used = own["quantize.used"].read().flatten().tolist() if "quantize.used" in own else ()
    return Translated(family, config, state, is_averaged, levels.folded, tuple(left_out), tuple(map(int, used)))


_STAGE: Final = re.compile(r"encoder\.(?:down|down_blocks|conv_blocks)\.(\d+)\.")
#: open-muse's port of taming, which leaves out the attention of a stage that has one only
_MUSE: Final = "VQGANModel"


def _choose_weights(
    own: dict[str, StoredTensor], averaged: bool | None, file: Path
) -> tuple[dict[str, StoredTensor], bool]:
    """The tensors, those of the averaged weights in their places where these are wanted; whether they are."""
    found = {name: own[_AVERAGED + name.replace(".", "")] for name in own if _AVERAGED + name.replace(".", "") in own}
    if averaged and not found:
        raise ForeignCheckpointError(f"{file}: it holds no averaged weights ({_AVERAGED}*); leave out --ema")
    take = bool(found) if averaged is None else averaged
    plain = {name: tensor for name, tensor in own.items() if not name.startswith(_AVERAGED)}
    return (plain | found if take else plain), take


def _family(family: Family, official: OfficialConfig, own: dict[str, StoredTensor]) -> Family:
    """IBQ has the names of taming's VQModel."""
    if family.name != "taming":
        return family
    if official.class_name:
        return IBQ if official.class_name.rsplit(".", 1)[-1] == "IBQ" else family
    has_averages = any(name.startswith(_AVERAGED) for name in own)
    return IBQ if has_averages and own["quantize.embedding.weight"].shape[-1] >= _MANY_DIMENSIONS else family


def _sort(own: dict[str, StoredTensor], family: Family) -> tuple[dict[str, StoredTensor], list[str]]:
    """What belongs to the tokenizer, and what is left out of it, by the beginnings of the names."""
    needed, left_out = {}, set()
    for name, tensor in own.items():
        is_beside = name.startswith(family.beside) or name.endswith((".cluster_size_ema", ".embed_ema"))
        if name.startswith(_PARTS) and not is_beside:
            needed[name] = tensor
        else:
            left_out.add(".".join(name.split(".")[: 2 if name.startswith("quant") else 1]))
    return needed, sorted(left_out)


def _range(family: Family, renamed: _Renamed) -> str:
    """Of diffusers' VQModels only aMUSEd's, without attention in the middle, takes [0, 1]."""
    is_amused = family.name == "diffusers" and "encoder.mid.attn_1.q.weight" not in renamed
    return "unit" if is_amused else family.pixel_range


def _quantizer(family: Family, official: OfficialConfig) -> str:
    if family.quantizer == "cosine" and not official.l2_norm:
        return "nearest"
    return "bare" if family.networks == "maskgit" else family.quantizer


def _levels(family: Family, official: OfficialConfig, renamed: _Renamed, own: Mapping[str, StoredTensor]) -> Levels:
    if family.quantizer != "scales":
        return QUANTIZERS[_quantizer(family, official)](renamed)
    hits = own.get("quantize.ema_vocab_hit_SV")
    if not official.grids and hits is not None and hits.shape[0] != len(_VAR_GRIDS):
        raise ValueError(f"{hits.shape[0]} scales: give --config with its v_patch_nums")
    return scales(renamed, official.grids or _VAR_GRIDS, official.mixing)


def _split_attention(renamed: _Renamed) -> None:
    """VAR's attention has queries, keys and values of one convolution; in place."""
    for name in [name for name in renamed.stored if ".qkv." in name]:
        whole = renamed.stored.pop(name)
        for number, part in enumerate("qkv"):
            renamed.stored[name.replace(".qkv.", f".{part}.")] = Part(whole, number, 3)


#: of VAR at 256 x 256, where no configuration says it
_VAR_GRIDS: Final = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


def _silence_single_attention(renamed: _Renamed) -> tuple[str, ...]:
    """Let the attention of stages that have one only add nothing, in place; returns beginnings of names."""
    beginnings = {match[0] for name in renamed.stored if (match := _ATTENTION.match(name))}
    single = tuple(begin for begin in sorted(beginnings) if f"{begin}1.q.weight" not in renamed.stored)
    for name in (f"{begin}0.proj_out.{part}" for begin in single for part in ("weight", "bias")):
        renamed.stored[name] = Zeros(renamed.stored[name].shape)
    return tuple(f"{begin}0.proj_out" for begin in single)


_ATTENTION: Final = re.compile(r"(?:encoder\.down|decoder\.up)\.\d+\.attn\.")


def _networks(
    family: Family, renamed: _Renamed, official: OfficialConfig, pixel_range: str, levels: Levels
) -> NetworksConfig:
    shapes = renamed.shapes()
    made = TamingConfig.from_shapes(shapes, resolution=official.resolution or 256)
    if family.networks == "maskgit":
        return MaskgitConfig(made.channels, made.channel_multipliers, made.residual_blocks, made.latent_channels)
    if family.networks == "magvit":
        shape = made.channels, made.channel_multipliers, made.residual_blocks, made.latent_channels
        return MagvitConfig(*shape, adaptive="decoder.adaptive.0.gamma.weight" in shapes)
    kernel = shapes["quant_conv.weight"][-1] if levels.inner else 0
    return replace(
        made,
        picture_channels=shapes["encoder.conv_in.weight"][1],
        middle_attention="encoder.mid.attn_1.q.weight" in shapes,
        pixel_range=pixel_range,
        tanh=official.tanh,
        code_kernel=kernel,
        code_channels=levels.config.code_dimension if kernel else 0,
        spatial_norms="decoder.norm_out.conv_y.weight" in shapes,
    )


def _state(renamed: _Renamed, levels: Levels, config: AutoencoderConfig) -> dict[str, Tensor]:
    """By the names of our networks. Linear maps become 1x1 convolutions."""
    import torch

    state = {
        name: _as_convolution(name, renamed[name]) for name in renamed if name.startswith(("encoder.", "decoder."))
    }
    if levels.inner:
        for name in (name for name in renamed if name.startswith(("quant_conv.", "post_quant_conv."))):
            state[("encoder." if name.startswith("quant_") else "decoder.") + name] = renamed[name]
    state |= {f"quantizer.{name}": tensor for name, tensor in levels.state.items()}
    networks = config.networks
    channels = networks.quantized_channels if isinstance(networks, TamingConfig) else networks.latent_channels
    return state | {"level_embedding": torch.zeros(config.levels, channels)}  # type: ignore[arg-type]


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    is_linear = tensor.dim() == 2 and name.endswith((".q.weight", ".k.weight", ".v.weight", ".proj_out.weight"))
    return tensor[:, :, None, None] if is_linear else tensor


def _check(state: Mapping[str, Tensor], config: AutoencoderConfig, file: Path) -> None:
    """Raises ForeignCheckpointError that names what differs from our networks of the same size."""
    import torch

    from vqcodec.models.building import build_autoencoder

    with torch.random.fork_rng(devices=[]):
        expected = {name: tuple(each.shape) for name, each in build_autoencoder(config).state_dict().items()}
    differences = {
        "missing": [name for name in expected if name not in state],
        "unknown": [name for name in state if name not in expected],
        "of a wrong shape": [
            f"{name} {tuple(state[name].shape)} instead of {shape}"
            for name, shape in expected.items()
            if name in state and tuple(state[name].shape) != shape
        ],
        "not finite": [name for name, tensor in state.items() if not bool(torch.isfinite(tensor).all())],
    }
    if any(differences.values()):
        listed = "; ".join(f"{what}: {_list(names)}" for what, names in differences.items() if names)
        raise ForeignCheckpointError(f"{file}: the networks are others than those that can be imported: {listed}")


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _line(error: Exception) -> str:
    text: Any = error.args[0] if isinstance(error, KeyError) else error
    return " ".join(f"missing: {text}".split() if isinstance(error, KeyError) else str(text).split())
