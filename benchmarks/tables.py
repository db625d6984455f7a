"""Plain and Markdown tables of results."""

from __future__ import annotations

from collections.abc import Sequence

from vqcodec.benchmarks.summary import Comparison, Mean


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, markdown: bool = False) -> str:
    """Padded columns, the first to the left, the others to the right. Every row has as many cells as `headers`."""
    widths = [max(len(row[number]) for row in [headers, *rows]) for number in range(len(headers))]

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
    """Means by codec and setting; an anchor's setting is a tilde and the setting that it is nearest to."""
    headers = ("codec", "setting", "images", "bytes", "bpp", "PSNR dB", "MS-SSIM", "LPIPS", "DISTS", "enc s", "dec s")
    rows = [
        (
            mean.codec,
            f"~{mean.nearest_setting}" if mean.setting is None else str(mean.setting),
            str(mean.images),
            f"{mean.bytes:.0f}",
            f"{mean.bits_per_pixel:.4f}",
            _number(mean.psnr_db, 2),
            _number(mean.ms_ssim, 4),
            _number(mean.lpips, 4),
            _number(mean.dists, 4),
            f"{mean.encode_seconds:.3f}",
            f"{mean.decode_seconds:.3f}",
        )
        for mean in means
    ]
    return table(headers, rows, markdown=markdown)


def comparisons_table(comparisons: Sequence[Comparison], *, markdown: bool = False) -> str:
    """On how many pictures a codec is better than each anchor at the nearest bytes."""
    headers = ("codec", "setting", "anchor", "images", "anchor >= bytes", "bytes ratio", "LPIPS", "DISTS", "both")
    rows = [
        (
            comparison.codec,
            str(comparison.setting),
            comparison.anchor,
            str(comparison.images),
            str(comparison.anchor_not_smaller),
            f"{comparison.bytes_ratio:.3f}",
            *("-" if count is None else str(count) for count in _counts(comparison)),
        )
        for comparison in comparisons
    ]
    return table(headers, rows, markdown=markdown)


def _counts(comparison: Comparison) -> tuple[int | None, ...]:
    return comparison.lower_lpips, comparison.lower_dists, comparison.lower_both


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
