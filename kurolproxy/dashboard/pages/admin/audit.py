"""Audit: who changed what, and when."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from kurolproxy.dashboard.pages.admin import asked
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit
from kurolproxy.storage.audit_log import AuditFilter, AuditLog

PATH: Final = "/dashboard/admin/audit"

_ROWS: Final = 50
_FIELDS: Final = ("actor", "action", "subject")


async def show(visit: Visit) -> web.Response:
    """Show the last changes, or those that a filter finds."""
    typed = {name: asked.text(visit, name) for name in _FIELDS}
    before = asked.number(visit.query.get("older", ""))
    log = AuditLog(visit.desk.database)
    found = await log.page(AuditFilter(**typed), limit=_ROWS, before=before)
    used = {name: text for name, text in typed.items() if text}
    return visit.render(
        "admin/audit.html",
        typed=typed,
        found=found,
        detail=_detail,
        filtered=bool(used or before),
        older=f"{PATH}?{urlencode({**used, 'older': found.older or ''})}",
    )


def _detail(detail: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what was set, as texts; what was left open is left out."""
    return [
        (name, "true" if value is True else str(value))
        for name, value in detail.items()
        if value not in (None, "", False)
    ]


ROUTES: Final = (Route("GET", PATH, show, needs="admin"),)
