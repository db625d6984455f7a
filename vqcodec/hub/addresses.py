"""Addresses of repositories: hf://OWNER/REPO[/SUBFOLDER][@REVISION]. Imports nothing of the hub."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from vqcodec.hub.errors import HubError

SCHEME: Final = "hf://"
_PART: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?"
_ADDRESS: Final = re.compile(rf"({_PART}/{_PART})((?:/[^/@]+)*)(?:@(\S+))?")


@dataclass(frozen=True)
class HubAddress:
    """repository: OWNER/REPO. folder: in it, "" for its root. revision: a branch, tag or commit, "" for the default."""

    repository: str
    folder: str = ""
    revision: str = ""

    def at(self, revision: str) -> HubAddress:
        """The same at another revision."""
        return replace(self, revision=revision)

    def __str__(self) -> str:
        folder, revision = f"/{self.folder}" if self.folder else "", f"@{self.revision}" if self.revision else ""
        return f"{SCHEME}{self.repository}{folder}{revision}"


def is_hub_address(text: str) -> bool:
    """Whether a text names a repository of the hub."""
    return text.startswith(SCHEME)


def parse_hub_address(text: str, revision: str = "") -> HubAddress:
    """revision: in the place of the one in the address. Raises HubError."""
    found = _ADDRESS.fullmatch(text.removeprefix(SCHEME).rstrip("/"))
    folder = found[2].strip("/") if found else ""
    if not found or ".." in folder.split("/"):
        raise HubError(f"{text}: no address of a repository; it is hf://OWNER/REPO[/FOLDER][@REVISION]")
    return HubAddress(found[1], folder, revision or found[3] or "")
