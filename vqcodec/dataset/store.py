"""Where a dataset of tokens lies: names -> bytes, on a local disk or on object storage. What has a name is whole.

On a disk bytes are written under a temporary name, which the process that writes is named in, waited for, renamed,
and the folder waited for. On object storage each object is ONE put of bytes that are complete in memory: an exception
inside an open output stream would leave a cut-off object under the final name.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Protocol

from vqcodec.dataset.errors import DatasetError
from vqcodec.dataset.packages import needed
from vqcodec.dataset.patience import patiently

_SUFFIX: Final = ".partial"
#: left-overs of which nobody knows whether their process lives, those of other machines, are deleted after so long
_STALE_SECONDS: Final = 24 * 3600


class Store(Protocol):
    """Bytes by name, such as "tokens/shard-000001.parquet". All methods raise StorageError."""

    @property
    def url(self) -> str:
        """As the user gave it."""

    def names(self, folder: str) -> list[str]:
        """The files in a folder, sorted, without temporary ones; [] when there is no such folder."""

    def exists(self, name: str) -> bool:
        """Whether there is such a file."""

    def size(self, name: str) -> int:
        """Bytes of a file."""

    def read(self, name: str) -> bytes:
        """A whole file."""

    def open(self, name: str) -> Any:
        """A file as a seekable binary stream."""

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all, over what is there."""

    def delete(self, name: str) -> None:
        """Delete a file that may be there."""

    def sweep(self) -> None:
        """Delete what processes left that were killed."""


def is_url(place: str) -> bool:
    """Whether this is the address of a file system of fsspec's and no local path."""
    return "://" in place


def open_store(place: str | Path) -> Store:
    """The store at a path, or at a URL such as s3://bucket/folder. Raises DatasetError."""
    text = str(place)
    if not is_url(text):
        return LocalStore(Path(text))
    return ObjectStore(text)


class LocalStore:
    """A folder; made when something is written."""

    def __init__(self, folder: Path) -> None:
        self.url, self._folder = str(folder), Path(os.path.abspath(folder))
        if self._folder.exists() and not self._folder.is_dir():
            raise DatasetError(f"{folder}: is a file; name a folder")

    def names(self, folder: str) -> list[str]:
        def listed() -> list[str]:
            with suppress(FileNotFoundError):
                return sorted(name for name in os.listdir(self._folder / folder) if not name.endswith(_SUFFIX))
            return []

        return patiently(str(self._folder / folder), listed)

    def exists(self, name: str) -> bool:
        return (self._folder / name).is_file()

    def size(self, name: str) -> int:
        return patiently(self._name(name), lambda: (self._folder / name).stat().st_size)

    def read(self, name: str) -> bytes:
        return patiently(self._name(name), (self._folder / name).read_bytes)

    def open(self, name: str) -> Any:
        return patiently(self._name(name), lambda: (self._folder / name).open("rb"))

    def write(self, name: str, content: bytes) -> None:
        patiently(self._name(name), lambda: self._write(self._folder / name, content))

    def delete(self, name: str) -> None:
        patiently(self._name(name), lambda: (self._folder / name).unlink(missing_ok=True))

    def sweep(self) -> None:
        host = socket.gethostname()
        for path in self._folder.glob(f"**/.*{_SUFFIX}"):
            with suppress(OSError, ValueError):
                *_, writer, process, _ = path.name.removesuffix(_SUFFIX).split("@")
                old = time.time() - path.stat().st_mtime > _STALE_SECONDS
                if old or (writer == host and not _is_alive(int(process))):
                    path.unlink()

    def _name(self, name: str) -> str:
        return f"{self.url}/{name}"

    def _write(self, target: Path, content: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        mark = f"@{socket.gethostname()}@{os.getpid()}@{secrets.token_hex(4)}"
        temporary = target.with_name(f".{target.name}{mark}{_SUFFIX}")
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            with suppress(OSError):
                temporary.unlink()
        if hasattr(os, "O_DIRECTORY"):  # elsewhere folders cannot be waited for
            folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


class ObjectStore:
    """A prefix of a file system of fsspec's, whose single puts are atomic."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._files, self._root = file_system(self.url)

    def names(self, folder: str) -> list[str]:
        path = f"{self._root}/{folder}"

        def listed() -> list[str]:
            with suppress(FileNotFoundError):
                found = self._files.ls(path, detail=False, refresh=True)
                return sorted(str(name).rsplit("/", 1)[1] for name in found if str(name).rstrip("/") != path)
            return []

        return patiently(f"{self.url}/{folder}", listed)

    def exists(self, name: str) -> bool:
        self._files.invalidate_cache()

        def found() -> bool:
            try:
                self._files.info(f"{self._root}/{name}")
            except FileNotFoundError:
                return False
            return True

        return patiently(f"{self.url}/{name}", found)

    def size(self, name: str) -> int:
        return patiently(f"{self.url}/{name}", lambda: int(self._files.info(f"{self._root}/{name}")["size"]))

    def read(self, name: str) -> bytes:
        return patiently(f"{self.url}/{name}", lambda: bytes(self._files.cat_file(f"{self._root}/{name}")))

    def open(self, name: str) -> Any:
        return patiently(f"{self.url}/{name}", lambda: self._files.open(f"{self._root}/{name}", "rb"))

    def write(self, name: str, content: bytes) -> None:
        patiently(f"{self.url}/{name}", lambda: self._files.pipe_file(f"{self._root}/{name}", content))

    def delete(self, name: str) -> None:
        def gone() -> None:
            with suppress(FileNotFoundError):
                self._files.rm_file(f"{self._root}/{name}")

        patiently(f"{self.url}/{name}", gone)

    def sweep(self) -> None:
        """Nothing is ever left there."""


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, without a cache of listings, and the path in it. Raises DatasetError."""
    fsspec = needed("fsspec", "dataset")
    try:
        files, path = fsspec.core.url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise DatasetError(f"{url}: cannot be opened ({' '.join(str(error).split())})") from error
    return files, str(path).rstrip("/")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    with suppress(OSError, IndexError):  # ended, and nobody has asked how: where there is no /proc such ones are alive
        stat = Path(f"/proc/{process}/stat").read_text(encoding="ascii", errors="replace")
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    return True
