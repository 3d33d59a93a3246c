"""Chromium as Debian has it, driven by Playwright; a page that notes whatever goes wrong in it."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Dialog,
    Page,
    Playwright,
    Request,
    async_playwright,
)

from tests.browser.sites import Site, serving

CHROMIUM = shutil.which("chromium")
LONG = os.environ.get("KUROL_LONG_BROWSER") == "1"
"""Whether everything is looked at: ``make test-browser``."""

# A machine without a network must not make it wait, nor call anybody.
_ARGS = [
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => console.error(
    `policy: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`
));
"""
_LIMIT_MS = 10_000


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run all tests of this folder in one loop: the browser lives in it."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@dataclass  # no slots: Playwright notes on it which of its methods it calls
class Watch:
    """What went wrong in a page.

    Attributes:
        expected: patterns of what a test brings about on purpose.
        agrees: say yes to questions, which are not wrong then.
    """

    base_url: str
    found: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    agrees: bool = False

    def over(self, page: Page) -> None:
        """Look after a page from now on."""
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.found.append(f"error: {error}"))
        page.on("request", self._asked)
        page.on("dialog", self._answer)

    async def _answer(self, dialog: Dialog) -> None:
        if self.agrees and dialog.type == "confirm":
            await dialog.accept()
            return
        self.found.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.found.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        if urlsplit(request.url).scheme in ("data", "blob"):
            return
        if not request.url.startswith(f"{self.base_url}/"):
            self.found.append(f"request: {request.url}")

    @property
    def wrong(self) -> list[str]:
        """What was not expected."""
        return [
            each
            for each in self.found
            if not any(re.search(pattern, each) for pattern in self.expected)
        ]


class Reached(Protocol):
    """A gateway of this process, or of another."""

    @property
    def base_url(self) -> str:
        """Where it is reached."""


@dataclass(frozen=True, slots=True)
class Viewer:
    """A browser's window at a site, and who sits before it."""

    page: Page
    watch: Watch
    site: Reached
    context: BrowserContext

    async def to(self, path: str) -> None:
        """Go to a page of the site."""
        await self.page.goto(self.site.base_url + path)

    def expect(self, *patterns: str) -> None:
        """Take something for right that would be wrong elsewhere."""
        self.watch.expected.extend(patterns)


View = Callable[..., Awaitable[Viewer]]
Theme = Literal["light", "dark"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """Yield the browser."""
    if CHROMIUM is None:
        pytest.skip("no browser: install the package chromium")
    async with async_playwright() as playwright, launched(playwright) as browser:
        yield browser


@asynccontextmanager
async def launched(playwright: Playwright) -> AsyncIterator[Browser]:
    """Run the browser."""
    browser = await playwright.chromium.launch(
        executable_path=CHROMIUM,
        args=_ARGS,
        # Its sandbox refuses to be root's.
        chromium_sandbox=os.geteuid() != 0,
    )
    try:
        yield browser
    finally:
        await browser.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Yield a gateway of one test."""
    async with serving(tmp_path) as running:
        yield running


async def open_window(
    chromium: Browser,
    site: Reached,
    token: str = "",
    *,
    width: int = 1280,
    theme: Theme = "light",
    scripts: bool = True,
) -> Viewer:
    """Open a window at a site.

    Args:
        token: of a session; "": nobody is logged in.
    """
    context = await chromium.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=theme,
        java_script_enabled=scripts,
        reduced_motion="reduce",
    )
    context.set_default_timeout(_LIMIT_MS)
    await context.add_init_script(_VIOLATIONS)
    if token:
        cookie = {
            "name": "kurol",
            "value": token,
            "url": site.base_url,
            "httpOnly": True,
            "sameSite": "Strict",
        }
        await context.add_cookies([cookie])  # type: ignore[list-item]  # its type has no public name
    watch = Watch(site.base_url)
    context.on("page", watch.over)
    return Viewer(await context.new_page(), watch, site, context)


@pytest_asyncio.fixture(loop_scope="session")
async def view(chromium: Browser) -> AsyncIterator[View]:
    """Yield a function that opens a window: (site, email, role=, plan=, width=, theme=).

    Without an email nobody is logged in there, and the site may be any process that serves.

    At the end of the test there must have been no error in any of them, no violation of the
    policy, no request to anybody else.
    """
    opened: list[Viewer] = []

    async def run(
        site: Any,
        email: str | None = None,
        *,
        role: str = "user",
        plan: str = "team",
        **options: Any,
    ) -> Viewer:
        token = ""
        if email is not None:
            token = site.log_in(await site.account(email, role=role, plan=plan))
        viewer = await open_window(chromium, site, token, **options)
        opened.append(viewer)
        return viewer

    yield run
    wrong = []
    for each in opened:
        await each.context.close()
        wrong += each.watch.wrong
    assert wrong == []
