"""The networks of "Taming Transformers": official names and shapes, official numbers, sorting a checkpoint."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.single_latent import from_official
from vqcodec.models.taming import AttentionBlock, TamingDecoder, TamingEncoder, taming_config, taming_state
from vqcodec.models.taming_config import TamingConfig

#: What the official code makes for vqgan_imagenet_f16_1024 (configs/imagenet_vqgan.yaml), by hand after its files
#: taming/modules/diffusionmodules/model.py and taming/models/vqgan.py: names, kind, width before, width after.
OFFICIAL_F16 = """
encoder.conv_in                                                conv3    3 128
encoder.down.0.block.0 encoder.down.0.block.1                  resnet 128 128
encoder.down.1.block.0 encoder.down.1.block.1                  resnet 128 128
encoder.down.2.block.0                                         resnet 128 256
encoder.down.2.block.1 encoder.down.3.block.0                  resnet 256 256
encoder.down.3.block.1                                         resnet 256 256
encoder.down.4.block.0                                         resnet 256 512
encoder.down.4.block.1 encoder.mid.block_1 encoder.mid.block_2 resnet 512 512
encoder.down.4.attn.0 encoder.down.4.attn.1 encoder.mid.attn_1 attn   512 512
encoder.down.0.downsample.conv encoder.down.1.downsample.conv  conv3  128 128
encoder.down.2.downsample.conv encoder.down.3.downsample.conv  conv3  256 256
encoder.norm_out                                               norm   512 512
encoder.conv_out                                               conv3  512 256
quant_conv post_quant_conv                                     conv1  256 256
decoder.conv_in                                                conv3  256 512
decoder.mid.block_1 decoder.mid.block_2                        resnet 512 512
decoder.up.4.block.0 decoder.up.4.block.1 decoder.up.4.block.2 resnet 512 512
decoder.up.4.attn.0 decoder.up.4.attn.1 decoder.up.4.attn.2    attn   512 512
decoder.up.3.block.0                                           resnet 512 256
decoder.up.3.block.1 decoder.up.3.block.2 decoder.up.2.block.0 resnet 256 256
decoder.up.2.block.1 decoder.up.2.block.2                      resnet 256 256
decoder.up.1.block.0                                           resnet 256 128
decoder.up.1.block.1 decoder.up.1.block.2 decoder.up.0.block.0 resnet 128 128
decoder.up.0.block.1 decoder.up.0.block.2                      resnet 128 128
decoder.mid.attn_1                                             attn   512 512
decoder.up.4.upsample.conv                                     conv3  512 512
decoder.up.3.upsample.conv decoder.up.2.upsample.conv          conv3  256 256
decoder.up.1.upsample.conv                                     conv3  128 128
decoder.norm_out                                               norm   128 128
decoder.conv_out                                               conv3  128   3
"""
#: The parts of a module: name, kind, and whether they come after the width has changed.
PARTS = {
    "attn": ["norm norm", "q conv1", "k conv1", "v conv1", "proj_out conv1"],
    "resnet": ["norm1 norm", "conv1 conv3", "norm2 norm after", "conv2 conv3 after"],
}


def tensors(name: str, kind: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one official module."""
    if kind == "norm":
        return {f"{name}.weight": (before,), f"{name}.bias": (before,)}
    if kind.startswith("conv"):
        return {f"{name}.weight": (after, before, int(kind[-1]), int(kind[-1])), f"{name}.bias": (after,)}
    parts = PARTS[kind] + ["nin_shortcut conv1"] * (before != after)
    shapes: dict[str, tuple[int, ...]] = {}
    for part, part_kind, *changed in map(str.split, parts):
        shapes |= tensors(f"{name}.{part}", part_kind, after if changed else before, after)
    return shapes


def official_f16_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"quantize.embedding.weight": (1024, 256)}
    for line in OFFICIAL_F16.strip().splitlines():
        *names, kind, before, after = line.split()
        for name in names:
            shapes |= tensors(name, kind, int(before), int(after))
    return shapes


def make_config(**changes: Any) -> TamingConfig:
    values: dict[str, Any] = {"channels": 32, "channel_multipliers": (1, 2, 1), "residual_blocks": 1, "resolution": 32}
    return TamingConfig(**(values | {"latent_channels": 4, "attention_resolutions": (16, 8)} | changes))


def on_meta(config: TamingConfig) -> tuple[TamingEncoder, TamingDecoder]:
    with torch.device("meta"):
        return TamingEncoder(config), TamingDecoder(config)


# ---- configuration ----


def test_config_survives_json() -> None:
    for config in (TamingConfig(), make_config(attention_resolutions=(), dropout=0.1)):
        assert TamingConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_config_properties() -> None:
    config = TamingConfig()
    assert (config.downsampling_factor, config.widths) == (16, (128, 128, 256, 256, 512))
    assert config.stage_sides == (256, 128, 64, 32, 16)
    assert config.attention_stages == (False, False, False, False, True)
    assert make_config().attention_stages == (False, True, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels 0: whole numbers from 1"),
        ({"latent_channels": 2.5}, r"latent_channels 2\.5: whole"),
        ({"channel_multipliers": ()}, r"channel_multipliers \(\): whole"),
        ({"channels": 48, "channel_multipliers": (2, 4)}, "^48 channels: .* multiples of 32"),
        ({"resolution": 30}, "resolution 30 is no multiple of .* 4"),
        ({"attention_resolutions": (4,)}, "attention at 4 pixels: the stages have 32, 16, 8 at 32"),
        ({"dropout": 1.0}, r"dropout 1\.0 is not in"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_config(**changes)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(TypeError, match="ch_mult"):
        TamingConfig.from_dict({"ch_mult": [1, 2]})


# ---- against the official code ----


def test_names_and_shapes_are_the_official_ones() -> None:
    expected = official_f16_shapes()
    assert (
        sum(map(math.prod, expected.values())) == 72_141_699
    )  # the codebook and the convolutions around it are among them
    for part, network in zip(("encoder.", "decoder."), on_meta(TamingConfig()), strict=True):
        found = {part + name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        assert found == {name: shape for name, shape in expected.items() if name.startswith(part)}
    state_dict = {name: torch.empty(shape, device="meta") for name, shape in expected.items()}
    assert taming_config(state_dict) == TamingConfig()
    assert taming_state(state_dict).quantizer["code_vectors"].shape == (1024, 256)


def test_numbers_of_parameters_are_the_official_ones() -> None:
    """Of f = 16, of the f = 8 for OpenImages, and of the f = 4 of latent diffusion, known as 22.3 M and 33.0 M."""
    f8 = TamingConfig(channel_multipliers=(1, 1, 2, 4), attention_resolutions=(32,))
    f4 = TamingConfig(channel_multipliers=(1, 2, 4), attention_resolutions=(), latent_channels=3)
    networks = [network for config in (TamingConfig(), f8, f4) for network in on_meta(config)]
    counts = [sum(parameter.numel() for parameter in network.parameters()) for network in networks]
    assert counts == [29_298_176, 42_449_795, 26_345_728, 38_316_163, 22_337_411, 32_960_771]


def fill(network: nn.Module) -> nn.Module:
    """Weights that any machine can make: 0.1 sin(0.1 k^2 + number of the tensor), and 1 more in norms."""
    for number, (name, parameter) in enumerate(sorted(network.double().named_parameters())):
        k = torch.arange(parameter.numel(), dtype=torch.float64)
        values = 0.1 * torch.sin(0.1 * k * k + number) + float("norm" in name and name.endswith("weight"))
        parameter.requires_grad_(False).copy_(values.reshape(parameter.shape))
    return network.eval()


def waves(*shape: int) -> Tensor:
    return torch.cos(torch.arange(math.prod(shape), dtype=torch.float64) * 0.3).reshape(shape)


def test_they_compute_what_the_official_ones_do() -> None:
    """The numbers were computed once, with the official code (taming-transformers-rom1504 0.0.6 on PyPI)."""
    latent = fill(TamingEncoder(make_config()))(waves(1, 3, 8, 12))
    pixels = fill(TamingDecoder(make_config()))(waves(1, 4, 2, 3))
    some = [0.248159508, 0.294391473, -0.852614923, -0.465849236, 0.183654990]
    assert latent.flatten()[::5].tolist() == pytest.approx(some, abs=1e-8)
    some = [0.278156183, 0.186268433, -0.233370505, 0.269784834, 0.275667544]
    assert pixels.flatten()[::60].tolist() == pytest.approx(some, abs=1e-8)


def plain_attention(block: AttentionBlock, x: Tensor) -> Tensor:
    normed = block.norm(x)
    queries, keys, values = (layer(normed).flatten(2) for layer in (block.q, block.k, block.v))
    weights = (torch.einsum("bci,bcj->bij", queries, keys) / math.sqrt(x.shape[1])).softmax(dim=2)
    attended: Tensor = block.proj_out(torch.einsum("bij,bcj->bci", weights, values).reshape(x.shape))
    return x + attended


@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 6)])
def test_attention_is_what_it_says(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    block = AttentionBlock(64).requires_grad_(False)
    for parameter in block.parameters():
        parameter.add_(0.2 * torch.randn_like(parameter))
    x = 2 * torch.randn(2, 64, *size)
    torch.testing.assert_close(block(x), plain_attention(block, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 3)])
@pytest.mark.parametrize("multipliers", [(1,), (1, 2), (1, 1, 2)])
def test_sizes_need_not_be_square(multipliers: tuple[int, ...], size: tuple[int, int]) -> None:
    config = make_config(channel_multipliers=multipliers, attention_resolutions=())
    images = torch.rand(2, 3, *(side * config.downsampling_factor for side in size)) * 2 - 1
    with torch.no_grad():
        latent = TamingEncoder(config)(images)
        assert latent.shape == (2, 4, *size)
        assert TamingDecoder(config)(latent).shape == images.shape


def test_sides_that_are_no_multiples_are_refused() -> None:
    for size in ((8, 10), (9, 8)):
        with pytest.raises(ValueError, match=r"multiples of 4, got \(1, 3, "):
            TamingEncoder(make_config())(torch.zeros(1, 3, *size))


def test_last_layer_gives_the_pixels() -> None:
    """Its bias is added to every pixel of a channel, and nothing comes after it."""
    decoder = TamingDecoder(make_config())
    decoder(torch.randn(1, 4, 2, 3)).sum().backward()
    _, bias = decoder.last_layer.parameters()
    assert bias.grad is not None
    assert bias.grad.tolist() == [8 * 12] * 3


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    encoder = TamingEncoder(make_config(dropout=0.5)).requires_grad_(False)
    images = torch.rand(1, 3, 8, 8)
    assert not torch.equal(encoder(images), encoder(images))
    assert torch.equal(encoder.eval()(images), encoder(images))


# ---- checkpoints ----


def make_state_dict(**changes: Tensor | None) -> dict[str, Tensor]:
    """An official state dict with K = 7 and D = 6. In names of `changes` __ is a point; None leaves a tensor out."""
    torch.manual_seed(5)
    state: dict[str, Any] = {"loss.logvar": torch.zeros(1), "quantize.used": torch.arange(7)}
    state |= {"colorize": torch.zeros(3, 1, 1, 1), "quantize.embedding.weight": torch.randn(7, 6)}
    state |= {"quant_conv.weight": torch.randn(6, 4, 1, 1), "quant_conv.bias": torch.randn(6)}
    state |= {"post_quant_conv.weight": torch.randn(4, 6, 1, 1), "post_quant_conv.bias": torch.randn(4)}
    networks = {"encoder": TamingEncoder(make_config()), "decoder": TamingDecoder(make_config())}
    state |= nn.ModuleDict(networks).state_dict()
    state |= {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


def test_a_checkpoint_is_sorted_and_loads() -> None:
    state_dict = make_state_dict()
    config = taming_config(state_dict, resolution=32)
    assert config == make_config()
    encoder_state, decoder_state, quantizer_state = taming_state(state_dict)
    networks = {"encoder": TamingEncoder(config), "decoder": TamingDecoder(config)}
    networks["encoder"].load_state_dict(encoder_state)
    networks["decoder"].load_state_dict(decoder_state)
    for name, tensor in nn.ModuleDict(networks).state_dict().items():
        assert torch.equal(tensor, state_dict[name])
    expected = {"code_vectors": (7, 6), "project_in.weight": (6, 4), "project_in.bias": (6,)}
    expected |= {"project_out.weight": (4, 6), "project_out.bias": (4,)}
    assert {name: tuple(tensor.shape) for name, tensor in quantizer_state.items()} == expected
    assert torch.equal(quantizer_state["code_vectors"], state_dict["quantize.embedding.weight"])


def test_projections_are_the_convolutions_around_the_codebook() -> None:
    state_dict = make_state_dict()
    quantizer = taming_state(state_dict).quantizer
    for convolution, projection in (("quant_conv", "project_in"), ("post_quant_conv", "project_out")):
        weight, bias = state_dict[f"{convolution}.weight"], state_dict[f"{convolution}.bias"]
        x = torch.randn(3, weight.shape[1])
        projected = F.linear(x, quantizer[f"{projection}.weight"], quantizer[f"{projection}.bias"])
        torch.testing.assert_close(projected, F.conv2d(x[:, :, None, None], weight, bias)[:, :, 0, 0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantize__embed__weight": torch.zeros(7, 6)}, "Gumbel .* not supported"),
        ({"quantize__embedding__weight": None}, r"missing: quantize\.embedding\.weight$"),
        ({"encoder__conv_in__weight": None}, r"missing: encoder\.conv_in\.weight$"),
        ({"encoder__down__1__block__0__conv1__weight": None}, r"missing: encoder\.down\.1\.block\.0\.conv1\.weight$"),
        ({"decoder__mid__attn_1__q__bias": None}, r"missing: decoder\.mid\.attn_1\.q\.bias$"),
        ({"post_quant_conv__bias": None}, r"missing: post_quant_conv\.bias$"),
        ({"model_ema__decay": torch.zeros(1)}, r"model: unknown: model_ema\.decay$"),
        ({"encoder__conv_out__bias": torch.zeros(8)}, r"shape: encoder\.conv_out\.bias \(8,\) instead of \(4,\)$"),
        ({"encoder__conv_in__weight": torch.zeros(32, 183, 3, 3)}, r"\(32, 183, 3, 3\) instead of \(32, 3, 3, 3\)$"),
    ],
)
def test_other_state_dicts_are_refused(changes: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        taming_state(make_state_dict(**changes))


def test_a_long_list_of_differences_is_cut_short() -> None:
    without = {name: tensor for name, tensor in make_state_dict().items() if not name.startswith("decoder.up.0.")}
    with pytest.raises(ValueError, match=r"missing: decoder\.up\.0\.[^;]* and 13 more$"):
        taming_state(without)


def test_a_whole_lightning_file_is_no_state_dict() -> None:
    file: dict[str, Any] = {"epoch": 3, "state_dict": make_state_dict()}
    with pytest.raises(ValueError, match=r"missing: encoder\.conv_in\.weight"):
        taming_state(file)


def test_the_autoencoder_of_a_checkpoint_is_the_official_one() -> None:
    """Encoder, quant_conv, the nearest code, post_quant_conv, Decoder: written out."""
    state = make_state_dict()
    made = from_official(state).eval().requires_grad_(False)
    images = waves(2, 3, 32, 48).float()
    with torch.no_grad():
        latent = F.conv2d(made.encoder(images), state["quant_conv.weight"], state["quant_conv.bias"])
        vectors = latent.permute(0, 2, 3, 1).flatten(0, 2)
        tokens = torch.cdist(vectors.double(), state["quantize.embedding.weight"].double()).argmin(dim=1)
        codes = state["quantize.embedding.weight"][tokens].view(2, *latent.shape[2:], -1).permute(0, 3, 1, 2)
        back = F.conv2d(codes, state["post_quant_conv.weight"], state["post_quant_conv.bias"])
        assert torch.equal(made.tokenize(images)[0].flatten(), tokens)
        torch.testing.assert_close(made.detokenize(made.tokenize(images)), made.decoder(back), rtol=0, atol=1e-3)
