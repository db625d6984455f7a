"""A real browser for the pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_helpers import OpenPage, PageOpener

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Route

# a sandbox does not start for root; the rest keeps the browser itself from calling anyone
_OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'vqcodec[test]'")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium on the path, which the tests of the pages need: apt install chromium")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=program, args=list(_OPTIONS))
        yield launched
        launched.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[PageOpener]:
    """Opens a page from its file. After the test no page may have asked the network, or told an error."""
    opened: list[OpenPage] = []

    def stop(route: Route) -> None:
        route.abort()

    def open_(path: Path, *, width: int = 1200, fragment: str = "") -> OpenPage:
        context = browser.new_context(viewport={"width": width, "height": 900}, has_touch=width < 500)
        context.set_default_timeout(20_000)
        context.route(lambda url: not url.startswith(("file:", "data:", "blob:")), stop)
        one = OpenPage(context.new_page())
        opened.append(one)
        one.page.on("request", one.note_request)
        one.page.on("pageerror", lambda error: one.errors.append(str(error)))
        one.page.on("console", lambda said: one.errors.append(said.text) if said.type in ("error", "warning") else None)
        one.page.goto(path.resolve().as_uri() + fragment)
        return one

    yield open_
    for one in opened:
        one.page.context.close()
    assert [one.strangers for one in opened] == [[] for _ in opened]
    assert [one.errors for one in opened] == [[] for _ in opened]
