"""Results files: one JSON object a line, added to as results come, and gone on with after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")


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
