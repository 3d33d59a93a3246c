"""``/dashboard/``: what is used today, what runs and what ended last, moving by itself.

All of it comes from memory. Only behind a restart, when memory knows of no call, the last
ones are looked up in the ledger.
"""

from __future__ import annotations

from typing import Any, Final

from aiohttp import web

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.live import Finished
from kurolproxy.storage.request_log import Filter, RequestReader

SHOWN: Final = 15
"""So many of the last requests are shown."""
_LOOKED_BACK_S: Final = 14 * 86_400.0


async def show(visit: Visit) -> web.Response:
    """Show how things stand."""
    desk, account = visit.desk, visit.account
    updates = desk.feeds.updates
    since = updates.since(account.id, None)
    last: list[dict[str, Any]] = since["finished"][::-1]
    if not last:
        last = [updates.row(each) for each in await _last_written(visit)]
    return visit.render(
        "overview.html",
        state=updates.state(account.id),
        now=since["now"],
        seq=since["seq"],
        last=last[:SHOWN],
        shown=SHOWN,
        keys=desk.keys.count_of(account.id),
    )


async def _last_written(visit: Visit) -> list[Finished]:
    """Return the last requests that the ledger knows of, the newest first."""
    wanted = Filter(visit.desk.times.unix() - _LOOKED_BACK_S, account_id=visit.account.id)
    found = await RequestReader(visit.desk.database).page(wanted, limit=SHOWN)
    return [Finished(*row, "", found.labels.get(row.key_id, "")) for row in found.rows]


ROUTES: Final = (Route("GET", "/dashboard/", show),)
