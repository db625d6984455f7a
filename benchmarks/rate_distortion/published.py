"""Published RD points, to be drawn beside measured ones: always as quoted, with where they come from.

The file is JSON; under the name of the pictures it has a list of curves:

    {"kodak": [{"codec": "X", "accuracy": "plot", "source": "...", "points": [{"bits_per_pixel": 0.03, "lpips": 0.2}]}]}

Points have the metrics of `vqcodec.benchmarks.rate_distortion.summary.METRICS`, or some of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from vqcodec.benchmarks.rate_distortion.summary import METRICS

#: what the usual words for accuracy mean
ACCURACIES: Final = {
    "exact": "from the authors' result file",
    "plot": "read off a figure, ± 5 %",
    "secondary": "from notes on the paper",
}


class PublishedError(ValueError):
    """A file of published points that cannot be used. The message is one line that names the file and the place."""


@dataclass(frozen=True)
class PublishedPoint:
    """metrics: by the names of `METRICS`; at least one."""

    bits_per_pixel: float
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class PublishedCurve:
    """accuracy: how the values were come by, see `ACCURACIES`. source: where. points: rising in bits per pixel."""

    codec: str
    accuracy: str
    source: str
    points: tuple[PublishedPoint, ...]


def read_published(path: Path, pictures: str = "kodak") -> list[PublishedCurve]:
    """The curves that were published for some `pictures`. Raises PublishedError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise PublishedError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise PublishedError(f"{path}: not JSON ({error}); see docs/benchmarks.md for what is in it") from error
    if not isinstance(content, dict) or not isinstance(content.get(pictures), list):
        raise PublishedError(f"{path}: has no list under {pictures!r}; see docs/benchmarks.md for what is in it")
    return [_curve(entry, f"{path}: {pictures}[{number}]") for number, entry in enumerate(content[pictures])]


def _curve(entry: Any, place: str) -> PublishedCurve:
    if not isinstance(entry, dict):
        raise PublishedError(f"{place}: is not an object")
    texts: dict[str, str] = {}
    for name in ("codec", "accuracy", "source"):
        text = entry.get(name)
        if not isinstance(text, str) or not text.strip():
            raise PublishedError(f"{place}: {name} must be a text, not {text!r}")
        texts[name] = text
    listed = entry.get("points")
    if not isinstance(listed, list) or not listed:
        raise PublishedError(f"{place}: points must be a list with something in it")
    points = [_point(values, f"{place}.points[{number}]") for number, values in enumerate(listed)]
    points.sort(key=lambda point: point.bits_per_pixel)
    return PublishedCurve(texts["codec"], texts["accuracy"], texts["source"], tuple(points))


def _point(values: Any, place: str) -> PublishedPoint:
    if not isinstance(values, dict):
        raise PublishedError(f"{place}: is not an object")
    unknown = sorted(set(values) - {"bits_per_pixel", *METRICS})
    if unknown:
        known = ", ".join(("bits_per_pixel", *METRICS))
        raise PublishedError(f"{place}: {unknown[0]!r} is not known; take some of {known}")
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise PublishedError(f"{place}: {name} must be a number, not {value!r}")
    metrics = {name: float(value) for name, value in values.items() if name != "bits_per_pixel"}
    if values.get("bits_per_pixel", 0) <= 0 or not metrics:
        raise PublishedError(f"{place}: needs bits_per_pixel, above 0, and a metric")
    return PublishedPoint(float(values["bits_per_pixel"]), metrics)
