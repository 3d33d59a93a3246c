"""Upstreams: whether each can be asked, how it went lately, what rests and why."""

from __future__ import annotations

from typing import Final

from aiohttp import web

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit

PATH: Final = "/dashboard/admin/upstreams"


async def show(visit: Visit) -> web.Response:
    """Show all upstreams."""
    return _page(visit, block=None)


async def refresh(visit: Visit) -> web.Response:
    """Return what changes on the page."""
    return _page(visit, block="now")


def _page(visit: Visit, *, block: str | None) -> web.Response:
    upstreams = visit.desk.operation.upstreams()
    now = visit.desk.times.unix()
    return visit.render("admin/upstreams.html", block=block, upstreams=upstreams, now=now)


ROUTES: Final = (
    Route("GET", PATH, show, needs="admin"),
    # Asked by the page itself: no sign that somebody is there.
    Route("GET", PATH + "/now", refresh, needs="admin", quiet=True),
)
