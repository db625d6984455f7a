"""Keys that occur twice: found by hashes of 8 bytes each, so that a billion keys take 8 GB and no more."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

#: duplicates that are named
_NAMED: Final = 3


class KeyHashes:
    """Of all keys so far."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, keys: Iterable[str]) -> None:
        """Some more keys."""
        self._hashes.extend(map(_hash, keys))

    def suspicious(self) -> set[int]:
        """Hashes that occur more than once."""
        ordered = np.sort(np.frombuffer(self._hashes, np.uint64)) if self._hashes else np.empty(0, np.uint64)
        return set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())


def duplicates(hashes: KeyHashes, keys: Iterator[list[str]]) -> list[str]:
    """The first keys that really occur twice. keys: all of them again, looked at only where hashes are equal."""
    suspicious = hashes.suspicious()
    seen: set[str] = set()
    found: list[str] = []
    for some in keys if suspicious else ():
        for key in some:
            if _hash(key) in suspicious:
                if key in seen and key not in found:
                    found.append(key)
                seen.add(key)
        if len(found) >= _NAMED:
            break
    return found[:_NAMED]


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
