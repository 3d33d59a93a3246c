"""All pages there are."""

from __future__ import annotations

from typing import Final

from kurolproxy.dashboard import stream
from kurolproxy.dashboard.pages import front, keys
from kurolproxy.dashboard.router import Route

ROUTES: Final[tuple[Route, ...]] = (
    *front.ROUTES,
    *stream.ROUTES,
    *keys.ROUTES,
)
