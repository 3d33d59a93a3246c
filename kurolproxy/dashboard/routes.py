"""All pages there are."""

from __future__ import annotations

from typing import Final

from kurolproxy.dashboard.pages import front
from kurolproxy.dashboard.router import Route

ROUTES: Final[tuple[Route, ...]] = (*front.ROUTES,)
