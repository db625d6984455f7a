"""The rows of an ablation: what each measured, the file that keeps them, and how they look in a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vqcodec.benchmarks.common.result_lines import parsed_fields
from vqcodec.benchmarks.common.text_table import table


@dataclass(frozen=True)
class Row:
    """One row measured on held-out pictures; PSNR in dB and LPIPS (AlexNet, None where not asked for) are means.

    tokens: of a measured picture. bits_per_pixel: of tokens of fixed length, log2(K) / f^2. start_psnr_db, start_lpips:
    of patches coded each by itself, None where the quantiser has no such start. usage: share of the codes that the
    held-out pictures choose, 0..1. perplexity: exp of the entropy of their choices, 1..K. parameters: of the networks.
    seconds: of the training. settings: of model, training and data. environment: machine and versions.
    """

    factor: int
    codebook_size: int
    quantizer: str
    losses: str
    tokens: int
    bits_per_pixel: float
    start_psnr_db: float | None
    psnr_db: float
    usage: float
    perplexity: float
    start_lpips: float | None
    lpips: float | None
    parameters: int
    seconds: float
    settings: dict[str, Any]
    environment: dict[str, Any]

    @property
    def gain_db(self) -> float | None:
        """What training adds to the PSNR of the start."""
        return None if self.start_psnr_db is None else self.psnr_db - self.start_psnr_db

    def to_json(self) -> str:
        """One line, without the line end. Raises ValueError for NaN and infinity."""
        return json.dumps(asdict(self) | {"gain_db": self.gain_db}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Row:
        """The inverse of `to_json`. Raises ValueError with a reason."""
        values = parsed_fields(line, [*(field.name for field in fields(cls)), "gain_db"], "a row")
        for name in ("psnr_db", "bits_per_pixel", "tokens", "usage", "perplexity"):
            if not isinstance(values[name], (int, float)):
                raise ValueError(f"{name} is {values[name]!r}")
        return cls(**{name: value for name, value in values.items() if name != "gain_db"})


#: column -> least width and text; a column is as wide as its name at least
COLUMNS: Final[dict[str, tuple[int, Callable[[Row], str]]]] = {
    "quantiser": (25, lambda row: row.quantizer),
    "losses": (16, lambda row: row.losses),
    "f": (2, lambda row: str(row.factor)),
    "K": (5, lambda row: str(row.codebook_size)),
    "tokens": (6, lambda row: str(row.tokens)),
    "bpp": (6, lambda row: f"{row.bits_per_pixel:.4f}"),
    "PSNR start": (10, lambda row: _decimals(row.start_psnr_db, ".2f")),
    "trained": (7, lambda row: _decimals(row.psnr_db, ".2f")),
    "gain": (6, lambda row: _decimals(row.gain_db, "+.2f")),
    "usage": (5, lambda row: f"{row.usage:.0%}"),
    "perplexity": (10, lambda row: f"{row.perplexity:.0f}"),
    "LPIPS start": (11, lambda row: _decimals(row.start_lpips, ".3f")),
    "LPIPS": (5, lambda row: _decimals(row.lpips, ".3f")),
}


def columns(perceptual: bool) -> list[str]:
    """The names of the columns to show: those about perceptual losses only where there are any."""
    return [name for name in COLUMNS if perceptual or name not in ("losses", "LPIPS start", "LPIPS")]


def padded(texts: Sequence[str], names: Sequence[str]) -> str:
    """The texts of a line as wide as their columns `names`, for tables that grow; names of settings to the left."""
    sides = {"quantiser": str.ljust, "losses": str.ljust}
    widths = [max(len(name), COLUMNS[name][0]) for name in names]
    aligned = [sides.get(name, str.rjust)(text, width) for name, text, width in zip(names, texts, widths, strict=True)]
    return "  ".join(aligned).rstrip()


def line(row: Row, names: Sequence[str]) -> str:
    """A row as a line of a table with the columns `names`."""
    return padded(cells(row, names), names)


def cells(row: Row, names: Sequence[str]) -> list[str]:
    """The texts of a row in the columns `names`."""
    return [COLUMNS[name][1](row) for name in names]


def markdown(sweeps: Mapping[str, Sequence[Row]], names: Sequence[str]) -> str:
    """A Markdown table for each sweep, under its title."""
    parts = [
        f"By {title}:\n\n{table(names, [cells(row, names) for row in rows], markdown=True)}\n"
        for title, rows in sweeps.items()
    ]
    return "\n".join(parts)


def _decimals(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
