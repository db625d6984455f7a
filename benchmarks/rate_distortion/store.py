"""What a run keeps beside its results: decoded pictures to look at, and features for the Fréchet distance."""

from __future__ import annotations

import re
import zlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vqcodec.benchmarks.rate_distortion.codecs import RateSetting
from vqcodec.benchmarks.rate_distortion.frechet import frechet_distance
from vqcodec.benchmarks.rate_distortion.points import PointKey, RDPoint
from vqcodec.pictures.arrays import Pixels
from vqcodec.whole_files import replacing

_ORIGINAL: Final = "original"
#: of the WebP copies
PICTURE_QUALITY: Final = 92


@dataclass(frozen=True)
class Store:
    """A folder. Pictures are WebP copies, near enough to look at; what is measured are the pictures themselves.

    pictures/IMAGE-CRC/CODEC_SETTING.webp and features/IMAGE-CRC/CODEC_SETTING.npy, (n, 512) float32.
    """

    folder: Path
    wants_pictures: bool
    wants_features: bool

    def has(self, key: PointKey) -> bool:
        """Whether everything that is wanted of this point is there."""
        return all(path.is_file() for path in self._wanted(key))

    def keep(self, key: PointKey, rgb: Pixels, features: NDArray[np.float32] | None) -> None:
        """Write what is wanted of a decoded picture (H, W, 3) uint8; `features` are needed when they are wanted."""
        for path in self._wanted(key):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                if path.suffix == ".npy":
                    assert features is not None
                    np.save(file, features)
                else:
                    Image.fromarray(rgb).save(file, "WEBP", quality=PICTURE_QUALITY, method=2)

    def picture(self, key: PointKey) -> Path:
        """Where the copy of a decoded picture lies, if it is there."""
        return self._path("pictures", key, "webp")

    def features(self, key: PointKey) -> NDArray[np.float32]:
        """(n, 512) of a decoded picture."""
        values: NDArray[np.float32] = np.load(self._path("features", key, "npy"))
        return values

    def _wanted(self, key: PointKey) -> list[Path]:
        paths = []
        if self.wants_pictures:
            paths.append(self.picture(key))
        if self.wants_features:
            paths.append(self._path("features", key, "npy"))
        return paths

    def _path(self, kind: str, key: PointKey, suffix: str) -> Path:
        codec, image, crc32, setting = key
        return self.folder / kind / f"{_file_name(image)}-{crc32:08x}" / f"{_file_name(codec)}_{setting}.{suffix}"


def original_key(image: str, crc32: int) -> PointKey:
    """Under which the picture itself is kept."""
    return _ORIGINAL, image, crc32, 0


def _file_name(name: str) -> str:
    """A name that any file system takes and a URL needs no escapes for; different for different names."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "-", name)
    return plain if plain == name else f"{plain}-{zlib.crc32(name.encode()):08x}"


def frechet_distances(points: Iterable[RDPoint], store: Store) -> dict[tuple[str, RateSetting], float]:
    """Of the decoded pictures from the originals, by codec and setting, from the features that `store` keeps."""
    by_setting: dict[tuple[str, RateSetting], list[RDPoint]] = defaultdict(list)
    for point in points:
        by_setting[point.codec, point.setting].append(point)
    distances = {}
    for key, points_of_setting in by_setting.items():
        originals = [store.features(original_key(point.image, point.pixels_crc32)) for point in points_of_setting]
        decoded = [store.features(point.key) for point in points_of_setting]
        distances[key] = frechet_distance(np.concatenate(originals), np.concatenate(decoded))
    return distances
