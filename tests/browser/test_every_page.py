"""Every page, wide and narrow, light and dark, by keyboard: readable, reachable, accessible."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.routes import ROUTES
from tests.browser.conftest import LONG, Theme, Viewer, open_window
from tests.browser.looking import overflow, unreached, violations
from tests.browser.sites import HOSTILE, Site, fill, serving

NO_PAGES = {
    "/",
    "/openapi.json",
    "/dashboard/live",
    "/dashboard/live.json",
    "/dashboard/admin/live",
    "/dashboard/admin/live.json",
}
"""What answers with something else than a page."""
PAGES = {
    route.path: route for route in ROUTES if route.method == "GET" and route.path not in NO_PAGES
}
SHORT: list[tuple[int, Theme]] = [(1280, "light"), (390, "dark")]
WINDOWS: list[tuple[int, Theme]] = [*SHORT, (1280, "dark"), (390, "light")] if LONG else SHORT


@dataclass(slots=True)
class Shown:
    """A site, and the windows through which an admin and a stranger look at it.

    Attributes:
        examples: pattern of a path -> a path.
    """

    chromium: Browser
    site: Site
    admin: str
    examples: Mapping[str, str]
    windows: dict[tuple[int, Theme, bool], Viewer] = field(default_factory=dict)

    async def through(self, width: int, theme: Theme, route: Route) -> Viewer:
        """Return a window onto a page."""
        stranger = route.needs == "nobody"
        place = (width, theme, stranger)
        if place not in self.windows:
            token = "" if stranger else self.admin
            self.windows[place] = await open_window(
                self.chromium, self.site, token, width=width, theme=theme
            )
        viewer = self.windows[place]
        viewer.watch.found.clear()
        viewer.watch.expected[:] = ["status of 40[03]"] if stranger else []
        await viewer.to(self.examples.get(route.path, route.path))
        return viewer


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shown(
    chromium: Browser, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Shown]:
    """Yield a site with something on every page; some of its names would like to be markup."""
    async with serving(tmp_path_factory.mktemp("shown")) as site:
        admin = await site.account("ann@example.org", role="admin", name="Ann Example")
        await site.key(admin.email, "laptop")
        key, _ = await site.gateway.accounts.create_key(admin.email, label=HOSTILE[0])
        other = await site.account("bob@example.org", name=HOSTILE[1], plan="solo")
        await fill(site, admin)
        examples = {
            "/dashboard/keys/{id}": f"/dashboard/keys/{key.id}",
            "/dashboard/admin/accounts/{id}": f"/dashboard/admin/accounts/{other.id}",
            "/dashboard/admin/requests/{id}": f"/dashboard/admin/requests/req_{admin.id:04d}000101",
        }
        yield Shown(chromium, site, site.log_in(admin), examples)


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
@pytest.mark.parametrize("path", list(PAGES))
async def test_every_control_is_reached_by_keyboard_and_seen_then(
    shown: Shown, path: str, width: int
) -> None:
    viewer = await shown.through(width, "light", PAGES[path])
    assert await unreached(viewer.page) == []


def test_example_stands_for_every_pattern(shown: Shown) -> None:
    assert [path for path in PAGES if "{" in path and path not in shown.examples] == []
