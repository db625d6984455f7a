"""Files of the commands: reading them, and writing whole files or none."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, cast

import click

from vqcodec.bitstream.source import read_up_to
from vqcodec.whole_files import fill, replacing, write_whole

STANDARD = "-"
#: read at a time to compare
_PIECE_BYTES = 1 << 20

_OTHER_BYTES = "reads back other bytes than were written; is the disk full or failing?"
_PICTURE_STARTS = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WebP", b"GIF8": "GIF", b"BM": "BMP"}


class FileError(ValueError):
    """An input or output file is in the way, missing or damaged."""


@dataclass(frozen=True)
class Task:
    """One input and where it goes; `-` is stdin or stdout. problem: why nothing can be done, if so."""

    source: str
    target: str
    problem: str = ""

    @property
    def source_name(self) -> str:
        return "stdin" if self.source == STANDARD else self.source

    @property
    def target_name(self) -> str:
        return "stdout" if self.target == STANDARD else self.target


def read_standard(limit: int = -1) -> bytes:
    """All bytes of stdin, or the first `limit`. Raises FileError."""
    if sys.stdin is None:
        raise FileError("stdin: is closed; name an input file")
    return sys.stdin.buffer.read() if limit < 0 else read_up_to(sys.stdin.buffer, limit)


def read_stream_file(source: str) -> bytes:
    """The bytes of a .vq file or of stdin. Raises FileError, also for a picture and for more than a stream can be."""
    from vqcodec.bitstream.limits import MAX_STREAM_BYTES

    try:
        if source == STANDARD:
            data = read_standard(MAX_STREAM_BYTES + 1)
        else:
            with open(source, "rb") as file:
                data = read_up_to(file, MAX_STREAM_BYTES + 1)
    except FileNotFoundError as error:
        raise FileError(f"{source}: no such file: check the name") from error
    except IsADirectoryError as error:
        raise FileError(f"{source}: is a folder: name the files in it") from error
    except OSError as error:
        raise FileError(f"{source}: cannot be read ({error.strerror})") from error
    name = "stdin" if source == STANDARD else source
    for start, kind in _PICTURE_STARTS.items():
        if data.startswith(start):
            raise FileError(f"{name}: not a .vq stream but a {kind} picture: make a stream of it with vqcodec encode")
    if len(data) > MAX_STREAM_BYTES:
        raise FileError(f"{name}: over {MAX_STREAM_BYTES} bytes, more than a .vq stream can have: check the file")
    return data


def picture_type(target: str, format_: str | None = None) -> str:
    """The type to write, in Pillow's word; PNG for stdout. Raises click.UsageError."""
    from vqcodec.pictures.image import UnsupportedOutputError, check_output_type

    try:
        return check_output_type(target if target != STANDARD else "stdout.png", format_)
    except UnsupportedOutputError as error:
        raise click.UsageError(str(error)) from error


def check_target(task: Task, *, force: bool) -> None:
    """Raises FileError when the target exists and may not be overwritten, or cannot be a file."""
    target, path = task.target, Path(task.target)
    if target == STANDARD:
        if sys.stdout is None:
            raise FileError("stdout: is closed; name an output file")
        if sys.stdout.isatty() and not force:
            raise FileError("stdout: is a terminal; redirect it, name a file, or give -f to write there all the same")
        return
    if path.is_dir() or target.endswith(("/", os.sep)):
        raise FileError(f"{target}: is a folder; name a file, or give the folder with -o")
    if path.is_symlink() and not path.exists():
        raise FileError(f"{target}: is a link that leads to nothing; delete it, or name its file")
    if not path.exists():
        return
    if not path.is_file():
        raise FileError(f"{target}: is not a regular file; give - to write to stdout")
    if os.path.exists(task.source) and os.path.samefile(task.source, target):
        raise FileError(f"{target}: is the input itself; name another output")
    if not force:
        raise FileError(f"{target}: exists already; give -f to overwrite it")


def is_done(task: Task, is_whole: Callable[[bytes], bool]) -> bool:
    """Whether the target is there, not older than the source, and `is_whole`, which is asked about its bytes."""
    if STANDARD in (task.source, task.target):
        return False
    try:
        source, target = os.stat(task.source), os.stat(task.target)
        if not stat.S_ISREG(target.st_mode) or target.st_mtime_ns < source.st_mtime_ns:
            return False
        return is_whole(Path(task.target).read_bytes())
    except OSError:  # told by whoever reads the source and writes the target
        return False


def write_output(
    task: Task, data: bytes, *, force: bool, check: Callable[[bytes], object], keep_dates: bool = False
) -> None:
    """Write the target whole or not at all, and only if what was written reads back and `check` raises nothing.

    keep_dates: the target gets the dates of the source, if both are files.
    """
    if task.target == STANDARD:
        check(data)
        _write_to_stdout([data])
        return
    with _file_errors(task.target), replacing(_with_folder(task.target)) as temporary:
        fill(temporary, data)
        if not _holds(temporary, data):
            raise FileError(f"{task.target}: {_OTHER_BYTES}")
        check(data)
        _finish(task, temporary, force=force, keep_dates=keep_dates)


def _write_to_stdout(pieces: Iterable[bytes]) -> None:
    """Raises FileError, and BrokenPipeError where nobody reads on."""
    try:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:  # under PYTHONUNBUFFERED one write may take a part only
                rest = rest[sys.stdout.buffer.write(rest) :]
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise FileError(f"stdout: cannot be written ({error.strerror})") from error


def stream_output(
    task: Task,
    write: Callable[[BinaryIO], object],
    *,
    force: bool,
    check: Callable[[Path], object],
    keep_dates: bool = False,
) -> None:
    """As `write_output`, for what is too large to be in memory: `write` puts it into a file bit by bit."""
    if task.target == STANDARD:
        with TemporaryDirectory() as folder:
            spooled = Path(folder) / "output"
            with _file_errors(str(spooled)):
                spooled.touch()
                _write_checked(spooled, task.target_name, write)
            check(spooled)
            with spooled.open("rb") as file:
                _write_to_stdout(iter(partial(file.read, _PIECE_BYTES), b""))
        return
    with _file_errors(task.target), replacing(_with_folder(task.target)) as temporary:
        _write_checked(temporary, task.target, write)
        check(temporary)
        _finish(task, temporary, force=force, keep_dates=keep_dates)


def _finish(task: Task, temporary: Path, *, force: bool, keep_dates: bool) -> None:
    if keep_dates and os.path.isfile(task.source):
        dates = os.stat(task.source)
        os.utime(temporary, ns=(dates.st_atime_ns, dates.st_mtime_ns))
    check_target(task, force=force)  # it may have come into being meanwhile


class _Summed(io.RawIOBase):
    """Writes to a file, and knows the CRC-32 of all that went through."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.checksum = file, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.checksum = zlib.crc32(data, self.checksum)
        return self._file.write(data)


def _write_checked(path: Path, name: str, write: Callable[[BinaryIO], object]) -> None:
    """Raises FileError where the file holds other bytes afterwards than were written."""
    with path.open("r+b") as file:  # which is there and empty, or was deleted as the process ends
        summed = _Summed(file)
        write(cast("BinaryIO", summed))
    found = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            found = zlib.crc32(piece, found)
    if found != summed.checksum:
        raise FileError(f"{name}: {_OTHER_BYTES}")


def _holds(path: Path, data: bytes) -> bool:
    """Whether a file has just these bytes; read piece by piece."""
    rest = memoryview(data)
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            if rest[: len(piece)] != piece:
                return False
            rest = rest[len(piece) :]
    return not rest


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write `values` whole or not at all, over what is there. Raises FileError, ValueError for NaN and infinity."""
    text = json.dumps(values, indent=1, allow_nan=False) + "\n"
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all, over what is there. Raises FileError."""
    with _file_errors(str(path)):
        check_target(Task(STANDARD, str(path)), force=True)  # made from no file
        write_whole(_with_folder(str(path)), text)


def _with_folder(target: str) -> Path:
    """The path of a target, whose folder is made."""
    path = Path(os.path.realpath(target))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _file_errors(target: str) -> Iterator[None]:
    """OSError becomes a FileError that names the target."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, (FileExistsError, NotADirectoryError)) and error.filename:  # where its folder is made
            reason = f"{error.filename} is no folder"
        raise FileError(f"{target}: cannot be written ({reason})") from error
