"""RD points and the file that they are kept in: JSON lines, one point a line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

from vqcodec.benchmarks.common.result_lines import append_results, parsed_fields, read_results
from vqcodec.benchmarks.rate_distortion.codecs import RateSetting


@dataclass(frozen=True)
class RDPoint:
    """One picture through one codec at one setting.

    codec: `ImageCodec.name`. image: its path below the folder of pictures. pixels_crc32: of its (H, W, 3) uint8 pixels.
    bytes: of the whole file, header included. width, height: pixels. psnr_db: dB, infinite for a lossless codec.
    ms_ssim, lpips, lpips_vgg, dists: see `vqcodec.benchmarks.rate_distortion.metrics`; None where not measured.
    encode_seconds, decode_seconds: from pixels to bytes and back, once, warm.
    """

    codec: str
    setting: RateSetting
    image: str
    pixels_crc32: int
    bytes: int
    width: int
    height: int
    psnr_db: float
    ms_ssim: float | None
    lpips: float | None
    lpips_vgg: float | None
    dists: float | None
    encode_seconds: float
    decode_seconds: float

    @property
    def bits_per_pixel(self) -> float:
        """The bits of the whole file, header included, for each pixel of the picture."""
        return 8 * self.bytes / (self.width * self.height)

    @property
    def key(self) -> PointKey:
        """What was asked for; points with the same key hold the same measurement."""
        return self.codec, self.image, self.pixels_crc32, self.setting

    def to_json(self) -> str:
        """One line, without the line end. An infinite PSNR is written as null."""
        values: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        values["bits_per_pixel"] = self.bits_per_pixel
        values["psnr_db"] = None if math.isinf(self.psnr_db) else self.psnr_db
        return json.dumps(values, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> RDPoint:
        """The inverse of `to_json`. Raises ValueError with a reason."""
        values = parsed_fields(line, [*(field.name for field in fields(cls)), "bits_per_pixel"], "an RD point")
        stated = values.pop("bits_per_pixel")
        for name, kinds in _KINDS.items():
            if not isinstance(values[name], kinds) or isinstance(values[name], bool):
                raise ValueError(f"{name} is {values[name]!r}")
        point = cls(**values | {"psnr_db": math.inf if values["psnr_db"] is None else values["psnr_db"]})
        if min(point.width, point.height, point.bytes) < 1 or not math.isclose(stated, point.bits_per_pixel):
            raise ValueError("bits_per_pixel does not follow from bytes, width and height")
        return point


#: codec, image, CRC-32 of its pixels, setting
PointKey: TypeAlias = tuple[str, str, int, RateSetting]

_NUMBER = (int, float)
_OPTIONAL_NUMBER = (int, float, type(None))
_KINDS: dict[str, tuple[type, ...]] = {
    "codec": (str,),
    "setting": _NUMBER,
    "image": (str,),
    "pixels_crc32": (int,),
    "bytes": (int,),
    "width": (int,),
    "height": (int,),
    "psnr_db": _OPTIONAL_NUMBER,
    "ms_ssim": _OPTIONAL_NUMBER,
    "lpips": _OPTIONAL_NUMBER,
    "lpips_vgg": _OPTIONAL_NUMBER,
    "dists": _OPTIONAL_NUMBER,
    "encode_seconds": _NUMBER,
    "decode_seconds": _NUMBER,
}


def read_points(path: Path) -> tuple[list[RDPoint], list[str]]:
    """The points of a results file, and a message with file and line number for each line that holds none.

    A file that does not exist is an empty one.
    """
    return read_results(path, RDPoint.from_json, "its point is measured again")


def append_points(path: Path, points: Iterable[RDPoint]) -> None:
    """Add lines to a results file; a last line that was cut off keeps its own line."""
    append_results(path, [point.to_json() for point in points])
