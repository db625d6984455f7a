"""State dicts as the official projects write them, made of small networks of ours with random weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from vqcodec.models.config import AutoencoderConfig, QuantizerConfig
from vqcodec.models.single_latent import VQAutoencoder
from vqcodec.models.taming_config import TamingConfig

State = dict[str, Tensor]
STAGES = 3
CODES = 24


def make_network(quantizer: QuantizerConfig | None = None, networks: Any = None, **options: Any) -> VQAutoencoder:
    """Three stages of 32, 64 and 32 channels, f = 4, with attention in the coarsest; codes that are all chosen."""
    shape = {"channels": 32, "channel_multipliers": (1, 2, 1), "residual_blocks": 1, "latent_channels": 6}
    config = TamingConfig(**(shape | {"resolution": 256, "attention_resolutions": (64,)} | options))
    levels = quantizer or QuantizerConfig((CODES,), 4, codebook="gradient", lookup="euclidean")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = VQAutoencoder(AutoencoderConfig(networks or config, levels)).eval().requires_grad_(False)
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.copy_(torch.randn_like(parameter) / 4)
            elif ".norm" in name:
                parameter.copy_(1 + torch.randn_like(parameter) / 4)
            elif parameter.dim() > 1:
                parameter.mul_(2)
    return network


def look_up_latents(network: VQAutoencoder) -> None:
    """Let nothing be between the codes and the latents."""
    for name, parameter in network.quantizer.named_parameters():
        if ".project_" in name:
            parameter.copy_(torch.eye(len(parameter)) if name.endswith("weight") else torch.zeros(len(parameter)))


def picture(channels: int = 3, rows: int = 24, cols: int = 32) -> Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return torch.rand(1, channels, rows, cols) * 2 - 1


def networks_of(network: VQAutoencoder) -> State:
    return {
        name: tensor.clone()
        for name, tensor in network.state_dict().items()
        if name.startswith(("encoder.", "decoder."))
    }


def taming(network: VQAutoencoder) -> State:
    """taming-transformers, latent-diffusion, IBQ, open-muse's port: one level between two 1x1 convolutions."""
    level: Any = network.quantizer.levels[0]
    return {
        **networks_of(network),
        "quantize.embedding.weight": level.codebook.code_vectors.clone(),
        "quant_conv.weight": level.project_in.weight[:, :, None, None].clone(),
        "quant_conv.bias": level.project_in.bias.clone(),
        "post_quant_conv.weight": level.project_out.weight[:, :, None, None].clone(),
        "post_quant_conv.bias": level.project_out.bias.clone(),
    }


def with_averages(plain: State, averaged: State) -> State:
    """As LitEma keeps them: names without points."""
    kept = {f"model_ema.{name.replace('.', '')}": tensor for name, tensor in averaged.items()}
    return plain | kept | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(7)}


def llamagen(network: VQAutoencoder) -> State:
    """`conv_blocks` in the order of computation: the Decoder's begin with the coarsest."""
    return _renamed(
        taming(network),
        lambda name: _in_order(
            re.sub(r"\.(block|attn)\.(?=\d)", lambda found: {"block": ".res.", "attn": ".attn."}[found[1]], name)
            .replace(".mid.block_1.", ".mid.0.")
            .replace(".mid.attn_1.", ".mid.1.")
            .replace(".mid.block_2.", ".mid.2."),
            "conv_blocks",
            "conv_blocks",
        ),
    ) | {"quantize.codebook_used": torch.zeros(65536)}


def movq(network: VQAutoencoder) -> State:
    """MoVQ's own: convolutions around codes that nothing else is around."""
    level: Any = network.quantizer.levels[0]
    return {**_outside(network), "quantize.embedding.weight": level.codebook.code_vectors.clone()}


def diffusers(network: VQAutoencoder, *, old_attention: bool = False) -> State:
    """Attention is by linear maps; before 2023 under other names."""
    return as_diffusers(taming(network), old_attention=old_attention)


def as_diffusers(state: State, *, old_attention: bool = False) -> State:
    """What has taming's names, under those of diffusers; norms in attention that are told codes have their own."""
    attention_norm = "spatial_norm" if any(".conv_y." in name for name in state) else "group_norm"
    words = {"q": "query", "k": "key", "v": "value", "proj_out": "proj_attn"}
    words = words if old_attention else {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}

    def renamed(name: str) -> str:
        if ".attn" in name:
            name = re.sub(r"\.(q|k|v|proj_out)\.", lambda found: f".{words[found[1]]}.", name)
            norm = attention_norm if name.startswith("decoder.") else "group_norm"
            name = name.replace(".norm.", f".{norm}.").replace(".mid.attn_1.", ".mid_block.attentions.0.")
        name = re.sub(r"\.mid\.block_(\d)\.", lambda found: f".mid_block.resnets.{int(found[1]) - 1}.", name)
        name = re.sub(r"\.block\.(?=\d)", ".resnets.", re.sub(r"\.attn\.(?=\d)", ".attentions.", name))
        name = re.sub(r"\.(downsample|upsample)\.", r".\1rs.0.", name).replace(".nin_shortcut.", ".conv_shortcut.")
        return _in_order(name.replace(".norm_out.", ".conv_norm_out."), "down_blocks", "up_blocks")

    linear = (".to_q.", ".to_k.", ".to_v.", ".to_out.0.", ".query.", ".key.", ".value.", ".proj_attn.")
    made = _renamed(state, renamed)
    return {
        name: tensor[:, :, 0, 0].clone() if any(word in name for word in linear) and tensor.dim() == 4 else tensor
        for name, tensor in made.items()
    }


def gumbel(network: VQAutoencoder) -> State:
    """GumbelVQ: logits by a 1x1 convolution, codes under `embed`."""
    level: Any = network.quantizer.levels[0]
    return {
        **_outside(network),
        "quantize.proj.weight": level.logits.weight[:, :, None, None].clone(),
        "quantize.proj.bias": level.logits.bias.clone(),
        "quantize.embed.weight": level.codebook.code_vectors.clone(),
    }


def var(network: VQAutoencoder) -> State:
    """VAR's: queries, keys and values of one convolution; four convolutions after the codes, half of which counts."""
    made = {name: tensor for name, tensor in _outside(network).items() if not re.search(r"\.[qkv]\.", name)}
    for name in [name for name in networks_of(network) if ".q." in name]:
        parts = [network.state_dict()[name.replace(".q.", f".{part}.")] for part in "qkv"]
        made[name.replace(".q.", ".qkv.")] = torch.cat(parts)
    quantizer: Any = network.quantizer
    for number, smoothing in enumerate(quantizer.smoothings):
        unchanged = torch.zeros_like(smoothing.weight)
        unchanged[:, :, 1, 1] = torch.eye(len(unchanged))
        made[f"quantize.quant_resi.qresi_ls.{number}.weight"] = 2 * smoothing.weight - unchanged
        made[f"quantize.quant_resi.qresi_ls.{number}.bias"] = 2 * smoothing.bias
    codes = quantizer.levels[0].codebook.code_vectors.clone()
    hits = torch.zeros(len(quantizer.levels), len(codes))
    return {**made, "quantize.embedding.weight": codes, "quantize.ema_vocab_hit_SV": hits}


def scales_network(grids: tuple[int, ...] = (1, 2, 3, 6)) -> VQAutoencoder:
    """For pictures of 24 x 24 pixels, all of whose levels have the same codes."""
    levels = QuantizerConfig((CODES,) * len(grids), 4, codebook="gradient", lookup="euclidean", level_grids=grids)
    network = make_network(levels, code_kernel=3, code_channels=4)
    look_up_latents(network)
    first: Any = network.quantizer.levels[0]
    for level in network.quantizer.each():
        level.codebook.load_state_dict(first.codebook.state_dict())
    return network


def rq_vae(network: VQAutoencoder) -> State:
    """Tables with one row more, and moving averages beside them."""
    made = _outside(network)
    for number, level in enumerate(network.quantizer.each()):
        codes = level.codebook.codes()
        made[f"quantizer.codebooks.{number}.weight"] = torch.cat([codes, torch.full((1, codes.shape[1]), 9.0)])
        made[f"quantizer.codebooks.{number}.cluster_size_ema"] = torch.ones(len(codes))
        made[f"quantizer.codebooks.{number}.embed_ema"] = codes.clone()
    return made


def _outside(network: VQAutoencoder) -> State:
    """Convolutions around the codes that are a part of our networks, but none of the official ones."""
    return {
        re.sub(r"^(encoder|decoder)\.(quant_conv|post_quant_conv)\.", r"\2.", name): tensor
        for name, tensor in networks_of(network).items()
    }


def _renamed(state: State, rename: Callable[[str], str]) -> State:
    return {rename(name): tensor for name, tensor in state.items()}


def _in_order(name: str, down: str, up: str) -> str:
    name = name.replace("encoder.down.", f"encoder.{down}.")
    return re.sub(r"^decoder\.up\.(\d)", lambda found: f"decoder.{up}.{STAGES - 1 - int(found[1])}", name)
