"""Storage that fails for a while is asked again; what stays wrong is a StorageError, never a failed picture."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

from vqcodec.dataset.errors import DatasetError, StorageError

#: environment variable: seconds for which storage that fails is asked again
PATIENCE_VARIABLE: Final = "VQCODEC_STORAGE_PATIENCE"
_PATIENCE_SECONDS: Final = 120.0
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 10.0
#: what waiting does not change
_FINAL: Final = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)
#: errno of a disk or quota that is full, of a file system that cannot be written, of names that are too long
_FINAL_NUMBERS: Final = frozenset({28, 122, 27, 30, 36})

T = TypeVar("T")


def patience_seconds() -> float:
    """For how long storage that fails is asked again. Raises DatasetError for a value that is no number."""
    value = os.environ.get(PATIENCE_VARIABLE, "")
    try:
        seconds = float(value) if value else _PATIENCE_SECONDS
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise DatasetError(f"{PATIENCE_VARIABLE}={value}: take a number of seconds")
    return seconds


def patiently(name: str, action: Callable[[], T]) -> T:
    """What `action` gives, tried again while storage fails; name: of the file, for the message. Raises StorageError."""
    ends, wait = time.monotonic() + patience_seconds(), _FIRST_WAIT
    while True:
        try:
            return action()
        except (DatasetError, MemoryError):
            raise
        except Exception as error:  # clients of object storage raise nearly everything
            final = isinstance(error, _FINAL) or getattr(error, "errno", None) in _FINAL_NUMBERS
            if final or time.monotonic() + wait > ends:
                raise StorageError(f"{name}: {_reason(error)}; {_remedy(error)}") from error
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)


def _reason(error: Exception) -> str:
    strerror = getattr(error, "strerror", None)
    return str(strerror) if strerror else " ".join(str(error).split()) or type(error).__name__


def _remedy(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "put it back, or plan anew into another folder"
    if isinstance(error, PermissionError):
        return "check the rights"
    if isinstance(error, IsADirectoryError):
        return "name a file"
    if getattr(error, "errno", None) in (28, 122):
        return "make room, then run the same command again"
    return "the storage fails: run the same command again when it is back"
