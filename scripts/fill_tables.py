#!/usr/bin/env python3
"""Fills the tables of rate and distortion in README.md and docs/benchmarks.md from benchmarks/results.

scripts/fill_tables.py [--check]

A table stands between <!-- table NAME --> and <!-- end of table -->. --check changes nothing, and exits with 1 where a
document says something else than the results.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
DOCUMENTS = "README.md", "docs/benchmarks.md"
#: formats as they are called in tables, and what their setting is
FORMATS = {
    "jpeg": ("JPEG", "quality"),
    "webp": ("WebP", "quality"),
    "avif": ("AVIF", "quality"),
    "jxl": ("JPEG XL", "distance"),
    "jpeg2000": ("JPEG 2000", "ratio"),
}
METRICS = "psnr_db", "ms_ssim", "lpips", "lpips_vgg", "dists"
METRIC_NAMES = "PSNR", "MS-SSIM", "LPIPS", "LPIPS, VGG16", "DISTS"
BOTH = "lpips and dists"
KINDS = {"buildings": "buildings", "colours": "strong colours", "plain": "plain grounds", "text": "lettering"}
#: README's rows: level counts, and the AVIF files nearest in size (codec, setting)
SHORT = (1, ("avif/2", 0)), (3, ("avif", 15)), (6, ("avif", 40))
_TABLE = re.compile(r"(<!-- table (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

Row = dict[str, Any]


def read_summary(name: str) -> dict[str, Any]:
    """summary.json of a folder of results."""
    result: dict[str, Any] = json.loads((RESULTS / name / "summary.json").read_text())
    return result


def is_by_level(row: Row) -> bool:
    """Whether of this codec at a whole number of levels."""
    return bool(row["codec"].startswith("vq:")) and not is_by_quality(row)


def is_by_quality(row: Row) -> bool:
    return bool(row["codec"].endswith(", by quality"))


def markdown(headers: Sequence[str], rows: Iterable[Sequence[str]], *, right: int | None = None) -> str:
    """A table; columns from number `right` on are flush right."""
    sides = ["---" if right is None or number < right else "--:" for number in range(len(headers))]
    lines = [f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in (headers, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(sides)}|", *lines[1:]]) + "\n"


def number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def short_number(value: float, digits: int) -> str:
    """Without the 0 before the point."""
    return f"{value:.{digits}f}".removeprefix("0")


def levels_name(row: Row, summary: Row) -> str:
    return f"{summary['models'][0]['name']}, {row['setting']} level{'s' * (row['setting'] > 1)}"


def setting_name(row: Row, summary: Row) -> str:
    if is_by_level(row):
        return f"**{levels_name(row, summary)}**"
    codec, _, scale = row["codec"].partition("/")
    name, setting = FORMATS[codec]
    return f"{name}{f' at 1/{scale}' * bool(scale)}, {setting} {row['setting']}"


def short_table() -> str:
    """README's: three rates, the better of both in bold."""
    summary = read_summary("kodak")
    means = {(row["codec"], row["setting"]): row for row in summary["means"] if not is_by_quality(row)}
    ours = next(codec for codec, _ in means if codec.startswith("vq:"))
    rows = []
    for levels, other in SHORT:
        pair = means[ours, levels], means[other]
        size = "half size" if "/" in other[0] else "full size"
        names = levels_name(pair[0], summary), f"AVIF, {size}, quality {other[1]}"
        for name, row, against in zip(names, pair, pair[::-1], strict=True):
            cells = [name, number(row["bytes"], 0), short_number(row["bits_per_pixel"], 3)]
            for metric, digits, is_better in (
                ("psnr_db", 1, row["psnr_db"] > against["psnr_db"]),
                ("lpips", 3, row["lpips"] < against["lpips"]),
                ("dists", 3, row["dists"] < against["dists"]),
            ):
                value = short_number(row[metric], digits)
                cells.append(f"**{value}**" if is_better else value)
            rows.append(cells)
    return markdown(["means", "bytes", "bpp", "PSNR, dB", "LPIPS", "DISTS"], rows)


def means_table() -> str:
    summary = read_summary("kodak")
    rows = []
    for row in summary["means"]:
        if not is_by_quality(row):
            metrics = zip(METRICS, (2, 3, 3, 3, 3), strict=True)
            cells = [number(row["bytes"], 0), number(row["bits_per_pixel"], 4)]
            cells += [number(row[metric], digits) for metric, digits in metrics]
            cells += [number(row[f"{work}_seconds"], 3) for work in ("encode", "decode")]
            rows.append([setting_name(row, summary), *cells])
    names = "PSNR, dB", *METRIC_NAMES[1:]
    return markdown(["", "bytes", "bpp", *names, "encode, s", "decode, s"], rows)


def best_scale_name(anchor: str) -> str | None:
    """None for an anchor at one scale."""
    return "all of these" if anchor == "all" else FORMATS[anchor[:-2]][0] if anchor.endswith("/*") else None


def bd_rates_table() -> str:
    rates: dict[str, dict[str, str]] = {}
    for row in read_summary("kodak")["bd_rates"]:
        name = best_scale_name(row["anchor"])
        if name is not None and is_by_level(row):
            percent = row["percent"]
            shown = "no overlap" if percent is None else f"{percent:+.0f} %".replace("-", "\N{MINUS SIGN}")
            rates.setdefault(f"{name}{', best scale' * (name != 'all of these')}", {})[row["metric"]] = shown
    rows = [[name, *(of.get(metric, "-") for metric in METRICS)] for name, of in rates.items()]
    return markdown(["against", *METRIC_NAMES], rows)


def wins_table() -> str:
    summary = read_summary("kodak")
    wins: dict[tuple[int, str], dict[str, str]] = {}
    for row in summary["win_rates"]:
        name = best_scale_name(row["anchor"])
        if name is not None and is_by_level(row):
            of = "" if row["images"] == summary["images"] else f" of {row['images']}"
            shown = f"{row['wins']}{of}" if row["images"] else "-"
            wins.setdefault((row["setting"], name), {})[row["metric"]] = shown
    rows = [
        [str(levels), name, *(counts[metric] for metric in (*METRICS, BOTH))] for (levels, name), counts in wins.items()
    ]
    return markdown(["levels", "against", *METRIC_NAMES, "LPIPS and DISTS"], rows)


def kinds_table() -> str:
    rows = []
    for folder, name in KINDS.items():
        summary = read_summary(f"kinds/{folder}")
        wins = {
            row["setting"]: f"{row['wins']} of {row['images']}"
            for row in summary["win_rates"]
            if is_by_level(row) and (row["anchor"], row["metric"]) == ("all", BOTH)
        }
        for row in filter(is_by_level, summary["means"]):
            figures = ("bytes", 0), ("bits_per_pixel", 4), ("psnr_db", 2), ("lpips", 3), ("dists", 3)
            cells = [number(row[figure], digits) for figure, digits in figures]
            rows.append([name, str(row["setting"]), *cells, wins[row["setting"]]])
    return markdown(["kind", "levels", "bytes", "bpp", "PSNR, dB", "LPIPS", "DISTS", "better in LPIPS and DISTS"], rows)


def rates_table() -> str:
    """By quality, with the level counts where they lie between."""
    summary = read_summary("kodak")
    ours = [row for row in summary["means"] if is_by_level(row) or is_by_quality(row)]
    count = max(row["setting"] for row in ours if is_by_level(row))
    words = "one", "two", "three", "four", "five", "six"

    def quality(row: Row) -> float:
        return float(row["setting"]) if is_by_quality(row) else 100 * row["setting"] / count

    def name(row: Row) -> str:
        shown = f"{round(quality(row), 1):g}"
        levels = row["setting"]
        return shown if is_by_quality(row) else f"{shown} ({words[levels - 1]} level{'s' * (levels > 1)})"

    figures = ("bytes", 0), ("bits_per_pixel", 4), ("lpips", 3), ("dists", 3), ("psnr_db", 2)
    ours.sort(key=quality)
    rows = [[name(row), *(number(row[figure], digits) for figure, digits in figures)] for row in ours]
    return markdown(["quality", "bytes", "bpp", "LPIPS", "DISTS", "PSNR, dB"], rows, right=0)


TABLES: dict[str, Callable[[], str]] = {
    "kodak-short": short_table,
    "kodak-means": means_table,
    "kodak-bd-rates": bd_rates_table,
    "kodak-wins": wins_table,
    "kinds": kinds_table,
    "rates": rates_table,
}


def filled(text: str) -> str:
    """A document with its tables as the results have them."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    is_check, status = parser.parse_args().check, 0
    for name in DOCUMENTS:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = filled(before)
        if after == before:
            continue
        if is_check:
            print(f"{name}: not what benchmarks/results say; run scripts/fill_tables.py", file=sys.stderr)
            status = 1
        else:
            path.write_text(after, encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
