"""All pages there are."""

from __future__ import annotations

from typing import Final

from kurolproxy.dashboard import stream
from kurolproxy.dashboard.pages import (
    account,
    connect,
    front,
    keys,
    links,
    login,
    models,
    overview,
    playground,
    reference,
    security,
    signup,
    usage,
)
from kurolproxy.dashboard.pages.admin import pages as admin
from kurolproxy.dashboard.router import Route

ROUTES: Final[tuple[Route, ...]] = (
    *front.ROUTES,
    *reference.ROUTES,
    *overview.ROUTES,
    *login.ROUTES,
    *links.ROUTES,
    *signup.ROUTES,
    *security.ROUTES,
    *stream.ROUTES,
    *keys.ROUTES,
    *models.ROUTES,
    *usage.ROUTES,
    *playground.ROUTES,
    *connect.ROUTES,
    *account.ROUTES,
    *admin.ROUTES,
)
