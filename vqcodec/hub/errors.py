"""What can go wrong with the hub."""

from __future__ import annotations


class HubError(ValueError):
    """An address is none, a repository or file is not there, or the hub cannot be reached."""
