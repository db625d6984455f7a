"""The tables of the report, cell by cell; `templates/tables.html` makes HTML of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vqcodec.benchmarks.rate_distortion.bd_rate import BDRate
from vqcodec.benchmarks.rate_distortion.labels import (
    CURVE_KINDS,
    METRIC_NOTES,
    NO_VALUE,
    RATE_NOTE,
    codec_label,
    direction,
    number,
    setting_label,
)
from vqcodec.benchmarks.rate_distortion.summary import ALL_ANCHORS, BEST_SCALE, BOTH, METRICS, Mean, Summary, WinRate


@dataclass(frozen=True)
class Cell:
    """note: a second, smaller line. title: shown on hovering. tone: good, bad, none or empty. share: 0..1, as a bar."""

    text: str
    note: str = ""
    title: str = ""
    tone: str = ""
    share: float | None = None


@dataclass(frozen=True)
class Heading:
    """What stands over a column: its name, a note below it, and what is told where the pointer rests on it."""

    label: str
    note: str = ""
    title: str = ""


@dataclass(frozen=True)
class Row:
    """One cell less than the table has headings: `label` is in the first column."""

    label: str
    cells: tuple[Cell, ...]
    title: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Group:
    """Rows under a heading of their own; no heading without a label."""

    rows: tuple[Row, ...]
    label: str = ""
    note: str = ""


@dataclass(frozen=True)
class Table:
    """headings: that of the first column included."""

    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]

    @property
    def is_empty(self) -> bool:
        """Whether it has no rows."""
        return not any(group.rows for group in self.groups)


def is_main(anchor: str) -> bool:
    """Whether an anchor is among the first to look at: a format at its best scale, or all together."""
    return anchor == ALL_ANCHORS or anchor.endswith(f"/{BEST_SCALE}")


def bd_rate_table(rates: Sequence[BDRate]) -> Table:
    """Of one codec of ours: a row for each anchor, a column for each metric."""
    metrics = [name for name in METRICS if any(rate.metric == name for rate in rates)]
    by_anchor: dict[str, dict[str, BDRate]] = {}
    for rate in rates:
        by_anchor.setdefault(rate.anchor, {})[rate.metric] = rate
    rows = [
        Row(codec_label(anchor), tuple(_bd_cell(rate_by_metric.get(metric)) for metric in metrics), title=anchor)
        for anchor, rate_by_metric in by_anchor.items()
    ]
    headings = (Heading("Compared with"), *(metric_heading(name) for name in metrics))
    return Table(headings, (Group(tuple(rows)),))


def _bd_cell(rate: BDRate | None) -> Cell:
    if rate is None:
        return Cell(NO_VALUE, title="not measured for both", tone="none")
    label = METRICS[rate.metric].label
    if rate.percent is None or rate.worst is None or rate.best is None:
        return Cell("no overlap", title=f"no {label} is reached by both curves", tone="none")
    digits = METRICS[rate.metric].digits - (METRICS[rate.metric].digits > 2)
    between = [number(value, digits) for value in (rate.worst, rate.best)]
    sign = "+" if rate.percent > 0 else ""
    return Cell(
        f"{sign}{number(rate.percent, 0 if abs(rate.percent) >= 100 else 1)} %",
        note=f"{between[0]} to {between[1]}",
        title=f"averaged over {label} {between[0]} to {between[1]}, which both curves reach",
        tone="good" if rate.percent < 0 else "bad" if rate.percent > 0 else "",
    )


def win_rate_table(wins: Sequence[WinRate], means: Sequence[Mean]) -> Table:
    """Of one codec of ours: a group for each setting, a row for each anchor, a column for each metric."""
    metrics = [name for name in (*METRICS, BOTH) if any(win.metric == name and win.images for win in wins)]
    by_setting = {(mean.codec, mean.setting): mean for mean in means}
    groups = []
    for key in dict.fromkeys((win.codec, win.setting) for win in wins):
        wins_of_setting = [win for win in wins if (win.codec, win.setting) == key]
        rows = [
            _win_row(anchor, wins_of_setting, metrics)
            for anchor in dict.fromkeys(win.anchor for win in wins_of_setting)
        ]
        mean = by_setting[key]
        note = f"{mean.bytes:,.0f} bytes, {mean.bits_per_pixel:.4f} bpp"
        groups.append(Group(tuple(rows), setting_label(*key), note))
    headings = [metric_heading(name) if name in METRICS else _both_heading() for name in metrics]
    return Table((Heading("Better than"), *headings), tuple(groups))


def _win_row(anchor: str, wins: Sequence[WinRate], metrics: Sequence[str]) -> Row:
    by_metric = {win.metric: win for win in wins if win.anchor == anchor}
    return Row(codec_label(anchor), tuple(_win_cell(by_metric.get(name)) for name in metrics), title=anchor)


def _win_cell(win: WinRate | None) -> Cell:
    if win is None or not win.images:
        return Cell(NO_VALUE, title="on no picture has it a file this small", tone="none")
    share = win.wins / win.images
    title = f"better on {win.wins} of the {win.images} pictures on which the other has a file this small"
    return Cell(f"{win.wins} / {win.images}", title=title, share=share)


def means_table(means: Sequence[Mean], labels: Mapping[str, str], ours: Sequence[str]) -> Table:
    """A group for each codec, a row for each setting: means over the pictures, seconds as medians."""
    metrics = [name for name in CURVE_KINDS if any(getattr(mean, name) is not None for mean in means)]
    groups = []
    for codec in dict.fromkeys(mean.codec for mean in means):
        own = sorted((mean for mean in means if mean.codec == codec), key=lambda mean: mean.bytes)
        rows = tuple(_mean_row(mean, metrics, mean.codec in ours) for mean in own)
        pictures = sorted({mean.images for mean in own})
        groups.append(Group(rows, labels[codec], f"{' or '.join(map(str, pictures))} pictures"))
    headings = (
        Heading("Setting"),
        Heading("bytes", "mean"),
        Heading("bpp", "mean", f"bits per pixel: {RATE_NOTE}"),
        *(metric_heading(name) for name in metrics),
        Heading("encode, ms", "median"),
        Heading("decode, ms", "median"),
    )
    return Table(headings, tuple(groups))


def _mean_row(mean: Mean, metrics: Sequence[str], is_ours: bool) -> Row:
    values = [number(getattr(mean, name), CURVE_KINDS[name].digits) for name in metrics]
    seconds = [_milliseconds(mean.encode_seconds), _milliseconds(mean.decode_seconds)]
    texts = (f"{mean.bytes:,.0f}", f"{mean.bits_per_pixel:.4f}", *values, *seconds)
    return Row(setting_label(mean.codec, mean.setting), tuple(map(Cell, texts)), title=mean.codec, ours=is_ours)


def seconds_table(means: Sequence[Mean], labels: Mapping[str, str], ours: Sequence[str]) -> Table:
    """A row for each codec: medians over the pictures to encode and decode, from its fastest setting to its slowest."""
    rows = []
    for codec in dict.fromkeys(mean.codec for mean in means):
        own = [mean for mean in means if mean.codec == codec]
        spans = [_span([getattr(mean, name) for mean in own]) for name in ("encode_seconds", "decode_seconds")]
        rows.append(Row(labels[codec], tuple(map(Cell, spans)), title=codec, ours=codec in ours))
    return Table((Heading("Codec"), Heading("encode, ms"), Heading("decode, ms")), (Group(tuple(rows)),))


def _span(seconds: Sequence[float]) -> str:
    low, high = _milliseconds(min(seconds)), _milliseconds(max(seconds))
    return low if low == high else f"{low} to {high}"


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f}" if seconds >= 0.0995 else f"{1000 * seconds:.1f}"


def split_by_anchor(summary: Summary, codec: str, *, main: bool) -> tuple[list[BDRate], list[WinRate]]:
    """What a summary has on one codec of ours against the anchors that `is_main` calls so, or against the others."""
    return (
        [rate for rate in summary.bd_rates if rate.codec == codec and is_main(rate.anchor) == main],
        [win for win in summary.win_rates if win.codec == codec and is_main(win.anchor) == main],
    )


def metric_heading(name: str) -> Heading:
    """Of a column with a metric, or the Fréchet distance."""
    return Heading(CURVE_KINDS[name].label, direction(name), METRIC_NOTES[name])


def _both_heading() -> Heading:
    return Heading("LPIPS and DISTS", "both lower", METRIC_NOTES[BOTH])
