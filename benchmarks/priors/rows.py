"""The rows of a comparison of priors: what each measured, and how they look in a table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from vqcodec.benchmarks.common.result_lines import parsed_fields
from vqcodec.benchmarks.common.text_table import table


@dataclass(frozen=True)
class PriorRow:
    """One prior, trained and measured on held-out tokens.

    prior: an order of the transformer, or a baseline, by name. bits_per_token: mean of -log2 of the probability that
    each held-out token got. log2_codebook_size: bits of a token of fixed length. passes: through the network for one
    grid, when tokens are coded or sampled; 0 for statistics. parameters: of the network, or how many counts. steps,
    seconds: of training. settings: of prior, training and tokens. environment: machine and versions.
    """

    prior: str
    bits_per_token: float
    log2_codebook_size: float
    passes: int
    parameters: int
    steps: int
    seconds: float
    settings: dict[str, Any]
    environment: dict[str, Any]

    @property
    def saved(self) -> float:
        """The share of the bits of tokens of fixed length that the prior saves; below 0 where it costs more."""
        return 1 - self.bits_per_token / self.log2_codebook_size

    def to_json(self) -> str:
        """One line, without the line end. Raises ValueError for NaN and infinity."""
        return json.dumps(asdict(self) | {"saved": self.saved}, allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> PriorRow:
        """The inverse of `to_json`. Raises ValueError with a reason."""
        values = parsed_fields(line, [*(field.name for field in fields(cls)), "saved"], "a row")
        for name in ("bits_per_token", "log2_codebook_size", "passes", "parameters", "steps", "seconds"):
            if not isinstance(values[name], (int, float)):
                raise ValueError(f"{name} is {values[name]!r}")
        return cls(**{name: value for name, value in values.items() if name != "saved"})


#: column -> least width and text; a column is as wide as its name at least
COLUMNS: Final[dict[str, tuple[int, Callable[[PriorRow], str]]]] = {
    "prior": (15, lambda row: row.prior),
    "passes": (6, lambda row: str(row.passes)),
    "parameters": (10, lambda row: str(row.parameters)),
    "steps": (6, lambda row: str(row.steps)),
    "seconds": (7, lambda row: f"{row.seconds:.1f}"),
    "bits per token": (14, lambda row: f"{row.bits_per_token:.3f}"),
    "saved": (6, lambda row: f"{row.saved:.1%}"),
}


def heading() -> str:
    """The names of the columns, for a table that grows."""
    return _padded(list(COLUMNS))


def line(row: PriorRow) -> str:
    """A row as a line of the table that `heading` begins."""
    return _padded(_cells(row))


def markdown(tables: Mapping[str, Sequence[PriorRow]]) -> str:
    """A Markdown table for each group of rows, under its title."""
    parts = [
        f"{title}:\n\n{table(list(COLUMNS), list(map(_cells, rows)), markdown=True)}\n"
        for title, rows in tables.items()
    ]
    return "\n".join(parts)


def _cells(row: PriorRow) -> list[str]:
    return [text(row) for _, text in COLUMNS.values()]


def _padded(texts: Sequence[str]) -> str:
    """The first to the left, the others to the right."""
    widths = [max(len(name), least) for name, (least, _) in COLUMNS.items()]
    first, *others = (
        text.rjust(width) if number else text.ljust(width)
        for number, (text, width) in enumerate(zip(texts, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()
