"""The report of a rate-distortion run: one page with curves, tables and the pictures themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from vqcodec.benchmarks.pages.plot import rd_plot
from vqcodec.benchmarks.pages.tables import (
    bd_rate_table,
    means_table,
    seconds_table,
    split_by_anchor,
    win_rate_table,
)
from vqcodec.benchmarks.pages.viewer import Shown, ViewerPicture, first_view, thumbnail, viewer_values
from vqcodec.benchmarks.pages.writing import as_script, render
from vqcodec.benchmarks.rate_distortion.labels import codec_labels, format_label, setting_label
from vqcodec.benchmarks.rate_distortion.points import RDPoint
from vqcodec.benchmarks.rate_distortion.published import PublishedCurve
from vqcodec.benchmarks.rate_distortion.store import Store, original_key
from vqcodec.benchmarks.rate_distortion.summary import METRICS, Summary
from vqcodec.whole_files import write_whole


class ReportError(RuntimeError):
    """A report cannot be made here. The message is one line with a remedy."""


@dataclass(frozen=True)
class _Pictures:
    """viewer: what its template takes, None without pictures. gaps: a line for each kind of thing that is not shown."""

    viewer: dict[str, Any] | None
    gaps: tuple[str, ...]


def write_report(
    path: Path,
    summary: Summary,
    points: Sequence[RDPoint],
    store: Store | None,
    described: Mapping[str, Any],
    published: Sequence[PublishedCurve] = (),
    ours: Sequence[str] = (),
) -> None:
    """Write the page whole or not at all. It loads the pictures of `store` from where they lie, and nothing else.

    Args:
        path: of the page; the pictures are named relative to its folder.
        summary: of `points`.
        points: of one run, in the order of the pictures.
        store: where the decoded pictures are; without it, or where some are not there, the page says so.
        described: `vqcodec.benchmarks.common.environment.describe_run` and what is known beyond it.
        published: curves to draw as quoted.
        ours: names of our codecs, which are compared with all others.

    Raises:
        ReportError: no points, or plotly is not installed.
        OSError: the page cannot be written.
    """
    if not points:
        raise ReportError(f"{path}: no report without RD points: measure at least one picture")
    labels = codec_labels(list(dict.fromkeys(mean.codec for mean in summary.means)))
    anchors = [name for name in labels if name not in ours]
    pictures = _pictures(path, points, store, labels, ours)
    page = render(
        "report.html",
        ours=[labels[name] for name in ours if name in labels],
        has_reduced=any("/" in name for name in anchors),
        formats=list(dict.fromkeys(map(format_label, anchors))),
        picture_count=len({point.image for point in points}),
        point_count=len(points),
        run_line=_run_line(described),
        facts=list(_facts(described)),
        problems=list(_problems(described)),
        plotly=_plotly(),
        plot=rd_plot(summary.means, labels, ours, published),
        quoted=bool(published),
        comparisons=[_comparison(summary, name, labels) for name in ours if name in labels],
        our_means=means_table([mean for mean in summary.means if mean.codec in ours], labels, ours),
        other_means=means_table([mean for mean in summary.means if mean.codec not in ours], labels, ours),
        seconds=seconds_table([mean for mean in summary.means if "/" not in mean.codec], labels, ours),
        reduced_seconds=seconds_table([mean for mean in summary.means if "/" in mean.codec], labels, ours),
        viewer=pictures.viewer,
        gaps=pictures.gaps,
    )
    write_whole(path, page)


def _plotly() -> str:
    """plotly.js, to be put into the page. Raises ReportError."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ReportError("the report needs plotly: pip install 'vqcodec[bench]'") from None
    return as_script(get_plotlyjs())


def _comparison(summary: Summary, codec: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """The tables of BD-rates and win rates of one codec of ours: against the main anchors, and the others."""
    values: dict[str, Any] = {"label": labels[codec], "name": codec}
    for key, main in (("main", True), ("scales", False)):
        rates, wins = split_by_anchor(summary, codec, main=main)
        values[key] = {"bd_rates": bd_rate_table(rates), "win_rates": win_rate_table(wins, summary.means)}
    return values


def _run_line(described: Mapping[str, Any]) -> str:
    """Date, processor and commit in one line."""
    machine = described.get("machine") or {}
    date, commit = str(described.get("date") or "")[:10], described.get("commit")
    parts = (date, machine.get("cpu"), f"commit {commit[:10]}" if commit else None)
    return ", ".join(str(part) for part in parts if part) or "This run"


def _facts(described: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the head of the page says of the run: name and text of each thing that is known."""
    machine = described.get("machine") or {}
    if machine:
        memory = f"{machine['memory_bytes'] / 2**30:.0f} GiB" if machine.get("memory_bytes") else None
        cores = f"{machine['cores']} cores" if machine.get("cores") else None
        threads = f"torch on {machine['torch_threads']} threads" if machine.get("torch_threads") else None
        parts = (machine.get("cpu"), cores, memory, machine.get("gpu"), machine.get("system"), threads)
        yield "Machine", ", ".join(str(part) for part in parts if part)
    versions = {name: version for name, version in (described.get("versions") or {}).items() if version}
    if versions:
        yield "Versions", ", ".join(f"{name} {version}" for name, version in versions.items())
    for model in described.get("models") or ():
        size = f"{model['size_bytes'] / 1e6:.1f} MB"
        yield "Model", ", ".join((model["name"], size, model["device"], model["dtype"], model["entropy"]))
    if described.get("points_measured_now"):
        peak = described.get("peak_memory_bytes")
        memory = f", peak memory {peak / 1e9:.1f} GB" if peak else ""
        minutes = described["seconds"] / 60
        yield "Measured now", f"{described['points_measured_now']:,} points in {minutes:.0f} minutes{memory}"
    for name, label in (("commit", "Commit"), ("date", "Date"), ("command", "Command")):
        if described.get(name):
            yield label, str(described[name])


def _problems(described: Mapping[str, Any]) -> Iterator[str]:
    """What a reader must know before believing the numbers."""
    failures = described.get("failures") or ()
    if failures:
        yield f"Left out everywhere: {_pictures_text(len(failures))} that could not be measured."
    absent = [METRICS[name].label for name in described.get("absent_metrics") or () if name in METRICS]
    if absent:
        yield f"Not measured: {', '.join(absent)}."
    if described.get("jobs", 1) > 1:
        yield f"{described['jobs']} processes measured at once: times are those of a busy machine."


def _pictures(
    path: Path, points: Sequence[RDPoint], store: Store | None, labels: Mapping[str, str], ours: Sequence[str]
) -> _Pictures:
    if store is None or not store.wants_pictures:
        return _Pictures(None, ("The decoded pictures were not kept.",))
    by_image: dict[tuple[str, int], list[RDPoint]] = {}
    for point in points:
        by_image.setdefault((point.image, point.pixels_crc32), []).append(point)
    found, without_original, missing = [], [], []
    for (image, crc32), own in by_image.items():
        original = store.picture(original_key(image, crc32))
        small = _thumbnail(original)
        if small is None:
            without_original.append(image)
            continue
        shown = tuple(_shown(path, point, store, labels) for point in own if store.picture(point.key).is_file())
        missing += [point for point in own if not store.picture(point.key).is_file()]
        width, height = own[0].width, own[0].height
        found.append(ViewerPicture(image, width, height, small, _url(path, original), shown))
    gaps = []
    if without_original:
        gaps.append(f"Left out, because their originals cannot be read here: {', '.join(without_original)}.")
    if missing:
        places = ", ".join(f"{point.image} by {labels[point.codec]}" for point in missing[:3])
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        gaps.append(f"Not here, so that they cannot be chosen: {_pictures_text(len(missing))}: {places}{more}.")
    found = [picture for picture in found if picture.shown]
    return _Pictures(viewer_values(found, first_view(found[0], ours)) if found else None, tuple(gaps))


def _pictures_text(count: int) -> str:
    return f"{count} picture" if count == 1 else f"{count} pictures"


def _shown(page: Path, point: RDPoint, store: Store, labels: Mapping[str, str]) -> Shown:
    return Shown(
        codec=point.codec,
        setting=setting_label(point.codec, point.setting),
        label=labels[point.codec],
        bytes=point.bytes,
        bits_per_pixel=point.bits_per_pixel,
        metrics={name: getattr(point, name) for name in METRICS},
        source=_url(page, store.picture(point.key)),
    )


def _thumbnail(path: Path) -> str | None:
    """None for a picture that is not there or is damaged."""
    try:
        with Image.open(path) as image:
            return thumbnail(image)
    except OSError:
        return None


def _url(page: Path, picture: Path) -> str:
    """A picture's address relative to the page."""
    return quote(Path(os.path.relpath(picture, page.parent)).as_posix())
