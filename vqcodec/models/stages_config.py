"""What the configurations of networks in stages share. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from vqcodec.models.taming_config import NORM_GROUPS


@dataclass(frozen=True)
class StagesConfig:
    """Networks of convolutions in stages, counted from the pixels' own resolution to the coarsest one; each halves the
    sides.

    Raises ValueError for values from which no network can be made.
    """

    #: width of the first convolution, and what the multipliers multiply
    channels: int = 128
    #: width of each stage, in units of `channels`
    channel_multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    #: residual blocks of each stage and of the middle
    residual_blocks: int = 2
    latent_channels: int = 256

    def __post_init__(self) -> None:
        counts = (self.channels, self.residual_blocks, self.latent_channels, *self.channel_multipliers)
        if not self.channel_multipliers or not all(isinstance(count, int) and count >= 1 for count in counts):
            raise ValueError(f"{self}: whole numbers from 1 are needed")
        if any(width % NORM_GROUPS for width in (self.channels, *self.widths)):
            raise ValueError(f"widths {self.widths}: they must be multiples of {NORM_GROUPS}")

    @property
    def downsampling_factor(self) -> int:
        """f: pixels along a side for a token."""
        return int(2 ** (len(self.channel_multipliers) - 1))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * multiplier for multiplier in self.channel_multipliers)
