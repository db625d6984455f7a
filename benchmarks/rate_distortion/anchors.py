"""The anchors: what people would use instead, at full size and reduced.

Below about 0.07 bit per pixel no classical codec works at full size, so the honest opponent reduces the picture first:
Lanczos down before encoding, Lanczos up after decoding. All code 4:2:0 where they can, without metadata.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image, features

from vqcodec.benchmarks.rate_distortion.codecs import RateSetting
from vqcodec.pictures.arrays import Pixels

#: how often pictures are reduced: width and height are divided by these, 1 for full size
SCALES: Final = (1, 2, 3, 4)
_THREADS: Final = os.cpu_count() or 1


class AnchorError(RuntimeError):
    """A codec that was asked for is not installed."""


@dataclass(frozen=True)
class Format:
    """An image format. missing: gives what is to be installed when the format is not there, else None.

    settings: by scale, from the smallest file to the largest, for 0.01 to more than 0.5 bit per pixel on photos.
    """

    name: str
    encode: Callable[[Pixels, RateSetting], bytes]
    decode: Callable[[bytes], Pixels]
    settings: Mapping[int, tuple[RateSetting, ...]]
    missing: Callable[[], str | None]


class Anchor:
    """An `ImageCodec`: a format, applied to the picture reduced by `scale` (reduced sides are rounded up)."""

    def __init__(self, image_format: Format, scale: int) -> None:
        """`scale`: 1 for full size, 2 for half the width and height, and so on."""
        if scale < 1:
            raise ValueError(f"scale {scale}: must be at least 1")
        self.format, self.scale = image_format, scale
        self.name = image_format.name if scale == 1 else f"{image_format.name}/{scale}"
        self.settings = image_format.settings[min(scale, max(image_format.settings))]

    def encode(self, rgb: Pixels, setting: RateSetting) -> bytes:
        height, width = rgb.shape[:2]
        return self.format.encode(_resized(rgb, -(-width // self.scale), -(-height // self.scale)), setting)

    def decode(self, data: bytes, width: int, height: int) -> Pixels:
        return _resized(self.format.decode(data), width, height)


def _resized(rgb: Pixels, width: int, height: int) -> Pixels:
    if rgb.shape[:2] == (height, width):
        return rgb
    return np.asarray(Image.fromarray(rgb).resize((width, height), Image.Resampling.LANCZOS))


def _with_pillow(
    kind: str, option: str, **fixed: Any
) -> tuple[Callable[[Pixels, RateSetting], bytes], Callable[[bytes], Pixels]]:
    """Encoder and decoder of one of Pillow's formats; `option` is the name under which it takes the setting."""

    def encode(rgb: Pixels, setting: RateSetting) -> bytes:
        buffer = io.BytesIO()
        value = [setting] if option == "quality_layers" else setting
        Image.fromarray(rgb).save(buffer, kind, **{option: value}, **fixed)
        return buffer.getvalue()

    def decode(data: bytes) -> Pixels:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            return np.asarray(image.convert("RGB"))

    return encode, decode


def _pillow_lacks(feature: str) -> Callable[[], str | None]:
    return lambda: None if features.check(feature) else f"a Pillow that was built with {feature}"


def _encode_jxl(rgb: Pixels, setting: RateSetting) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(rgb, distance=float(setting), effort=7, numthreads=_THREADS))


def _decode_jxl(data: bytes) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=_THREADS))


def _jxl_lacks() -> str | None:
    try:
        import imagecodecs
    except ImportError:
        return "imagecodecs (pip install 'vqcodec[bench]')"
    return None if imagecodecs.JPEGXL.available else "an imagecodecs that was built with libjxl"


FORMATS: Final = {
    entry.name: entry
    for entry in (
        Format(
            "jpeg",
            *_with_pillow("JPEG", "quality", optimize=True, subsampling="4:2:0"),
            {1: (1, 10, 40), 2: (1, 10, 40), 3: (5, 15, 55), 4: (3, 10, 30, 85)},
            _pillow_lacks("jpg"),
        ),
        Format(
            "webp",
            *_with_pillow("WEBP", "quality", method=6),
            {1: (0, 10, 40, 75), 2: (0, 5, 20, 60, 85), 3: (0, 20, 70), 4: (0, 5, 40, 88)},
            _pillow_lacks("webp"),
        ),
        Format(
            "avif",
            *_with_pillow("AVIF", "quality", speed=4, subsampling="4:2:0", autotiling=False),
            {1: (0, 15, 40, 55, 70), 2: (0, 15, 30, 50, 75), 3: (0, 20, 40, 60), 4: (0, 15, 30, 50, 75)},
            _pillow_lacks("avif"),
        ),
        Format(
            "jxl",
            _encode_jxl,
            _decode_jxl,
            {1: (25, 12, 4), 2: (25, 12, 6, 3, 1.5), 3: (20, 8, 2.5), 4: (25, 12, 5, 1.4)},
            _jxl_lacks,
        ),
        Format(
            "jpeg2000",
            *_with_pillow("JPEG2000", "quality_layers", quality_mode="rates", irreversible=True, no_jp2=True),
            {1: (600, 200, 60, 30), 2: (200, 80, 30), 3: (100, 40, 16), 4: (100, 50, 25, 10)},
            _pillow_lacks("jpg_2000"),
        ),
    )
}


def anchors(names: Sequence[str], scales: Sequence[int] = SCALES) -> list[Anchor]:
    """The anchors of these formats at these scales. Raises AnchorError for a format that cannot be used here."""
    for name in names:
        missing = FORMATS[name].missing()
        if missing:
            raise AnchorError(f"{name} needs {missing}; or leave {name} out of the codecs")
    return [Anchor(FORMATS[name], scale) for name in names for scale in scales]
