"""More residual blocks for a trained model, which change nothing at first: so that fine-tuning can start from it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from typing import Any, Final

import torch
from torch import nn

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.building import build_autoencoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig, HierarchicalConfig
from vqcodec.models.layers import ResidualBlock

#: fields that say how many residual blocks there are, of networks that can be deepened
_DEPTHS: Final[dict[type, tuple[str, ...]]] = {
    CompactConfig: ("encoder_depths", "decoder_depths"),
    HierarchicalConfig: ("encoder_depths", "merging_depth", "decoder_depths"),
}


def deepened(network: Autoencoder, config: AutoencoderConfig) -> Autoencoder:
    """The model of `config` that gives what `network` gives, but for rounding: new blocks follow those of their stage,
    and add nothing.

    As identity-initialised layers of Net2Net (Chen et al., 2016, §2.3). Raises ValueError unless `config` is that of
    `network` with as many residual blocks a stage or more, and nothing else.
    """
    if network.config == config:
        return network
    if not _adds_blocks(network.config, config):
        raise ValueError(
            "the model to start from has another configuration than this run: only encoder_depths, decoder_depths and "
            "merging_depth of the default networks may be larger"
        )
    made = build_autoencoder(config)
    for (name, trained), (_, part) in zip(network.named_children(), made.named_children(), strict=True):
        if name in ("encoder", "decoder"):
            _fill(trained, part)
        else:
            part.load_state_dict(trained.state_dict(), strict=False)  # the codebooks' averages are not in a model
    _copy_own(network, made)
    return made


def _adds_blocks(old: AutoencoderConfig, new: AutoencoderConfig) -> bool:
    before, after = old.networks, new.networks
    depths = _DEPTHS.get(type(after), ())
    if type(before) is not type(after) or not depths:
        return False
    fewer, more = (list(chain.from_iterable(_flat(getattr(each, name)) for name in depths)) for each in (before, after))
    if len(fewer) != len(more) or any(least > most for least, most in zip(fewer, more, strict=True)):
        return False
    same: Any = replace(after, **{name: getattr(before, name) for name in depths})
    return replace(new, networks=same) == old


def _flat(depths: Any) -> Iterator[int]:
    if isinstance(depths, int):
        yield depths
    else:
        for each in depths:
            yield from _flat(each)


@torch.no_grad()
def _fill(trained: nn.Module, made: nn.Module) -> None:
    """Part by part; the residual blocks that `made` has more of are silenced."""
    for (_, old), (_, new) in zip(trained.named_children(), made.named_children(), strict=True):
        if not isinstance(old, nn.Sequential) or not isinstance(new, nn.Sequential):
            new.load_state_dict(old.state_dict())
            continue
        for old_stage, stage in zip(_stages(old), _stages(new), strict=True):
            for old_layer, layer in zip(old_stage, stage, strict=False):
                layer.load_state_dict(old_layer.state_dict())
            for block in stage[len(old_stage) :]:
                nn.init.zeros_(block.narrow.weight)
                nn.init.zeros_(block.narrow.bias)
    _copy_own(trained, made)


@torch.no_grad()
def _copy_own(trained: nn.Module, made: nn.Module) -> None:
    """Parameters and buffers that belong to no part."""
    for name, value in chain(trained.named_parameters(recurse=False), trained.named_buffers(recurse=False)):
        getattr(made, name).copy_(value)


def _stages(layers: nn.Sequential) -> list[list[Any]]:
    """The layers, cut before each that is no residual block; blocks that stand first are a stage of their own."""
    stages: list[list[Any]] = [[]]
    for layer in layers:
        if not isinstance(layer, ResidualBlock):
            stages.append([])
        stages[-1].append(layer)
    return stages
