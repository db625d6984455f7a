"""The codecs that are compared: ours, and the anchors that people would use instead.

Every codec is an `ImageCodec`: 8-bit sRGB pixels to the bytes of a whole file and back.
"""

from __future__ import annotations

import io
from collections.abc import MutableMapping, Sequence
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.codec import Codec

#: (H, W, 3) uint8, 0..255, sRGB
Pixels: TypeAlias = NDArray[np.uint8]
#: what a codec is told about the rate: a level count, a quality, a distance
Setting: TypeAlias = int | float

#: how often AVIF pictures are reduced: once each way, at full size and by these factors
AVIF_SCALES: Final = (1, 2, 3, 4)
_AVIF_SPEED: Final = 4


class ImageCodec(Protocol):
    """What the benchmarks ask of a codec."""

    @property
    def name(self) -> str:
        """Names the codec and everything but the setting that decides its bytes. Results are kept under it."""

    @property
    def settings(self) -> Sequence[Setting]:
        """All settings, from the smallest file to the largest."""

    def encode(self, rgb: Pixels, setting: Setting) -> bytes:
        """The whole file of a picture (H, W, 3) uint8, header included."""

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        """The picture (height, width, 3) uint8. `width` and `height` are the true size of the picture in pixels.

        A codec that reduces the picture needs the size and is told it for nothing: this favours the anchors by about
        three bytes a file.
        """


class VQ:
    """This codec with one model; a setting is a number of levels, 1..L."""

    def __init__(self, codec: Codec, entropy: str | None = None, levels: Sequence[int] = ()) -> None:
        """`entropy`: uniform or static; by default the model's best. `levels`: the settings; by default all."""
        self._codec = codec
        self.entropy = entropy or codec.default_entropy
        self.name = f"vq:{codec.card.name}:{codec.card.model_id.hex()}:{self.entropy}"
        self.settings: tuple[Setting, ...] = tuple(levels) or tuple(range(1, codec.card.autoencoder.levels + 1))

    def encode(self, rgb: Pixels, setting: Setting) -> bytes:
        return self._codec.encode(rgb, levels=int(setting), entropy=self.entropy)

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        return self._codec.decode_stream(data).image.rgb


class ScaledAvif:
    """AVIF of the picture reduced by `scale`, and enlarged again after decoding; a setting is Pillow's quality, 0..100.

    Pillow, speed 4, 4:2:0, one tile (tiles are faster, but cost bytes), no metadata; Lanczos down and up. Reduced sides
    are rounded up. The bytes are those of the whole file, of which the container takes about 300.
    """

    def __init__(self, scale: int) -> None:
        """`scale`: 1 for full size, 2 for half the width and height, and so on."""
        if scale < 1:
            raise ValueError(f"scale {scale}: must be at least 1")
        self.scale = scale
        self.name = "avif" if scale == 1 else f"avif/{scale}"
        self.settings: tuple[Setting, ...] = tuple(range(101))

    def encode(self, rgb: Pixels, setting: Setting) -> bytes:
        image = Image.fromarray(rgb)
        reduced = (-(-image.width // self.scale), -(-image.height // self.scale))
        buffer = io.BytesIO()
        _resized(image, reduced).save(
            buffer, "AVIF", quality=int(setting), speed=_AVIF_SPEED, subsampling="4:2:0", autotiling=False
        )
        return buffer.getvalue()

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        with Image.open(io.BytesIO(data), formats=["AVIF"]) as image:
            return np.asarray(_resized(image.convert("RGB"), (width, height)))


def avif_anchors(scales: Sequence[int] = AVIF_SCALES) -> list[ImageCodec]:
    """AVIF at full size and reduced."""
    return [ScaledAvif(scale) for scale in scales]


def nearest_bytes(
    codec: ImageCodec, rgb: Pixels, target_bytes: int, *, tried: MutableMapping[Setting, bytes] | None = None
) -> tuple[Setting, bytes]:
    """The setting of `codec` whose file is nearest to `target_bytes` without being smaller, and that file.

    So an anchor never has fewer bytes than what it is compared with, where it can: it is the lowest setting that gives
    at least `target_bytes`, found by bisection, which takes the size to grow with the setting. When even the highest
    setting gives fewer bytes, it is that one. `tried`: files of this picture by setting, looked up and added to.
    """
    files = {} if tried is None else tried

    def file(position: int) -> bytes:
        setting = codec.settings[position]
        if setting not in files:
            files[setting] = codec.encode(rgb, setting)
        return files[setting]

    low, high = 0, len(codec.settings) - 1
    if len(file(low)) >= target_bytes:  # often so at very low rates, where no search is needed
        return codec.settings[low], file(low)
    while low < high:
        middle = (low + high) // 2
        if len(file(middle)) >= target_bytes:
            high = middle
        else:
            low = middle + 1
    return codec.settings[low], file(low)


def _resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)
