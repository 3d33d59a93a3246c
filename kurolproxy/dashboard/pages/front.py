"""``/``: where a browser that was given the bare address goes on."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from kurolproxy.dashboard import answers
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit


async def show(visit: Visit) -> web.Response:
    """Send the browser to the dashboard."""
    return answers.redirect("/dashboard/")


ROUTES: Final = (Route("GET", "/", show, needs="nobody"),)
