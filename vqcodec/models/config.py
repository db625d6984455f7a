"""The shape of the networks, as saved in a model card. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class AutoencoderConfig:
    """Shape of the networks. Widths and depths are listed from the stride of `patch` to the coarsest one."""

    patch: int = 4
    encoder_widths: tuple[int, ...] = (64, 160, 320)
    encoder_depths: tuple[int, ...] = (1, 2, 2)
    encoder_hidden: tuple[float, ...] = (0.5, 0.5, 1.0)
    decoder_widths: tuple[int, ...] = (64, 160, 320)
    decoder_depths: tuple[int, ...] = (1, 2, 3)
    decoder_hidden: tuple[float, ...] = (1.0, 0.5, 1.0)
    latent_channels: int = 256
    codebook_sizes: tuple[int, ...] = (1024, 1024, 1024, 1024)
    code_dimension: int = 8

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> AutoencoderConfig:
        """From JSON's lists and numbers. Raises TypeError for unknown names."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)

    def __post_init__(self) -> None:
        stages = {len(getattr(self, name)) for name in _STAGE_FIELDS}
        if len(stages) != 1:
            raise ValueError(f"{', '.join(_STAGE_FIELDS)} must have equal lengths")
        if not self.codebook_sizes:
            raise ValueError("at least one codebook is needed")

    @property
    def downsampling_factor(self) -> int:
        """f: pixels along a side for a token."""
        return self.patch * 2 ** (len(self.encoder_widths) - 1)

    @property
    def levels(self) -> int:
        return len(self.codebook_sizes)


_STAGE_FIELDS = (
    "encoder_widths",
    "encoder_depths",
    "encoder_hidden",
    "decoder_widths",
    "decoder_depths",
    "decoder_hidden",
)
