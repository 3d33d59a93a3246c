"""Config: what is in use, without its secrets, each key with the line that says it; a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from aiohttp import web

from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.pages.admin import asked
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.audit_log import AuditLog
from kurolproxy.storage.records import AuditEntry

Line = tuple[str, str, str]

PATH: Final = "/dashboard/admin/config"

_MOST: Final = 500


async def show(visit: Visit) -> web.Response:
    """Show the configuration in use."""
    return await _page(visit)


async def reload(visit: Visit) -> web.Response:
    """Read the file again, as SIGHUP does; the page shows what came of it."""
    desk = visit.desk
    run = desk.operation.reload()
    if run is None:
        raise PageError(404, "missing")
    answer = await run()
    detail = {"ok": answer["ok"], "problems": len(answer.get("problems", ()))}
    await AuditLog(desk.database).note(
        AuditEntry(
            desk.times.unix(),
            visit.as_admin.actor,
            "config.reload",
            desk.operation.file(),
            detail,
        )
    )
    return visit.redirect(PATH, read="again")


async def _page(visit: Visit) -> web.Response:
    operation = visit.desk.operation
    text, named = asked.text(visit, "q"), visit.query.get("named") == "on"
    known = await operation.configuration()
    # A large file has some ten thousand lines: looking through them must hold up no call.
    lines = await asyncio.to_thread(_found, known, text, named=named)
    last = operation.last_reload()
    return visit.render(
        "admin/config.html",
        block="lines" if visit.partial else None,
        text=text,
        named=named,
        lines=lines[:_MOST],
        left_out=len(lines[_MOST:]),
        file=operation.file(),
        warnings=operation.warnings(),
        last=last,
        waiting=frozenset((last or {}).get("needs_restart", ())),
        read_again="read" in visit.query,
        may_reload=operation.reload() is not None,
    )


def _found(lines: Iterable[Line], text: str, *, named: bool) -> list[Line]:
    """Return the lines that hold all words of a text; ``named``: those that the file says."""
    return [
        (key, value, place)
        for key, value, place in lines
        if (place or not named) and _matches(text, key, value)
    ]


def _matches(text: str, key: str, value: str) -> bool:
    """Return whether all words of a text are in a line, in whatever letter case."""
    line = f"{key} {value}".casefold()
    return all(word in line for word in text.casefold().split())


ROUTES: Final = (
    Route("GET", PATH, show, needs="admin"),
    Route("POST", PATH + "/reload", reload, needs="admin"),
)
