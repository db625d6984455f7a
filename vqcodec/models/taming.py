"""The networks of "Taming Transformers for High-Resolution Image Synthesis": residual blocks and attention.

Esser, Rombach, Ommer, CVPR 2021 (arXiv 2012.09841), §3.1 and table 7. Written anew after the official code,
https://github.com/CompVis/taming-transformers (MIT licence, copyright 2020 Patrick Esser, Robin Rombach and Björn
Ommer). Modules carry the official names, so that the official stage-1 checkpoints load: see `taming_state`.

GroupNorm and attention look at the whole picture: unlike the compact networks these have no finite
receptive field, and tiles do not give what the whole picture gives.

Shapes: B batch, H W pixels, h w rows and columns of the token grid, C latent channels, D code dimension, K codes,
c width of a stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqcodec.models.taming_config import NORM_GROUPS, TamingConfig, outputs


class ResidualBlock(nn.Module):
    """(B, before, h, w) -> (B, after, h, w): x + conv(swish(norm(conv(swish(norm(x)))))), 3x3 convolutions.

    Where the widths differ a 1x1 convolution takes x from one to the other.
    """

    def __init__(self, before: int, after: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = _norm(before)
        self.conv1 = _convolution(before, after)
        self.norm2 = _norm(after)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = _convolution(after, after)
        self.nin_shortcut = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv1(F.silu(self.norm1(x)))
        hidden = self.conv2(self.dropout(F.silu(self.norm2(hidden))))
        return self.nin_shortcut(x) + hidden


class AttentionBlock(nn.Module):
    """(B, c, h, w) -> the same: x + what each position takes from all, softmax(q k^T / sqrt(c)) v, with one head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.proj_out = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        return x + self.proj_out(attend(self.q(normed), self.k(normed), self.v(normed)))


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """What each position of (B, c, h, w) takes from all, with one head; the same shape."""
    attended = F.scaled_dot_product_attention(_as_sequence(queries), _as_sequence(keys), _as_sequence(values))
    return attended.squeeze(1).transpose(1, 2).reshape(queries.shape)


class Downsample(nn.Module):
    """(B, c, h, w) -> (B, c, h / 2, w / 2): a 3x3 convolution of stride 2, padded only at the right and the bottom."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """(B, c, h, w) -> (B, c, 2 * h, 2 * w): each position four times, then a 3x3 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = _convolution(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.Module):
    """(B, before, h, w) -> (B, after, h, w): residual blocks of one resolution, with attention after each or none."""

    def __init__(self, before: int, after: int, *, blocks: int, attention: bool, dropout: float) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResidualBlock(before if n == 0 else after, after, dropout) for n in range(blocks))
        self.attn = nn.ModuleList(AttentionBlock(after) for _ in range(blocks if attention else 0))

    def forward(self, x: Tensor) -> Tensor:
        for number, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[number](x)
        return x


class EncoderStage(Stage):
    """(B, before, h, w) -> (B, after, h / 2, w / 2); the coarsest stage keeps h and w."""

    def __init__(self, config: TamingConfig, stage: int) -> None:
        before, after = (config.channels, *config.widths)[stage : stage + 2]
        attention = config.attention_stages[stage]
        super().__init__(before, after, blocks=config.residual_blocks, attention=attention, dropout=config.dropout)
        self.downsample = nn.Identity() if stage == len(config.widths) - 1 else Downsample(after)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(super().forward(x))


class DecoderStage(Stage):
    """(B, before, h, w) -> (B, after, 2 * h, 2 * w); the pixels' own stage, 0, keeps h and w. One block more."""

    def __init__(self, config: TamingConfig, stage: int) -> None:
        before, after = config.widths[min(stage + 1, len(config.widths) - 1)], config.widths[stage]
        attention = config.attention_stages[stage]
        super().__init__(before, after, blocks=config.residual_blocks + 1, attention=attention, dropout=config.dropout)
        self.upsample = Upsample(after) if stage else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(super().forward(x))


class Middle(nn.Module):
    """(B, c, h, w) -> the same: two residual blocks at the coarsest resolution, with attention between them or not."""

    def __init__(self, config: TamingConfig) -> None:
        super().__init__()
        width = config.widths[-1]
        self.block_1 = ResidualBlock(width, width, config.dropout)
        self.attn_1 = AttentionBlock(width) if config.middle_attention else nn.Identity()
        self.block_2 = ResidualBlock(width, width, config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class TamingEncoder(nn.Module):
    """Pixels (B, 3, H, W) in [-1, 1] -> latent (B, C, H / f, W / f), before `quant_conv` unless that is a part of it.

    Raises ValueError when H or W is no multiple of f.
    """

    def __init__(self, config: TamingConfig) -> None:
        super().__init__()
        self.downsampling_factor = config.downsampling_factor
        self.from_unit = config.pixel_range == "unit"
        self.conv_in = _convolution(config.picture_channels, config.channels)
        self.down = nn.ModuleList(EncoderStage(config, stage) for stage in range(len(config.widths)))
        self.mid = Middle(config)
        self.norm_out = _norm(config.widths[-1])
        self.conv_out = _convolution(config.widths[-1], config.latent_channels)
        self.quant_conv = _code_convolution(config, config.latent_channels, config.code_channels)

    def forward(self, images: Tensor) -> Tensor:
        if any(side % self.downsampling_factor for side in images.shape[-2:]):
            raise ValueError(f"sides must be multiples of {self.downsampling_factor}, got {tuple(images.shape)}")
        x = self.conv_in((images + 1) / 2 if self.from_unit else images)
        for stage in self.down:
            x = stage(x)
        return self.quant_conv(self.conv_out(F.silu(self.norm_out(self.mid(x)))))


class TamingDecoder(nn.Module):
    """Latent (B, C, h, w), after `post_quant_conv` unless that is a part of it -> pixels (B, 3, f * h, f * w).

    These are about in [-1, 1], not clamped.
    """

    def __init__(self, config: TamingConfig) -> None:
        super().__init__()
        self.to_unit, self.tanh = config.pixel_range == "unit", config.tanh
        self.post_quant_conv = _code_convolution(config, config.code_channels, config.latent_channels)
        self.conv_in = _convolution(config.latent_channels, config.widths[-1])
        self.mid = Middle(config)
        self.up = nn.ModuleList(DecoderStage(config, stage) for stage in range(len(config.widths)))
        self.norm_out = _norm(config.widths[0])
        self.conv_out = _convolution(config.widths[0], config.picture_channels)

    @property
    def last_layer(self) -> nn.Conv2d:
        """The convolution that gives the pixels: what the adaptive weight of the adversarial loss looks at."""
        return self.conv_out

    def forward(self, latent: Tensor) -> Tensor:
        x = self.mid(self.conv_in(self.post_quant_conv(latent)))
        for stage in reversed(self.up):
            x = stage(x)
        pixels = self.conv_out(F.silu(self.norm_out(x)))
        pixels = torch.tanh(pixels) if self.tanh else pixels
        return 2 * pixels - 1 if self.to_unit else pixels


def _convolution(before: int, after: int) -> nn.Conv2d:
    """3x3 with stride 1; the picture's surroundings are zeros."""
    return nn.Conv2d(before, after, 3, padding=1)


def _code_convolution(config: TamingConfig, before: int, after: int) -> nn.Module:
    """The convolution between the networks and the codes, where it is a part of the networks."""
    if not config.code_kernel:
        return nn.Identity()
    return nn.Conv2d(before, after, config.code_kernel, padding=config.code_kernel // 2)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(NORM_GROUPS, width, eps=1e-6)


def _as_sequence(x: Tensor) -> Tensor:
    """(B, c, h, w) -> (B, 1, h * w, c): one head, a vector for each position."""
    return x.flatten(2).transpose(1, 2).unsqueeze(1)


# ---- official checkpoints ----

#: Beginnings of names in official state dicts that are no part of the networks: the discriminator and LPIPS; the random
#: colours in which label maps are shown; a renumbering of the tokens for the transformer.
_BESIDE_THE_NETWORKS = ("loss.", "colorize", "quantize.used")
_GUMBEL = ("quantize.embed.", "quantize.proj.")
#: How many names an error message lists.
_NAMED = 5


class TamingState(NamedTuple):
    """An official checkpoint's tensors, sorted.

    encoder, decoder: for `load_state_dict` of TamingEncoder and TamingDecoder. quantizer: `code_vectors` (K, D), of
    which the nearest by Euclidean distance is taken; `project_in.weight` (D, C) and `project_in.bias` (D,), from latent
    to code space; `project_out.weight` (C, D) and `project_out.bias` (C,), the way back.
    """

    encoder: dict[str, Tensor]
    decoder: dict[str, Tensor]
    quantizer: dict[str, Tensor]


def taming_config(state_dict: Mapping[str, Tensor], *, resolution: int = 256) -> TamingConfig:
    """The configuration that an official state dict belongs to: see `TamingConfig.from_shapes`."""
    return TamingConfig.from_shapes(_shapes(state_dict), resolution=resolution)


def taming_state(state_dict: Mapping[str, Tensor]) -> TamingState:
    """Sort the tensors of an official stage-1 checkpoint (a Lightning file's entry "state_dict").

    Every name and shape is checked against the networks of `taming_config`; what only training needs is left out.
    Where a checkpoint holds stage 2 as well, its names begin with `first_stage_model.`: take that off before.
    Raises ValueError for missing and unknown names and for wrong shapes, which it names, and for Gumbel models: their
    tokens come from a classifier and not from the nearest code vector.
    """
    if any(name.startswith(_GUMBEL) for name in state_dict):
        raise ValueError("Gumbel models are not supported: their tokens are not those of the nearest code vectors")
    found = {name: tensor for name, tensor in state_dict.items() if not name.startswith(_BESIDE_THE_NETWORKS)}
    _check(_shapes(found))
    return TamingState(
        encoder={name.removeprefix("encoder."): found[name] for name in found if name.startswith("encoder.")},
        decoder={name.removeprefix("decoder."): found[name] for name in found if name.startswith("decoder.")},
        quantizer={
            "code_vectors": found["quantize.embedding.weight"],
            "project_in.weight": found["quant_conv.weight"].flatten(1),
            "project_in.bias": found["quant_conv.bias"],
            "project_out.weight": found["post_quant_conv.weight"].flatten(1),
            "project_out.bias": found["post_quant_conv.bias"],
        },
    )


def _check(found: Mapping[str, tuple[int, ...]]) -> None:
    """Raises ValueError that names what differs from the official networks of the same size."""
    config = TamingConfig.from_shapes(found)
    codes, dimension = outputs(found, "quantize.embedding.weight"), outputs(found, "quant_conv.weight")
    expected = _official_shapes(config, codes, dimension)
    differences = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name for name in found if name not in expected],
        "of a wrong shape": [
            f"{name} {found[name]} instead of {size}"
            for name, size in expected.items()
            if found.get(name, size) != size
        ],
    }
    if any(differences.values()):
        listed = "; ".join(f"{what}: {_list(names)}" for what, names in differences.items() if names)
        raise ValueError(f"no state dict of an official stage-1 model: {listed}")


def _official_shapes(config: TamingConfig, codes: int, dimension: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the official model's tensors; none of them takes memory."""
    with torch.device("meta"):
        embedding = nn.Embedding.from_pretrained(torch.empty(codes, dimension))  # random starts on meta import much
        model = nn.ModuleDict(
            {
                "encoder": TamingEncoder(config),
                "decoder": TamingDecoder(config),
                "quantize": nn.ModuleDict({"embedding": embedding}),
                "quant_conv": nn.Conv2d(config.latent_channels, dimension, 1),
                "post_quant_conv": nn.Conv2d(dimension, config.latent_channels, 1),
            }
        )
    return _shapes(model.state_dict())


def _shapes(state_dict: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """What is no tensor (a Lightning file's other entries) counts as of shape ()."""
    return {name: tuple(getattr(value, "shape", ())) for name, value in state_dict.items()}


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
