"""The shape of the networks of "Taming Transformers", as saved in a model card. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Groups of every GroupNorm: every width is a multiple of it.
NORM_GROUPS = 32


@dataclass(frozen=True)
class TamingConfig:
    """Shape of the networks of Esser et al., 2021 (table 7). The defaults are those of the ImageNet model with f = 16.

    Stages are counted from the pixels' own resolution (stage 0) to the coarsest one; each halves the sides.
    Raises ValueError for values from which no network can be made.
    """

    #: width of the first convolution, and what the multipliers multiply
    channels: int = 128
    #: width of each stage, in units of `channels`
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    #: residual blocks of each of the Encoder's stages; the Decoder's stages have one more
    residual_blocks: int = 2
    #: the stages with attention, named by the side in pixels that they have at a training picture of `resolution`
    attention_resolutions: tuple[int, ...] = (16,)
    #: side of a training picture, pixels; it only gives `attention_resolutions` their meaning
    resolution: int = 256
    latent_channels: int = 256
    #: share of the values that training drops inside residual blocks, 0 <= dropout < 1
    dropout: float = 0.0
    #: of what the Encoder takes and the Decoder gives: 3 for pictures, 1 for depth, or one for each class of a map
    picture_channels: int = 3
    #: attention between the two blocks in the middle of Encoder and Decoder
    middle_attention: bool = True
    #: what the networks compute with: "signed", pixels in [-1, 1], or "unit", in [0, 1]. They take and give [-1, 1].
    pixel_range: str = "signed"
    #: a tanh after the Decoder's last convolution
    tanh: bool = False
    #: side of the convolutions before and after the codes where these are a part of the networks, and the channels
    #: between them, which are then those of the latents; 0 where they are the projections of the one level
    code_kernel: int = 0
    code_channels: int = 0
    #: the Decoder's norms are scaled and shifted by the codes, as in `vqcodec.models.movq`
    spatial_norms: bool = False

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TamingConfig:
        """From JSON's lists and numbers. Raises TypeError for unknown names, ValueError for impossible values."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    @classmethod
    def from_shapes(cls, shapes: Mapping[str, tuple[int, ...]], *, resolution: int = 256) -> TamingConfig:
        """From the names and shapes of the tensors of an official stage-1 checkpoint.

        `resolution` is the side of a training picture in pixels, which no tensor tells. Raises ValueError when a tensor
        is missing that tells the shape of the networks, or when that shape is impossible.
        """
        channels = outputs(shapes, "encoder.conv_in.weight")
        stages = range(len(_children(shapes, "encoder.down.")))
        widths = [outputs(shapes, f"encoder.down.{stage}.block.0.conv1.weight") for stage in stages]
        attention = [stage for stage in stages if _children(shapes, f"encoder.down.{stage}.attn.")]
        return cls(
            channels=channels,
            channel_multipliers=tuple(width // channels for width in widths),
            residual_blocks=len(_children(shapes, "encoder.down.0.block.")),
            attention_resolutions=tuple(resolution >> stage for stage in attention),
            resolution=resolution,
            latent_channels=outputs(shapes, "encoder.conv_out.weight"),
        )

    def __post_init__(self) -> None:
        counts = {name: (getattr(self, name),) for name in _COUNTS} | {"channel_multipliers": self.channel_multipliers}
        for name, values in counts.items():
            if not values or not all(isinstance(value, int) and value >= 1 for value in values):
                raise ValueError(f"{name} {getattr(self, name)}: whole numbers from 1 are needed")
        for width in (self.channels, *self.widths):
            if width % NORM_GROUPS:
                raise ValueError(f"{width} channels: widths must be multiples of {NORM_GROUPS}")
        if self.resolution % self.downsampling_factor:
            raise ValueError(
                f"resolution {self.resolution} is no multiple of the factor f = {self.downsampling_factor}"
            )
        for side in self.attention_resolutions:
            if side not in self.stage_sides:
                sides = ", ".join(map(str, self.stage_sides))
                raise ValueError(f"attention at {side} pixels: the stages have {sides} at {self.resolution}")
        if self.pixel_range not in PIXEL_RANGES:
            raise ValueError(f"pixel range {self.pixel_range!r}: there are {', '.join(PIXEL_RANGES)}")
        if self.code_kernel not in (0, 1, 3) or (self.code_kernel > 0) != (self.code_channels > 0):
            raise ValueError(f"convolutions of {self.code_kernel} to {self.code_channels} channels: 1 or 3, or neither")
        if self.spatial_norms and (not self.code_kernel or self.tanh or self.pixel_range != "signed"):
            raise ValueError("spatial norms need convolutions around the codes, pixels in [-1, 1] and no tanh")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout {self.dropout} is not in [0, 1)")

    @property
    def downsampling_factor(self) -> int:
        """f: pixels along a side for a token."""
        return int(2 ** (len(self.channel_multipliers) - 1))

    @property
    def quantized_channels(self) -> int:
        """Channels of the latents that are quantised."""
        return self.code_channels or self.latent_channels

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)

    @property
    def stage_sides(self) -> tuple[int, ...]:
        """Side of each stage, in positions, at a training picture of `resolution`."""
        return tuple(self.resolution >> stage for stage in range(len(self.channel_multipliers)))

    @property
    def attention_stages(self) -> tuple[bool, ...]:
        """Whether a stage has attention after each of its blocks, for each stage."""
        return tuple(side in self.attention_resolutions for side in self.stage_sides)


def outputs(shapes: Mapping[str, tuple[int, ...]], name: str) -> int:
    """First dimension of a tensor: channels that a convolution gives out. Raises ValueError when there is none."""
    shape = shapes.get(name, ())
    if not shape or not shape[0]:
        raise ValueError(f"no state dict of an official stage-1 model: missing: {name}")
    return shape[0]


def _children(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> set[str]:
    """The parts of names that come next after `prefix`."""
    return {name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)}


_COUNTS = ("channels", "residual_blocks", "resolution", "latent_channels", "picture_channels")
PIXEL_RANGES = ("signed", "unit")
#: fields that cards of before do not have: left out of a card where they have their defaults, so that ids stay
LATER_FIELDS = (
    "picture_channels",
    "middle_attention",
    "pixel_range",
    "tanh",
    "code_kernel",
    "code_channels",
    "spatial_norms",
)
