"""The shape of the networks, as saved in a model card. Imports no torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, TypeAlias

from vqcodec.models.magvit_config import MagvitConfig
from vqcodec.models.maskgit_config import MaskgitConfig
from vqcodec.models.taming_config import LATER_FIELDS, TamingConfig
from vqcodec.pictures.label_maps import LABEL_MAPS

PADDINGS: Final = ("zeros", "replicate")
CODEBOOKS: Final = ("average", "gradient", "sim", "gumbel")
LOOKUPS: Final = ("lifted", "cosine", "euclidean", "product")
GRADIENTS: Final = ("straight-through", "rotation")
#: of an autoencoder, as training names what it holds; codebooks with their projections
PARTS: Final = ("encoder", "codebooks", "decoder")
LARGEST_CODEBOOK: Final = 262_144
LARGEST_FACTOR: Final = 32


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: _as_tuple(value) for key, value in values.items()}


def _as_tuple(value: Any) -> Any:
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value


@dataclass(frozen=True)
class QuantizerConfig:
    """Levels of codes, coarse to fine.

    codebook_sizes: K of each level, 2..262144. code_dimension: D. codebook: how codes learn, by moving "average", by
    the "gradient" of the codebook loss, as "sim" (SimVQ), or chosen by logits, "gumbel". lookup: the space of the
    codes, see `vqcodec.models.quantizer.VectorQuantizer`. gradient: what the Encoder gets. level_strides: of each
    level's token grid, in positions of the latent, () for 1 at all levels.
    """

    codebook_sizes: tuple[int, ...] = (1024, 1024, 1024, 1024)
    code_dimension: int = 8
    codebook: str = "average"
    lookup: str = "lifted"
    gradient: str = "straight-through"
    level_strides: tuple[int, ...] = ()
    #: in their place the rows, and columns, of each level's grid, the last those of the latent, of a model for square
    #: pictures of one size (`vqcodec.models.multi_scale`); () for pictures of any size
    level_grids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.codebook_sizes or not all(2 <= size <= LARGEST_CODEBOOK for size in self.codebook_sizes):
            raise ValueError(f"codebook sizes {self.codebook_sizes}: one or more of 2 to {LARGEST_CODEBOOK}")
        if self.level_strides and len(self.level_strides) != len(self.codebook_sizes):
            raise ValueError("there must be as many level strides as codebook sizes, or none")
        _at_least(1, self, "level_strides")
        if self.level_grids:
            self._check_grids()
        elif any(coarse % fine for coarse, fine in zip(self.strides, self.strides[1:], strict=False)):
            raise ValueError(f"level strides {self.level_strides}: each must be a multiple of the next")
        _one_of("codebook", self.codebook, CODEBOOKS)
        _one_of("lookup", self.lookup, LOOKUPS)
        _one_of("gradient", self.gradient, GRADIENTS)
        _at_least(2 if self.lookup == "lifted" and self.codebook != "gumbel" else 1, self, "code_dimension")

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes)

    def _check_grids(self) -> None:
        if self.level_strides or len(self.level_grids) != len(self.codebook_sizes):
            raise ValueError("there must be as many level grids as codebook sizes and no level strides, or no grids")
        if not 1 <= min(self.level_grids) <= max(self.level_grids) == self.level_grids[-1]:
            raise ValueError(
                f"level grids {self.level_grids}: from 1, and the last, that of the latent, is the largest"
            )

    @property
    def strides(self) -> tuple[int, ...]:
        """Of every level. Raises ValueError for levels with grids of one size, which may have no whole strides."""
        if self.level_grids:
            raise ValueError(f"levels with grids of {self.level_grids} tokens a side have no strides")
        return self.level_strides or (1,) * len(self.codebook_sizes)

    @property
    def exact_strides(self) -> tuple[Fraction, ...]:
        """The same of levels of any kind."""
        if self.level_grids:
            return tuple(Fraction(self.level_grids[-1], side) for side in self.level_grids)
        return tuple(map(Fraction, self.strides))

    @property
    def several_resolutions(self) -> bool:
        """Whether levels have grids of other sizes than the latent."""
        return set(self.exact_strides) != {1}


@dataclass(frozen=True)
class CompactConfig:
    """The default networks. Widths and depths are listed from the stride of `patch` to the coarsest one.

    padding: what 3x3 convolutions see beyond the picture's border: "zeros", or "replicate", its last row or column.
    """

    patch: int = 4
    encoder_widths: tuple[int, ...] = (64, 160, 320)
    encoder_depths: tuple[int, ...] = (0, 1, 2)
    encoder_hidden: tuple[float, ...] = (0.5, 0.5, 0.5)
    decoder_widths: tuple[int, ...] = (64, 160, 320)
    decoder_depths: tuple[int, ...] = (1, 1, 2)
    decoder_hidden: tuple[float, ...] = (1.0, 0.5, 0.5)
    latent_channels: int = 128
    padding: str = "replicate"

    def __post_init__(self) -> None:
        if len({len(getattr(self, name)) for name in _STAGE_FIELDS}) != 1:
            raise ValueError(f"{', '.join(_STAGE_FIELDS)} must have equal lengths")
        _at_least(1, self, "encoder_widths", "decoder_widths", "latent_channels")
        _at_least(0, self, "encoder_depths", "decoder_depths")
        if self.downsampling_factor not in (1, 2, 4, 8, 16, LARGEST_FACTOR):
            raise ValueError(f"a downsampling factor of {self.downsampling_factor}: take a power of two up to 32")
        _one_of("padding", self.padding, PADDINGS)

    @property
    def downsampling_factor(self) -> int:
        """f: pixels along a side for a position of the latent."""
        return int(self.patch * 2 ** (len(self.encoder_widths) - 1))


@dataclass(frozen=True)
class HierarchicalConfig:
    """Networks with coarse levels at 2 f and fine ones at f, see `vqcodec.models.hierarchical`.

    Widths, depths and hidden shares are of strides patch, f and 2 f, where f is twice `patch`. decoder_depths: at
    stride patch before and after the picture of the linear maps comes in. merging_depth: blocks of the Encoder that see
    what the coarse tokens decode to. latent_channels, laps: of the coarse and of the fine levels; a patch of pixels
    laps so many pixels over its neighbours. start_chroma: what chroma counts where training starts from the data.
    """

    patch: int = 4
    widths: tuple[int, int, int] = (64, 160, 320)
    encoder_depths: tuple[int, int, int] = (0, 1, 2)
    merging_depth: int = 1
    decoder_depths: tuple[tuple[int, int], int, int] = ((1, 1), 3, 2)
    decoder_hidden: tuple[float, float, float] = (1.0, 0.5, 0.5)
    latent_channels: tuple[int, int] = (128, 96)
    laps: tuple[int, int] = (8, 4)
    start_chroma: float = 2.0

    def __post_init__(self) -> None:
        if self.patch not in (1, 2, 4, 8):
            raise ValueError(f"patch {self.patch}: take 1, 2, 4 or 8")
        _at_least(1, self, "widths", "latent_channels")
        _at_least(0, self, "encoder_depths", "merging_depth", "decoder_depths")
        for lap, side in zip(self.laps, (2 * self.downsampling_factor, self.downsampling_factor), strict=True):
            if not 0 <= lap <= side // 2:
                raise ValueError(f"a lap of {lap} pixels: take 0 to {side // 2}, half of a patch")

    @property
    def downsampling_factor(self) -> int:
        """f: pixels along a side for a position of the fine latent."""
        return 2 * self.patch


NetworksConfig: TypeAlias = CompactConfig | TamingConfig | MaskgitConfig | MagvitConfig | HierarchicalConfig


@dataclass(frozen=True)
class AutoencoderConfig:
    """Encoder and Decoder, and what lies between them.

    label_map: "" for pictures, or what a picture is turned into first, a key of
    `vqcodec.pictures.label_maps.LABEL_MAPS`.
    """

    networks: NetworksConfig = field(default_factory=CompactConfig)
    quantizer: QuantizerConfig = field(default_factory=QuantizerConfig)
    label_map: str = ""

    def __post_init__(self) -> None:
        if self.label_map:
            _one_of("label map", self.label_map, tuple(LABEL_MAPS))
            if not isinstance(self.networks, CompactConfig):
                raise ValueError("label maps need the compact networks; all others take pictures only")
        if self.quantizer.level_grids:
            if not isinstance(self.networks, TamingConfig):
                raise ValueError("grids of one size need the paper's networks")
            grids = tuple(-(-self.picture_side // factor) for factor in self.level_factors)
            if grids != self.quantizer.level_grids:
                raise ValueError(
                    f"level grids {self.quantizer.level_grids}: no whole number of pixels a token gives them"
                )
        if isinstance(self.networks, HierarchicalConfig):
            strides = self.quantizer.strides
            if set(strides) != {1, 2} or len(strides) < 2:
                raise ValueError(f"level strides {strides}: hierarchical networks take coarse levels, 2, then fine, 1")

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AutoencoderConfig:
        """From `to_dict`, or what JSON makes of it. Raises TypeError for unknown names, KeyError for missing ones."""
        shape = dict(values["networks"])
        kind = _NETWORKS[shape.pop("kind")]
        quantizer = QuantizerConfig(**_tuples(values["quantizer"]))
        return cls(kind(**_tuples(shape)), quantizer, values.get("label_map", ""))

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it. That of a model of pictures says nothing of label maps, as before there were any."""
        kind = next(name for name, config in _NETWORKS.items() if isinstance(self.networks, config))
        values = {
            "networks": {"kind": kind} | _stated(self.networks),
            "quantizer": _stated(self.quantizer),
        }
        return values | {"label_map": self.label_map} if self.label_map else values

    @property
    def channels(self) -> int:
        """Of what the Encoder takes and the Decoder gives: red, green and blue, or the classes of a label map."""
        if isinstance(self.networks, TamingConfig):
            return self.networks.picture_channels
        return LABEL_MAPS[self.label_map].classes if self.label_map else 3

    @property
    def downsampling_factor(self) -> int:
        """f: pixels along a side for a position of the latent."""
        return self.networks.downsampling_factor

    @property
    def level_factors(self) -> tuple[int, ...]:
        """Pixels along a side for a token, of each level; of grids of one size rounded up."""
        if self.quantizer.level_grids:
            return tuple(-(-self.picture_side // side) for side in self.quantizer.level_grids)
        return tuple(self.downsampling_factor * stride for stride in self.quantizer.strides)

    @property
    def level_rates(self) -> tuple[float, ...]:
        """Bits per pixel of each level at fixed length."""
        sides = [self.downsampling_factor * stride for stride in self.quantizer.exact_strides]
        sizes = self.quantizer.codebook_sizes
        return tuple(math.log2(size) / float(side) ** 2 for size, side in zip(sizes, sides, strict=True))

    @property
    def picture_side(self) -> int:
        """Pixels along a side of the pictures of a model for square ones of one size; 0 for one for all sizes."""
        return self.downsampling_factor * self.quantizer.level_grids[-1] if self.quantizer.level_grids else 0

    @property
    def coarse_levels(self) -> int:
        """How many levels have tokens of 2 f pixels, where there are two resolutions of latents; else 0."""
        return self.quantizer.strides.count(2) if isinstance(self.networks, HierarchicalConfig) else 0

    @property
    def levels(self) -> int:
        """L."""
        return self.quantizer.levels


def _stated(config: NetworksConfig | QuantizerConfig) -> dict[str, Any]:
    """All fields, but those that came later and have their defaults."""
    values = dataclasses.asdict(config)
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    later = (*LATER_FIELDS, "level_grids")
    return {key: value for key, value in values.items() if key not in later or value != defaults[key]}


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} {value!r}: there are {', '.join(known)}")


def _at_least(least: int, config: Any, *names: str) -> None:
    """Raises ValueError for fields of counts, alone or in tuples, with one below `least`."""
    for name in names:
        value = getattr(config, name)
        if any(count < least for count in _flat(value)):
            raise ValueError(f"{name} {value}: there must be {least} or more")


def _flat(value: Any) -> list[Any]:
    return [count for each in value for count in _flat(each)] if isinstance(value, tuple) else [value]


_NETWORKS: Final[dict[str, type[NetworksConfig]]] = {
    "compact": CompactConfig,
    "hierarchical": HierarchicalConfig,
    "magvit": MagvitConfig,
    "maskgit": MaskgitConfig,
    "taming": TamingConfig,
}
_STAGE_FIELDS: Final = (
    "encoder_widths",
    "encoder_depths",
    "encoder_hidden",
    "decoder_widths",
    "decoder_depths",
    "decoder_hidden",
)
