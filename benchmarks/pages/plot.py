"""RD curves as plotly figures, one for each metric, and the legend that switches their traces on and off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Final

from vqcodec.benchmarks.rate_distortion.labels import CURVE_KINDS, METRIC_NOTES, codec_label, direction, setting_label
from vqcodec.benchmarks.rate_distortion.published import ACCURACIES, PublishedCurve
from vqcodec.benchmarks.rate_distortion.summary import Mean, best_means, format_of

# seen on light and on dark ground; the first are those of ours
_OUR_COLOURS: Final = ("#e8590c", "#c2255c", "#f08c00")
_FORMAT_COLOURS: Final = {
    "avif": "#3182ce",
    "jxl": "#2b9a66",
    "webp": "#a855c7",
    "jpeg": "#8a8a8a",
    "jpeg2000": "#b08d3c",
}
_OTHER_COLOURS: Final = ("#0e9aa7", "#7a6ff0", "#c96480", "#6b8e23")
_QUOTED_COLOURS: Final = ("#d6336c", "#0ca678", "#7048e8", "#1c7ed6", "#a9711b", "#ae3ec9", "#5c940d", "#868e96")
_SCALE_DASHES: Final = ("solid", "dash", "dot", "dashdot")
_SCALE_MARKS: Final = ("circle", "square", "diamond", "triangle-up")
#: what is seen at first, if it was measured
_FIRST_METRIC: Final = "lpips"


@dataclass(frozen=True)
class LegendEntry:
    """key: of the traces. kind: ours, best (a format at its best scale), scale (one codec of a format) or quoted."""

    key: str
    label: str
    title: str
    kind: str
    colour: str
    dash: str
    is_shown: bool


@dataclass(frozen=True)
class RDPlot:
    """figures: plotly's JSON by metric. metrics: name, label and a note for each. first: the metric seen at first.

    legend: all traces of all figures.
    """

    figures: dict[str, Any]
    metrics: tuple[tuple[str, str, str], ...]
    first: str
    legend: tuple[LegendEntry, ...]


@dataclass(frozen=True)
class _Curve:
    """A line of every figure: what its points are is up to the metric."""

    entry: LegendEntry
    group: str
    codecs: tuple[str, ...] = ()
    quoted: PublishedCurve | None = None


def rd_plot(
    means: Sequence[Mean], labels: Mapping[str, str], ours: Sequence[str], published: Sequence[PublishedCurve]
) -> RDPlot:
    """Quality over rate. `labels`: of all codecs in `means`, by name. `ours`: drawn thick.

    Needs the package plotly.
    """
    curves = [*_our_curves(labels, ours), *_format_curves(labels, ours), *_quoted_curves(published)]
    # none where every picture came back the same: then one without points is drawn
    metrics = [name for name in CURVE_KINDS if any(getattr(mean, name) is not None for mean in means)] or ["psnr_db"]
    return RDPlot(
        figures={name: _figure(name, curves, means, labels) for name in metrics},
        metrics=tuple((name, CURVE_KINDS[name].label, METRIC_NOTES[name]) for name in metrics),
        first=_FIRST_METRIC if _FIRST_METRIC in metrics else metrics[0],
        legend=tuple(curve.entry for curve in curves),
    )


def _our_curves(labels: Mapping[str, str], ours: Sequence[str]) -> list[_Curve]:
    return [
        _Curve(
            LegendEntry(name, labels[name], name, "ours", _OUR_COLOURS[number % len(_OUR_COLOURS)], "solid", True),
            name,
            (name,),
        )
        for number, name in enumerate(name for name in ours if name in labels)
    ]


def _format_curves(labels: Mapping[str, str], ours: Sequence[str]) -> list[_Curve]:
    """Every format at its best scale, and then its scales one by one unless there is only one."""
    by_format: dict[str, list[str]] = {}
    for name in labels:
        if name not in ours:
            by_format.setdefault(format_of(name), []).append(name)
    best, scales = [], []
    others = iter(_OTHER_COLOURS * len(by_format))
    for kind, names in by_format.items():
        colour = _FORMAT_COLOURS.get(kind) or next(others)
        label = codec_label(f"{kind}/*") if len(names) > 1 else labels[names[0]]
        best.append(_Curve(LegendEntry(f"{kind}/*", label, kind, "best", colour, "solid", True), kind, tuple(names)))
        for number, name in enumerate(names if len(names) > 1 else ()):
            dash = _SCALE_DASHES[number % len(_SCALE_DASHES)]
            scales.append(_Curve(LegendEntry(name, labels[name], name, "scale", colour, dash, False), kind, (name,)))
    return best + scales


def _quoted_curves(published: Sequence[PublishedCurve]) -> list[_Curve]:
    curves = []
    for number, curve in enumerate(published):
        colour = _QUOTED_COLOURS[number % len(_QUOTED_COLOURS)]
        title = f"{curve.accuracy}: {ACCURACIES.get(curve.accuracy, 'as given')}; {curve.source}"
        entry = LegendEntry(f"quoted:{number}", f"{curve.codec} (quoted)", title, "quoted", colour, "dash", True)
        curves.append(_Curve(entry, "quoted", quoted=curve))
    return curves


def _figure(metric: str, curves: Sequence[_Curve], means: Sequence[Mean], labels: Mapping[str, str]) -> Any:
    """The JSON of one figure, as plotly.js takes it."""
    import plotly.graph_objects as go

    figure = go.Figure(layout=_layout(metric))
    for curve in curves:
        points = _quoted_points(curve.quoted, metric) if curve.quoted else _points(curve, metric, means, labels)
        if points:
            rates, values, texts = zip(*points, strict=True)
            figure.add_trace(
                go.Scatter(x=rates, y=values, customdata=texts, text=_names(curve, len(points)), **_style(curve))
            )
    return json.loads(figure.to_json())


def _points(
    curve: _Curve, metric: str, means: Sequence[Mean], labels: Mapping[str, str]
) -> list[tuple[float, float, str]]:
    """(bits per pixel, value, hover text): a format's best, or all of a single codec in the order of their rates."""
    if curve.entry.kind == "best":
        drawn = best_means(means, curve.codecs, metric)
    else:
        own = [mean for mean in means if mean.codec in curve.codecs and getattr(mean, metric) is not None]
        drawn = sorted(own, key=lambda mean: mean.bits_per_pixel)
    return [(mean.bits_per_pixel, getattr(mean, metric), _hover(mean, metric, labels[mean.codec])) for mean in drawn]


def _quoted_points(curve: PublishedCurve, metric: str) -> list[tuple[float, float, str]]:
    kind = CURVE_KINDS[metric]
    note = ACCURACIES.get(curve.accuracy)
    accuracy = f"{curve.accuracy} ({note})" if note else curve.accuracy
    return [
        (
            point.bits_per_pixel,
            point.metrics[metric],
            f"<b>{escape(curve.codec)}</b>, quoted<br>{point.bits_per_pixel:.4f} bpp<br>"
            f"{kind.label} {point.metrics[metric]:.{kind.digits}f}<br>accuracy: {escape(accuracy)}",
        )
        for point in curve.points
        if metric in point.metrics
    ]


def _hover(mean: Mean, metric: str, label: str) -> str:
    kind = CURVE_KINDS[metric]
    return (
        f"<b>{escape(label)}</b>, {escape(setting_label(mean.codec, mean.setting))}<br>"
        f"{mean.bits_per_pixel:.4f} bpp, {mean.bytes:,.0f} bytes<br>"
        f"{kind.label} {getattr(mean, metric):.{kind.digits}f}"
    )


def _names(curve: _Curve, count: int) -> list[str]:
    """What stands beside the points of a curve: its name at one end; formats end too close to each other for that."""
    if curve.quoted:
        return [escape(curve.quoted.codec)] + [""] * (count - 1)
    if curve.entry.kind == "ours":
        return [""] * (count - 1) + [f"<b>{escape(curve.entry.label)}</b>"]
    return [""] * count


def _style(curve: _Curve) -> dict[str, Any]:
    """How a curve looks: ours thick and above the others, quoted ones dashed with open marks."""
    entry = curve.entry
    width, size, order = {"ours": (4, 10, 3), "best": (2, 6, 2)}.get(entry.kind, (1.5, 6, 1))
    mark = {"quoted": "diamond-open", "scale": _SCALE_MARKS[_SCALE_DASHES.index(entry.dash)]}.get(entry.kind, "circle")
    return {
        "name": escape(entry.label),
        "mode": "lines+markers+text",
        "textposition": "middle left" if entry.kind == "quoted" else "bottom center",
        "textfont": {"color": entry.colour},
        "cliponaxis": False,
        "legendgroup": curve.group,
        "visible": True if entry.is_shown else "legendonly",
        "meta": {"key": entry.key},
        "line": {"color": entry.colour, "width": width, "dash": entry.dash},
        "marker": {"color": entry.colour, "size": size, "symbol": mark},
        "zorder": order,
        "hovertemplate": "%{customdata}<extra></extra>",
    }


def _layout(metric: str) -> dict[str, Any]:
    return {
        "template": "none",
        "showlegend": False,  # the page has its own, which has room on narrow screens
        "hovermode": "closest",
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 8, "r": 12, "t": 30, "b": 8},
        "xaxis": {
            "type": "log",
            "title": {"text": "bits per pixel, logarithmic", "standoff": 8},
            "automargin": True,
            "uirevision": "rate",  # a zoom in rate outlives a change of the metric
        },
        "yaxis": {
            "title": {"text": f"{CURVE_KINDS[metric].label}, {direction(metric)}", "standoff": 8},
            "automargin": True,
            "uirevision": metric,
        },
        "hoverlabel": {"align": "left"},
    }
