"""Results files: one JSON object a line, added to as results come, and gone on with after an interruption."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

Result = TypeVar("Result")


class Row(Protocol):
    """One measured row of a table. settings: all that its result depends on apart from machine and code, as JSON."""

    @property
    def settings(self) -> dict[str, Any]: ...

    def to_json(self) -> str: ...


MeasuredRow = TypeVar("MeasuredRow", bound=Row)


class RowFile(Generic[MeasuredRow]):
    """Rows that are measured when they are first asked for and are not in a results file already.

    path: of the file that measured rows are added to, made with its folder; None to keep none. parse: as in
    `read_results`. damaged: a message for each line of it that holds no row. Raises OSError for the file.
    """

    def __init__(self, path: Path | None, parse: Callable[[str], MeasuredRow]) -> None:
        self._path = path
        self._rows: list[MeasuredRow] = []
        self.damaged: list[str] = []
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows, self.damaged = read_results(path, parse, "its row is trained again")

    def row(self, settings: dict[str, Any], measure: Callable[[], MeasuredRow]) -> MeasuredRow:
        """The row with these settings. Raises what `measure` raises."""
        for known in self._rows:
            if known.settings == settings:
                return known
        row = measure()
        self._rows.append(row)
        if self._path:
            append_results(self._path, [row.to_json()])
        return row


def parsed_fields(line: str, names: Collection[str], what: str) -> dict[str, Any]:
    """The values of a JSON object with exactly these names. what: "a row" or the like, for the reason that is raised.

    Raises ValueError.
    """
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(values, dict) or set(values) != set(names):
        raise ValueError(f"not the fields of {what}")
    return values


def read_results(path: Path, parse: Callable[[str], Result], remedy: str) -> tuple[list[Result], list[str]]:
    """What `parse` makes of the lines, and a message with file, line number and `remedy` for each that it refuses.

    parse: raises TypeError or ValueError with a reason. A file that does not exist is an empty one. Raises OSError when
    it cannot be read.
    """
    if not path.exists():
        return [], []
    results, damaged = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            results.append(parse(line))
        except (TypeError, ValueError) as error:
            damaged.append(f"{path}:{number}: {error}; {remedy}")
    return results, damaged


def append_results(path: Path, lines: Iterable[str]) -> None:
    """Add lines, given without line ends; a last line that was cut off keeps its own line. Raises OSError."""
    text = "".join(f"{line}\n" for line in lines)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                text = f"\n{text}"
        file.write(text.encode())
