"""What a codec is to the benchmarks, and ours as one of them. The others are in
`vqcodec.benchmarks.rate_distortion.anchors`.

Every codec is an `ImageCodec`: 8-bit sRGB pixels to the bytes of a whole file and back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from vqcodec.codec import Codec
from vqcodec.generation.refinement import Refiner
from vqcodec.pictures.arrays import Pixels

#: what a codec is told about the rate: a level count, a quality, a distance
RateSetting: TypeAlias = int | float
#: in the names of our codecs whose settings are qualities and not levels
BY_QUALITY: Final = ", by quality"


class ImageCodec(Protocol):
    """What the benchmarks ask of a codec."""

    @property
    def name(self) -> str:
        """Names the codec and everything but the setting that decides its bytes. Results are kept under it."""

    @property
    def settings(self) -> Sequence[RateSetting]:
        """The settings that its RD curve is drawn through, from the smallest file to the largest."""

    def encode(self, rgb: Pixels, setting: RateSetting) -> bytes:
        """The whole file of a picture (H, W, 3) uint8, header included."""

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        """The picture (height, width, 3) uint8. `width` and `height` are the true size of the picture in pixels.

        A codec that reduces the picture needs the size and is told it for nothing: this favours the anchors by about
        three bytes a file.
        """


class VQ:
    """This codec with one model; a setting is a number of levels, 1..L, or a quality, 0..100."""

    def __init__(
        self,
        codec: Codec,
        entropy: str | None = None,
        levels: Sequence[int] = (),
        *,
        qualities: Sequence[float] = (),
        refiner: Refiner | None = None,
    ) -> None:
        """`entropy`: by default the codec's. `levels`: the settings, by default all. `qualities`: in their place. What
        is given twice counts once.

        `refiner`: of latents, which then are not the Encoder's.
        """
        self.codec = codec
        self.entropy = entropy or codec.default_entropy
        self._is_quality, self._refiner = bool(qualities), refiner
        self.name = f"vq:{codec.card.name}:{codec.card.model_id.hex()}:{self.entropy}"
        self.name += BY_QUALITY if qualities else ""
        self.name += f", refined in {refiner.steps} steps" if refiner else ""
        counts = levels or range(1, codec.card.autoencoder.levels + 1)
        self.settings: tuple[RateSetting, ...] = tuple(sorted(set(qualities or counts)))

    def encode(self, rgb: Pixels, setting: RateSetting) -> bytes:
        if self._is_quality:
            return self.codec.encode(rgb, quality=setting, entropy=self.entropy, refine=self._refiner)
        return self.codec.encode(rgb, levels=int(setting), entropy=self.entropy, refine=self._refiner)

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        return self.codec.decode_stream(data).image.rgb
