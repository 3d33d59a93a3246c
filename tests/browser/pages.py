"""All pages that there are, an address for each, and a site that has something on all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.routes import ROUTES
from tests.browser.sites import HOSTILE, Site, fill

NO_PAGE: Final = re.compile(r"/|.*\.(?:csv|json)|.*/(?:live|now)")
"""What answers with something else than a page."""
PAGES: Final[Mapping[str, Route]] = {
    route.path: route
    for route in ROUTES
    if route.method == "GET" and not NO_PAGE.fullmatch(route.path)
}


@dataclass(frozen=True, slots=True)
class Examples:
    """An address of each page.

    Attributes:
        token: of an admin's session.
        paths: pattern of a path -> a path.
    """

    token: str
    paths: Mapping[str, str]

    def path(self, pattern: str) -> str:
        """Return a path to which a pattern leads."""
        assert "{" not in pattern or pattern in self.paths, f"{pattern} has no example here"
        return self.paths.get(pattern, pattern)


async def furnish(site: Site, *, hostile: bool = False) -> Examples:
    """Put something on every page.

    Args:
        hostile: some names would like to be markup.
    """
    label, name = HOSTILE[:2] if hostile else ("demo-ci", "")
    admin = await site.account("ann@example.org", role="admin")
    await site.key(admin.email, "demo-laptop")
    key, _ = await site.gateway.accounts.create_key(admin.email, label=label)
    other = await site.account("bob@example.org", name=name, plan="solo")
    await fill(site, admin)
    _, link = await site.gateway.accounts.links.create("setup")
    _, link = await site.gateway.accounts.links.create("invite", plan="team")
    paths = {
        "/dashboard/link/{token}": f"/dashboard/link/{link}",
        "/dashboard/keys/{id}": f"/dashboard/keys/{key.id}",
        "/dashboard/admin/accounts/{id}": f"/dashboard/admin/accounts/{other.id}",
        "/dashboard/admin/requests/{id}": f"/dashboard/admin/requests/req_{admin.id:04d}000101",
    }
    return Examples(site.log_in(admin), paths)
