"""A page that is open in a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request


@dataclass
class OpenPage:
    """A page in the browser, what it asked for, and what went wrong in it."""

    page: Page
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def note_request(self, request: Request) -> None:
        self.requests.append(request.url)

    @property
    def strangers(self) -> list[str]:
        """Requests for what is neither beside the page nor in it."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:"))]


#: path, width in pixels, fragment of the address
PageOpener: TypeAlias = Callable[..., OpenPage]
