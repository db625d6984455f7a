"""Codecs, settings and metrics as people read them; results call them by shorter names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vqcodec.benchmarks.rate_distortion.codecs import BY_QUALITY, RateSetting
from vqcodec.benchmarks.rate_distortion.frechet import FRECHET_NAME
from vqcodec.benchmarks.rate_distortion.summary import ALL_ANCHORS, BEST_SCALE, BOTH, METRICS, MetricKind

_FORMATS: Final = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jxl": "JPEG XL", "jpeg2000": "JPEG 2000"}
_SETTINGS: Final = {
    "jpeg": "quality {}",
    "webp": "quality {}",
    "avif": "quality {}",
    "jxl": "distance {}",
    "jpeg2000": "1 : {}",
}
#: what names of our codecs start with
_OURS: Final = "vq:"

#: signs by name: in plain text they are taken for others that look alike
TIMES: Final = "\N{MULTIPLICATION SIGN}"
MINUS: Final = "\N{MINUS SIGN}"
#: stands where there is no value
NO_VALUE: Final = "\N{EN DASH}"

#: what can be drawn over the rate: the metrics of pictures, and the distance of sets of pictures
CURVE_KINDS: Final = {**METRICS, FRECHET_NAME: MetricKind("Fréchet distance (VGG16)", False, 2)}

#: what bits per pixel are
RATE_NOTE: Final = f"8 {TIMES} bytes / (width {TIMES} height)"
#: a sentence or two on each, for the place where its values stand
METRIC_NOTES: Final = {
    "psnr_db": "How far the samples of R, G and B are off, in decibels. Higher is better. It prefers blur to detail "
    "that is not exactly the original's.",
    "ms_ssim": "Structural similarity at five scales, mean of R, G and B; 1 for equal pictures. Higher is better.",
    "lpips": "How differently the network AlexNet sees the two pictures, weighted to agree with people (LPIPS 0.1). "
    "Lower is better.",
    "lpips_vgg": "How differently the network VGG16 sees the two pictures, weighted to agree with people (LPIPS 0.1). "
    "Lower is better.",
    "dists": "How different structure and texture are to the network VGG16; one texture may stand for another like it. "
    "Lower is better.",
    BOTH: "Lower LPIPS (AlexNet) and lower DISTS at once.",
    FRECHET_NAME: "How far all decoded pictures together are from all originals, as distributions of what VGG16 sees "
    "in windows of 256 pixels. Not FID; to be compared for the same pictures only. Lower is better.",
}


def codec_label(name: str) -> str:
    """Such as "photo-1", "AVIF at 1/2 size", "AVIF at full size", "AVIF, best scale"."""
    if name == ALL_ANCHORS:
        return "all of these"
    if name.startswith(_OURS):
        return name.split(":")[1]
    kind, _, scale = name.partition("/")
    if scale:
        return f"{format_label(name)}, best scale" if scale == BEST_SCALE else f"{format_label(name)} at 1/{scale} size"
    return f"{format_label(name)} at full size" if kind in _FORMATS else name


def codec_labels(names: Sequence[str]) -> dict[str, str]:
    """Labels by name, all different: what tells two models of one name apart is added."""
    ours = [name for name in names if name.startswith(_OURS)]
    labels = {name: codec_label(name) for name in names}
    parts = {name: [*name.split(":"), "", "", ""][1:4] for name in ours}
    for form in ("{0}", "{0}, {2}", "{0} ({1})", "{0} ({1}), {2}"):
        labels |= {name: form.format(*parts[name]) for name in ours}
        if len(set(labels.values())) == len(labels):
            return labels
    return labels | {name: name for name in ours}


def format_label(name: str) -> str:
    """The format of an anchor, at whatever scale; other codecs keep their name."""
    kind = name.split("/")[0]
    return _FORMATS.get(kind, kind)


def setting_label(codec: str, setting: RateSetting) -> str:
    """Such as "2 levels", "quality 15", "distance 2.5"."""
    if codec.startswith(_OURS) and BY_QUALITY in codec:
        return f"quality {setting:g}"
    if codec.startswith(_OURS):
        return f"{setting} level" if setting == 1 else f"{setting} levels"
    return _SETTINGS.get(codec.split("/")[0], "setting {}").format(setting)


def direction(name: str) -> str:
    """Which way a metric, or the Fréchet distance, is better."""
    return "higher is better" if CURVE_KINDS[name].higher_is_better else "lower is better"


def number(value: float | None, digits: int) -> str:
    """A value for a table: a dash where there is none, a true minus sign, ∞ for infinity."""
    if value is None:
        return NO_VALUE
    return f"{value:.{digits}f}".replace("inf", "∞").replace("-", MINUS)
