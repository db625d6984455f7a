"""Files that are there whole or not at all: written beside their place, and moved there when they are complete.

A process that is killed on the way leaves what was there before, and at most a file `.NAME-....partial` beside it.
"""

from __future__ import annotations

import glob
import os
import secrets
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

_SUFFIX: Final = ".partial"
#: characters of a file's name that its temporary file is named by: names end at 255 bytes
_NAME_CHARACTERS: Final = 40

_lock = threading.Lock()
#: temporary files of `replacing` that are being written; None when none may become whole any more
_under_way: set[Path] | None = set()


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """A new, empty file beside `path`, which becomes `path` when the block ends well, and is deleted when it does not.

    durable: wait until the disk has it, so that a power cut, too, leaves the old or the new file; costs some
    milliseconds, on a busy disk a hundred. Where `path` is a link, what it leads to is replaced. Who may read and write
    a file that is replaced stays as it was, but for its owner, and for a group that the user is not in, which loses its
    rights; a new file is as open as the umask says. Raises OSError.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name[:_NAME_CHARACTERS]}-{secrets.token_hex(8)}{_SUFFIX}")
    before = target.stat() if target.is_file() else None
    try:
        with _lock:
            _writing().add(temporary)
            # created here, and not by tempfile, which would make it private to the user whatever the umask says
            os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if before else 0o666))
        yield temporary
        if durable:  # before the rights, which may forbid to open it
            _wait_for_disk(temporary)
        if before is not None:
            _take_rights(temporary, before)
        with _lock:
            _writing()
            temporary.replace(target)
    finally:
        with _lock:
            with suppress(OSError):
                temporary.unlink()
            if _under_way is not None:
                _under_way.discard(temporary)


def fill(temporary: Path, content: bytes) -> None:
    """Write into the file that `replacing` gave. One that `abandon_all` deleted is not made again. Raises OSError."""
    with temporary.open("r+b") as file:
        file.write(content)


def abandon_all() -> None:
    """Delete what `replacing` is writing in other threads, and let nothing become whole from now on: for a process that
    ends at once, whatever its threads do."""
    global _under_way
    with _lock:
        for temporary in _under_way or ():
            with suppress(OSError):
                temporary.unlink()
        _under_way = None


def is_abandoned() -> bool:
    """Whether `abandon_all` was called."""
    return _under_way is None


def _writing() -> set[Path]:
    """What is under way. Raises InterruptedError after `abandon_all`."""
    if _under_way is None:
        raise InterruptedError("the process is ending")
    return _under_way


def _take_rights(path: Path, before: os.stat_result) -> None:
    """Those of the file that `path` replaces."""
    mode = stat.S_IMODE(before.st_mode)
    if os.name == "posix":
        try:
            os.chown(path, before.st_uid if os.geteuid() == 0 else -1, before.st_gid)
        except PermissionError:  # and no other group gets what that one had
            mode &= ~stat.S_IRWXG
    path.chmod(mode)


def write_whole(path: Path, content: bytes | str, *, durable: bool = False) -> None:
    """Write bytes, or a text as UTF-8, over what is there. durable: as in `replacing`. Raises OSError."""
    with replacing(path, durable=durable) as temporary:
        fill(temporary, content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing_several(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A folder to write files of these names in, which move to `folder` at the end, in this order, if all went well.

    names: paths in `folder`, whose folders are made, as it is; other files in it stay. The last name is best that of
    the file without which the others are not looked at. Raises OSError.
    """
    folder = Path(os.path.realpath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".vqcodec-", suffix=_SUFFIX, dir=folder.parent) as draft_name:
        draft = Path(draft_name)
        yield draft
        for name in names:
            _wait_for_disk(draft / name)
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).replace(folder / name)


def delete_left_overs(folder: Path, start: str) -> None:
    """Delete what processes left in `folder` that were killed while they wrote files whose names start so.

    start: of the names, up to 40 characters. No other process may be writing such files now.
    """
    for left_over in folder.glob(f".{glob.escape(start)}*{_SUFFIX}"):
        left_over.unlink(missing_ok=True)


def _wait_for_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
