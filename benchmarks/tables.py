"""Plain and Markdown tables of results."""

from __future__ import annotations

from collections.abc import Sequence

from vqcodec.benchmarks.bd_rate import BDRate
from vqcodec.benchmarks.summary import METRICS, Mean, WinRate


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Padded columns, the first to the left, the others to the right. Every row has as many cells as `headers`."""
    narrowest = 2 if markdown else 1  # Markdown knows no narrower column with a side
    widths = [max(narrowest, *(len(row[number]) for row in [headers, *rows])) for number in range(len(headers))]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if number else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded).rstrip()

    lines = [line(headers), *(line(row) for row in rows)]
    if markdown:
        marks = ["-" * width if not number else "-" * (width - 1) + ":" for number, width in enumerate(widths)]
        lines.insert(1, f"| {' | '.join(marks)} |")
    return "\n".join(lines)


def means_table(means: Sequence[Mean], *, markdown: bool = False) -> str:
    """Means by codec and setting; the Fréchet distance only where there is one."""
    has_frechet = any(mean.frechet_vgg16_relu5_3 is not None for mean in means)
    headers = ["codec", "setting", "images", "bytes", "bpp", *(kind.label for kind in METRICS.values())]
    headers += [*(["Fréchet (VGG16)"] if has_frechet else []), "enc s", "dec s"]
    rows = [
        [
            mean.codec,
            str(mean.setting),
            str(mean.images),
            f"{mean.bytes:.0f}",
            f"{mean.bits_per_pixel:.4f}",
            *(_number(getattr(mean, metric), kind.digits) for metric, kind in METRICS.items()),
            *([_number(mean.frechet_vgg16_relu5_3, 2)] if has_frechet else []),
            f"{mean.encode_seconds:.3f}",
            f"{mean.decode_seconds:.3f}",
        ]
        for mean in means
    ]
    return table(headers, rows, markdown=markdown)


def bd_rates_table(rates: Sequence[BDRate], *, markdown: bool = False) -> str:
    """Percent more bytes for the same quality: a row for each pair of codecs, a column for each metric."""
    by_pair: dict[tuple[str, str], dict[str, str]] = {}
    for rate in rates:
        text = "no overlap" if rate.percent is None else f"{rate.percent:+.1f} %"
        by_pair.setdefault((rate.codec, rate.anchor), {})[rate.metric] = text
    headers = ["codec", "anchor", *(kind.label for kind in METRICS.values())]
    rows = [[*pair, *(cells.get(metric, "-") for metric in METRICS)] for pair, cells in by_pair.items()]
    return table(headers, rows, markdown=markdown)


def win_rates_table(wins: Sequence[WinRate], *, markdown: bool = False) -> str:
    """Pictures on which ours is better, of those compared: rows by setting and anchor, columns by metric."""
    metrics = list(dict.fromkeys(win.metric for win in wins))
    by_row: dict[tuple[str, str, str], dict[str, str]] = {}
    for win in wins:
        row = (win.codec, str(win.setting), win.anchor)
        by_row.setdefault(row, {})[win.metric] = f"{win.wins} of {win.images}" if win.images else "-"
    labels = [METRICS[metric].label if metric in METRICS else metric for metric in metrics]
    rows = [[*row, *(cells.get(metric, "-") for metric in metrics)] for row, cells in by_row.items()]
    return table(["codec", "setting", "anchor", *labels], rows, markdown=markdown)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
