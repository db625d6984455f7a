"""Rate and distortion of codecs on a folder of pictures, by the real bytes of whole files."""

from __future__ import annotations

import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from vqcodec.benchmarks.codecs import ImageCodec, Pixels, Setting, nearest_bytes
from vqcodec.benchmarks.metrics import Metrics
from vqcodec.benchmarks.points import PointKey, RDPoint, append_points, point_key, read_points
from vqcodec.image import load_image


@dataclass(frozen=True)
class Run:
    """points: all that were asked for and could be had. failures: a line for each picture or codec that failed.

    damaged: a line for each line of the results file that could not be read. measured: how many points are new.
    """

    points: tuple[RDPoint, ...]
    failures: tuple[str, ...]
    damaged: tuple[str, ...]
    measured: int


def find_images(folder: Path) -> dict[str, Path]:
    """The picture files below a folder by their path in it, sorted; by extension, hidden files left out."""
    Image.init()
    suffixes = set(Image.EXTENSION)
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {name: path for name, path in names.items() if not any(part.startswith(".") for part in name.split("/"))}


def count_points(images: int, codecs: Sequence[ImageCodec], anchors: Sequence[ImageCodec] = ()) -> int:
    """How many points `run` makes of so many pictures, those that are there already included."""
    return images * sum(len(codec.settings) for codec in codecs) * (1 + len(anchors))


def run(
    images: Mapping[str, Path],
    codecs: Sequence[ImageCodec],
    metrics: Metrics,
    results_path: Path,
    *,
    anchors: Sequence[ImageCodec] = (),
    progress: Callable[[int], object] = lambda points: None,
) -> Run:
    """Measure every codec at every setting, and every anchor at the nearest bytes to each of these points.

    Points go into `results_path` as soon as they are there; what it holds already is not measured again, unless it
    lacks a metric that `metrics` has now. A picture that cannot be read, or that a codec fails on, is left out as a
    whole, so that all means are over the same pictures. `progress` is called with the number of points that are done
    since the last call; in all they are `count_points`.
    """
    known, damaged = read_points(results_path)
    measurements = _Measurements(metrics, results_path, known)
    points: list[RDPoint] = []
    failures: list[str] = []
    for name, path in images.items():
        left = count_points(1, codecs, anchors)
        of_picture = []
        try:
            for point in measurements.points_of(_Picture(name, load_image(path, alpha="drop").rgb), codecs, anchors):
                of_picture.append(point)
                progress(1)
                left -= 1
            points += of_picture
        except (ValueError, OSError) as error:
            line = " ".join(str(error).split())
            failures.append(line if line.startswith(str(path)) else f"{path}: {line}")
            progress(left)
    return Run(tuple(points), tuple(failures), tuple(damaged), measurements.measured)


class _Picture:
    """A picture (H, W, 3) uint8, and the files that anchors made of it, by codec and setting."""

    def __init__(self, name: str, rgb: Pixels) -> None:
        self.name, self.rgb = name, rgb
        self.height, self.width = rgb.shape[:2]
        self.crc32 = zlib.crc32(rgb.tobytes())
        self.files: dict[str, dict[Setting, bytes]] = defaultdict(dict)


class _Measurements:
    """Looks points up, measures those that are missing and keeps them."""

    def __init__(self, metrics: Metrics, results_path: Path, known: Sequence[RDPoint]) -> None:
        self._metrics, self._results_path = metrics, results_path
        self._by_key = {point.key: point for point in known}
        self._by_setting = {_setting_key(point): point for point in known}
        self._warm: set[tuple[str, int, int]] = set()
        self.measured = 0

    def points_of(
        self, picture: _Picture, codecs: Sequence[ImageCodec], anchors: Sequence[ImageCodec]
    ) -> Iterator[RDPoint]:
        for codec in codecs:
            for setting in codec.settings:
                point = self._point(picture, codec, setting, None)
                yield point
                for anchor in anchors:
                    yield self._point(picture, anchor, None, point.bytes)

    def _point(
        self, picture: _Picture, codec: ImageCodec, setting: Setting | None, target_bytes: int | None
    ) -> RDPoint:
        key = point_key(codec.name, picture.name, picture.crc32, setting, target_bytes)
        found = self._by_key.get(key)
        if found is not None and self._is_whole(found):
            return found
        if setting is None:
            assert target_bytes is not None
            setting, _ = nearest_bytes(codec, picture.rgb, target_bytes, tried=picture.files[codec.name])
        same = self._by_setting.get(point_key(codec.name, picture.name, picture.crc32, setting))
        if same is None or not self._is_whole(same):
            same = self._measure(picture, codec, setting)
        point = replace(same, target_bytes=target_bytes)
        append_points(self._results_path, [point])
        self._by_key[key] = self._by_setting[_setting_key(point)] = point
        return point

    def _is_whole(self, point: RDPoint) -> bool:
        return all(getattr(point, name) is not None for name in self._metrics.names_for(point.width, point.height))

    def _measure(self, picture: _Picture, codec: ImageCodec, setting: Setting) -> RDPoint:
        width, height = picture.width, picture.height
        if (codec.name, width, height) not in self._warm:
            codec.decode(codec.encode(picture.rgb, setting), width, height)
            self._warm.add((codec.name, width, height))
        started = time.perf_counter()
        data = codec.encode(picture.rgb, setting)
        encoded = time.perf_counter()
        decoded = codec.decode(data, width, height)
        finished = time.perf_counter()
        values = self._metrics.measure(picture.rgb, decoded)
        self.measured += 1
        return RDPoint(
            codec=codec.name,
            setting=setting,
            image=picture.name,
            pixels_crc32=picture.crc32,
            bytes=len(data),
            width=width,
            height=height,
            psnr_db=values["psnr_db"],
            ms_ssim=values.get("ms_ssim"),
            lpips=values.get("lpips"),
            dists=values.get("dists"),
            encode_seconds=encoded - started,
            decode_seconds=finished - encoded,
        )


def _setting_key(point: RDPoint) -> PointKey:
    return point_key(point.codec, point.image, point.pixels_crc32, point.setting)
