"""System: how the process is, what it holds, and how much room is left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from aiohttp import web

from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.visit import Visit

PATH: Final = "/dashboard/admin/system"

# What a report of a fault may hold: no name of a machine, a person or a vendor.
_REPORTED: Final = (
    "version",
    "uptime_s",
    "connections",
    "requests_in_flight",
    "streams_in_flight",
    "reserved_tokens",
    "ledger_pending_rows",
    "ledger_oldest_pending_s",
    "ledger_writable",
    "wal_bytes",
    "draining",
    "config_last_reload_ok",
    "python",
    "implementation",
    "platform",
    "sqlite",
    "resident_bytes",
    "memory_limit_bytes",
    "memory_short",
    "descriptors",
    "descriptors_limit",
    "descriptors_short",
    "loop_lag_s",
    "body_bytes_in_flight",
    "disk_free_bytes",
    "disk_bytes",
    "models",
    "plans",
    "upstreams",
    "upstreams_down",
    "sessions",
    "viewers",
)


async def show(visit: Visit) -> web.Response:
    """Show how everything is."""
    return await _page(visit, block=None)


async def refresh(visit: Visit) -> web.Response:
    """Return what changes on the page."""
    return await _page(visit, block="now")


async def _page(visit: Visit, *, block: str | None) -> web.Response:
    facts = await _facts(visit)
    return visit.render(
        "admin/system.html",
        block=block,
        facts=facts,
        report="\n".join(_report(facts)),
        now=visit.desk.times.unix(),
    )


async def _facts(visit: Visit) -> dict[str, Any]:
    desk = visit.desk
    status, catalog = desk.status(), desk.catalog()
    return {
        **status,
        **await desk.operation.system(),
        "models": len(catalog.models),
        "plans": len(catalog.plans),
        "upstreams": len(catalog.upstreams),
        "upstreams_down": sum(not each["up"] for each in status["upstreams"]),
        "sessions": len(desk.sessions),
        "viewers": len(desk.feeds),
    }


def _report(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of a text that can go into a public bug report."""
    yield "kurolproxy"
    for name in _REPORTED:
        value = facts[name]
        yield f"{name}: {'unknown' if value is None else value}"


ROUTES: Final = (
    Route("GET", PATH, show, needs="admin"),
    Route("GET", PATH + "/now", refresh, needs="admin", quiet=True),
)
