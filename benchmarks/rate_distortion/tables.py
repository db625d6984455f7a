"""Tables of rate and distortion, plain and Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from vqcodec.benchmarks.common.text_table import table
from vqcodec.benchmarks.rate_distortion.bd_rate import BDRate
from vqcodec.benchmarks.rate_distortion.summary import METRICS, Mean, WinRate


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
