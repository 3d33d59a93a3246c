"""All pages for admins."""

from __future__ import annotations

from typing import Final

from kurolproxy.dashboard.pages.admin import (
    account,
    accounts,
    audit,
    config,
    plans,
    requests,
    system,
    upstreams,
)
from kurolproxy.dashboard.router import Route

ROUTES: Final[tuple[Route, ...]] = (
    *accounts.ROUTES,
    *account.ROUTES,
    *plans.ROUTES,
    *upstreams.ROUTES,
    *requests.ROUTES,
    *audit.ROUTES,
    *config.ROUTES,
    *system.ROUTES,
)
