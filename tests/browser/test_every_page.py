"""Every page, wide and narrow, light and dark, by keyboard: readable, reachable, accessible."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from kurolproxy.dashboard.router import Route
from tests.browser.conftest import LONG, Theme, Viewer, open_window
from tests.browser.looking import overflow, unreached, violations
from tests.browser.pages import PAGES, Examples, furnish
from tests.browser.sites import Site, serving

WALKED = {"/dashboard/login", "/dashboard/", "/dashboard/keys", "/dashboard/playground"}
"""Those that the default run walks through."""
SHORT: list[tuple[int, Theme]] = [(1280, "light"), (390, "dark")]
WINDOWS: list[tuple[int, Theme]] = [*SHORT, (1280, "dark"), (390, "light")] if LONG else SHORT


@dataclass(slots=True)
class Shown:
    """A site, and the windows through which an admin and a stranger look at it."""

    chromium: Browser
    site: Site
    examples: Examples
    windows: dict[tuple[int, Theme, bool], Viewer] = field(default_factory=dict)

    async def through(self, width: int, theme: Theme, route: Route) -> Viewer:
        """Return a window onto a page."""
        stranger = route.needs == "nobody"
        place = (width, theme, stranger)
        if place not in self.windows:
            token = "" if stranger else self.examples.token
            self.windows[place] = await open_window(
                self.chromium, self.site, token, width=width, theme=theme
            )
        viewer = self.windows[place]
        viewer.watch.found.clear()
        viewer.watch.expected[:] = ["status of 40[03]"] if stranger else []
        await viewer.to(self.examples.path(route.path))
        return viewer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shown]:
    """Yield a site with something on every page; some of its names would like to be markup."""
    async with serving(tmp_path_factory.mktemp("shown")) as site:
        yield Shown(chromium, site, await furnish(site, hostile=True))


@pytest.mark.parametrize(("width", "theme"), WINDOWS)
@pytest.mark.parametrize("path", list(PAGES))
async def test_page_is_readable_and_accessible(
    shown: Shown, path: str, width: int, theme: Theme
) -> None:
    viewer = await shown.through(width, theme, PAGES[path])
    page = viewer.page
    assert await page.locator("h1").count() == 1
    assert await violations(page) == []
    assert await overflow(page) == 0
    assert viewer.watch.wrong == []


@pytest.mark.parametrize("width", [1280, 390] if LONG else [1280])
@pytest.mark.parametrize("path", [path for path in PAGES if LONG or path in WALKED])
async def test_every_control_is_reached_by_keyboard_and_seen_then(
    shown: Shown, path: str, width: int
) -> None:
    viewer = await shown.through(width, "light", PAGES[path])
    assert await unreached(viewer.page) == []
