"""More residual blocks for a trained model, which change nothing at first: so that fine-tuning can start from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vqcodec.models.autoencoder import Autoencoder
from vqcodec.models.compact import Decoder, Encoder
from vqcodec.models.config import AutoencoderConfig, CompactConfig
from vqcodec.models.layers import ResidualBlock
from vqcodec.models.single_latent import VQAutoencoder


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
            "the model to start from has another configuration than this run: only encoder_depths and decoder_depths "
            "of the default networks may be larger"
        )
    made = VQAutoencoder(config)
    made.load_state_dict(
        {name: value for name, value in network.state_dict().items() if not name.startswith(("encoder.", "decoder."))},
        strict=False,
    )
    _fill(network.encoder, made.encoder)
    _fill(network.decoder, made.decoder)
    return made


def _adds_blocks(old: AutoencoderConfig, new: AutoencoderConfig) -> bool:
    before, after = old.networks, new.networks
    if not (isinstance(before, CompactConfig) and isinstance(after, CompactConfig)):
        return False
    if len(before.decoder_depths) != len(after.decoder_depths):
        return False
    same = replace(after, encoder_depths=before.encoder_depths, decoder_depths=before.decoder_depths)
    depths = zip(
        before.encoder_depths + before.decoder_depths, after.encoder_depths + after.decoder_depths, strict=True
    )
    return replace(new, networks=same) == old and all(fewer <= more for fewer, more in depths)


@torch.no_grad()
def _fill(trained: nn.Module, made: nn.Module) -> None:
    """Layer by layer; the blocks that `made` has more of are silenced."""
    assert isinstance(trained, Encoder | Decoder)
    assert isinstance(made, Encoder | Decoder)
    made.linear.load_state_dict(trained.linear.state_dict())
    for old_stage, stage in zip(_stages(trained.deep), _stages(made.deep), strict=True):
        for old, new in zip(old_stage, stage, strict=False):
            new.load_state_dict(old.state_dict())
        for block in stage[len(old_stage) :]:
            nn.init.zeros_(block.narrow.weight)
            nn.init.zeros_(block.narrow.bias)


def _stages(layers: nn.Sequential) -> list[list[Any]]:
    """The layers, cut before each that is no residual block."""
    stages: list[list[Any]] = []
    for layer in layers:
        if not isinstance(layer, ResidualBlock):
            stages.append([])
        stages[-1].append(layer)
    return stages
