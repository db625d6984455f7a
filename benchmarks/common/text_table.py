"""Tables in text, plain and Markdown."""

from __future__ import annotations

from collections.abc import Sequence


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
