"""A viewer for pictures: the same picture from two codecs, left and right of a divider, with the numbers of both.

The page is `templates/viewer.html`; it loads a picture when it is first shown.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from PIL import Image

from vqcodec.benchmarks.rate_distortion.labels import METRIC_NOTES, RATE_NOTE, number
from vqcodec.benchmarks.rate_distortion.summary import METRICS

#: pixels, width and height at most
_THUMBNAIL: Final = (168, 112)
#: the first view's opponent has up to so many times our bytes
_NEAR: Final = 1.25
#: what decides which opponent is the strongest: the first of these that both have
_STRENGTH: Final = ("dists", "lpips", "ms_ssim", "psnr_db")
_RATE_ROWS: Final = (
    {"label": "bytes", "higher": False, "note": "Of the whole file, header included."},
    {"label": "bits per pixel", "higher": False, "note": RATE_NOTE},
)


@dataclass(frozen=True)
class Shown:
    """A picture as one codec at one setting gives it back.

    codec: its full name. setting, label: the setting and the codec as people read them; for one codec all settings
    differ. bytes: of the whole file. metrics: by the names of `METRICS`. source: URL of the picture.
    """

    codec: str
    setting: str
    label: str
    bytes: int
    bits_per_pixel: float
    metrics: Mapping[str, float | None]
    source: str


@dataclass(frozen=True)
class ViewerPicture:
    """width, height: pixels. thumbnail: a data URI. original: URL. original_bytes: of its file, where that is known."""

    name: str
    width: int
    height: int
    thumbnail: str
    original: str
    shown: tuple[Shown, ...]
    original_bytes: int | None = None


#: what is seen left and right at first; None is the original
FirstView: TypeAlias = tuple[Shown | None, Shown | None]


def first_view(picture: ViewerPicture, ours: Sequence[str]) -> FirstView:
    """Left our smallest file; right the strongest of the others with 1 to 1.25 times its bytes, else the nearest.

    The strongest and not the nearest, so that nobody is shown beside a straw man.
    """
    own = [shown for shown in picture.shown if shown.codec in ours]
    others = [shown for shown in picture.shown if shown.codec not in ours]
    if not own or not others:
        return None, min(picture.shown, key=lambda shown: shown.bytes, default=None)
    left = min(own, key=lambda shown: shown.bytes)
    near = [shown for shown in others if left.bytes <= shown.bytes <= _NEAR * left.bytes]
    nearest = min(others, key=lambda shown: abs(shown.bytes - left.bytes))
    return left, max(near, key=_strength(near), default=nearest)


def viewer_values(pictures: Sequence[ViewerPicture], first: FirstView) -> dict[str, Any]:
    """What the template and script of the viewer take: `pictures`, the `rows` of numbers, `data` for the script."""
    metrics = [name for name in METRICS if any(s.metrics.get(name) is not None for p in pictures for s in p.shown)]
    labels = {shown.codec: shown.label for picture in pictures for shown in picture.shown}
    codecs = list(labels)

    def entry(shown: Shown) -> list[Any]:
        values = [
            None if (value := shown.metrics.get(name)) is None else number(value, METRICS[name].digits)
            for name in metrics
        ]
        rate = number(shown.bits_per_pixel, 4)
        return [codecs.index(shown.codec), shown.setting, shown.bytes, rate, values, shown.source]

    return {
        "pictures": pictures,
        "rows": [
            *_RATE_ROWS,
            *(
                {"label": METRICS[name].label, "higher": METRICS[name].higher_is_better, "note": METRIC_NOTES[name]}
                for name in metrics
            ),
        ],
        "data": {
            "higher": [METRICS[name].higher_is_better for name in metrics],
            "codecs": [{"name": name, "label": labels[name]} for name in codecs],
            "pictures": [
                {
                    "name": picture.name,
                    "width": picture.width,
                    "height": picture.height,
                    "original": picture.original,
                    "bytes": picture.original_bytes,
                    "shown": [entry(shown) for shown in sorted(picture.shown, key=lambda shown: shown.bytes)],
                }
                for picture in pictures
            ],
            "first": [None if shown is None else [shown.codec, shown.setting] for shown in first],
        },
    }


def thumbnail(image: Image.Image) -> str:
    """A small copy as a data URI."""
    small = image.convert("RGB")
    small.thumbnail(_THUMBNAIL, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=60, method=4)
    return data_uri(buffer.getvalue(), "image/webp")


def data_uri(data: bytes, kind: str) -> str:
    """The content of a file as a URL; `kind` is its MIME type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _strength(candidates: Sequence[Shown]) -> Any:
    """A key that is largest for the best picture, by the first metric of `_STRENGTH` that all have."""
    for name in _STRENGTH:
        if all(shown.metrics.get(name) is not None for shown in candidates):
            sign = 1 if METRICS[name].higher_is_better else -1
            return lambda shown: sign * shown.metrics[name]
    return lambda shown: -shown.bytes
