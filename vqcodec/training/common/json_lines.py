"""Logs with a JSON object a line, each with its step: what a killed run left behind is put in order before going on."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from vqcodec.whole_files import delete_left_overs, replacing

_log = logging.getLogger(__name__)


def append_line(path: Path, step: int, values: Mapping[str, float]) -> None:
    """Append {"step": step, **values}; any line of this step or a later one goes first."""
    drop_lines_from(path, step)
    with path.open("a", encoding="utf-8") as file:
        file.write(line_of(step, values))


def line_of(step: int, values: Mapping[str, float]) -> str:
    """One line, with its end."""
    return json.dumps({"step": step, **values}) + "\n"


def drop_lines_from(path: Path, step: int) -> None:
    """Leave only the lines of steps before `step`: all of them or, if this process is killed meanwhile, none dropped.

    A last line that was written by half goes too. So do unreadable lines elsewhere, with a warning in the log. Where
    there is no file, nothing is done.
    """
    if not path.exists():
        return
    delete_left_overs(path.parent, path.name)
    with replacing(path, durable=True) as temporary, temporary.open("wb") as file:
        file.writelines(_lines_before(path, step))


def _lines_before(path: Path, step: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            found = _step_of(line)
            if found is not None and found < step:
                yield line.rstrip(b"\n") + b"\n"
            elif found is None and line.endswith(b"\n"):
                _log.warning("%s: line %d dropped, it has no step that can be read", path, number)


def _step_of(line: bytes) -> int | None:
    """None when the line is not a JSON object with a whole number as its step."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    step = values.get("step") if isinstance(values, dict) else None
    return step if isinstance(step, int) else None
