"""What libtiff says: it writes lines to the process's stderr, without the name of a file. Here they are collected."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

__all__ = ["LibtiffMessages", "libtiff_messages"]

_STDERR: Final = 2
_MOST_MESSAGES: Final = 3
#: "ZIPDecode: Decoding error at scanline 0, incorrect data check."; our own lines start in small letters
_LINE: Final = re.compile(rb"(?m)^(?!(?:warning|error): )[\w .\[\]()/\\-]{1,200}: (Warning, )?([^\n]{3,400}\.)\n")
#: tags that libtiff does not know are no fault of a file
_HARMLESS: Final = re.compile(r"[Uu]nknown field|incorrect count for field|Invalid TIFF directory; tags are not sorted")


@dataclass
class LibtiffMessages:
    """errors: what it could not decode as it should; warnings: what it wondered at."""

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The errors as one line or none."""
        few = list(dict.fromkeys(self.errors))
        more = f" (and {len(few) - _MOST_MESSAGES} more)" if len(few) > _MOST_MESSAGES else ""
        return [f"libtiff says: {' '.join(few[:_MOST_MESSAGES])}{more}"] if few else []


@contextlib.contextmanager
def libtiff_messages() -> Iterator[LibtiffMessages]:
    """Inside it nothing of libtiff's reaches stderr; at its end the messages are there.

    For use by one thread at a time. What others write to stderr meanwhile gets there at the end.
    """
    messages = LibtiffMessages()
    try:
        before = os.dup(_STDERR)
    except OSError:  # a process without stderr
        yield messages
        return
    try:
        with tempfile.TemporaryFile() as written:
            _flush()
            os.dup2(written.fileno(), _STDERR)
            try:
                yield messages
            finally:
                _flush()
                os.dup2(before, _STDERR)
                written.seek(0)
                rest = _LINE.sub(lambda found: _take(found, messages), written.read())
                with contextlib.suppress(OSError):  # as when stderr is a pipe that nobody reads any more
                    os.write(_STDERR, rest)
    finally:
        os.close(before)


def _take(found: re.Match[bytes], messages: LibtiffMessages) -> bytes:
    text = found[2].decode("utf-8", "backslashreplace")
    if not _HARMLESS.search(text):
        (messages.warnings if found[1] else messages.errors).append(text)
    return b""


def _flush() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
