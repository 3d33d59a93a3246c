"""The live feed over HTTP: a stream of server-sent events, and the same asked for now and then."""

from __future__ import annotations

from typing import Final

from aiohttp import HttpVersion11, web

from kurolproxy.dashboard import answers
from kurolproxy.dashboard.feeds import TooManyViewers, Viewer
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit

_DIGITS: Final = 16
# Until a browser that lost the stream comes again by itself.
_RETRY: Final = b"retry: 1000\n\n"


async def watch_own(visit: Visit) -> web.StreamResponse:
    """Stream what happens in the account."""
    return await _watch(visit, everybody=False)


async def watch_all(visit: Visit) -> web.StreamResponse:
    """Stream what happens in all accounts."""
    return await _watch(visit, everybody=True)


async def ask_own(visit: Visit) -> web.StreamResponse:
    """Return once what the stream of the account would begin with."""
    return _asked(visit, visit.account.id)


async def ask_all(visit: Visit) -> web.StreamResponse:
    """Return once what the stream of all accounts would begin with."""
    return _asked(visit, None)


async def _watch(visit: Visit, *, everybody: bool) -> web.StreamResponse:
    feeds, request, session = visit.desk.feeds, visit.request, visit.session
    assert session is not None
    try:
        feeds.check_room(visit.account.id)
    except TooManyViewers:
        # No page: it is a script that asks, and goes on to ask now and then.
        return web.Response(status=503, headers={"retry-after": "5"})
    response = web.StreamResponse(
        headers={
            "content-type": "text/event-stream; charset=utf-8",
            # Proxies are not to wait until they have a whole page of it.
            "x-accel-buffering": "no",
        }
    )
    answers.guard(response)
    await response.prepare(request)
    transport = request.transport
    if request.method == "HEAD" or transport is None:
        return response
    viewer = Viewer(
        visit.account.id,
        visit.token,
        transport,
        everybody=everybody,
        chunked=request.version >= HttpVersion11,
        after=_after(visit),
    )
    viewer.write(_RETRY)
    try:
        feeds.enter(viewer, session)
        await viewer.over
    finally:
        feeds.leave(viewer)
    return response


def _asked(visit: Visit, account_id: int | None) -> web.Response:
    updates = visit.desk.feeds.updates
    return answers.json(updates.state(account_id) | updates.since(account_id, _after(visit)))


def _after(visit: Visit) -> int | None:
    """Return the number of the last call that the browser knows of; None when it says none."""
    given = visit.request.headers.get("last-event-id") or visit.query.get("after", "")
    known = given.isascii() and given.isdigit() and len(given) <= _DIGITS
    return int(given) if known else None


ROUTES: Final = (
    Route("GET", "/dashboard/live", watch_own, quiet=True),
    Route("GET", "/dashboard/live.json", ask_own, quiet=True),
    Route("GET", "/dashboard/admin/live", watch_all, needs="admin", quiet=True),
    Route("GET", "/dashboard/admin/live.json", ask_all, needs="admin", quiet=True),
)
