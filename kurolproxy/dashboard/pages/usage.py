"""Usage of the account: by day, hour, key or model, as a chart, a table and a file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Any, Final

from aiohttp import web
from aiohttp.web import StreamResponse

from kurolproxy.dashboard import answers, usage_lines
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.usage_lines import Asked, Line
from kurolproxy.dashboard.visit import Visit
from kurolproxy.policy.keys import SESSION_KEY_ID
from kurolproxy.storage.account_usage import Place, hours_from, used_by
from kurolproxy.storage.errors import QueryTooLong
from kurolproxy.storage.key_list import names_of
from kurolproxy.storage.report_csv import csv_head, csv_lines
from kurolproxy.storage.usage import COUNTERS

PATH: Final = "/dashboard/usage"
_FLUSH_S: Final = 1.0
_MOST_LINES: Final = 400
_LINES_AT_ONCE: Final = 200


async def show(visit: Visit) -> web.Response:
    """Show what the account used."""
    wanted = _asked(visit)
    whole = await _flushed(visit)
    try:
        lines = await _lines(visit, wanted)
        too_much = False
    except QueryTooLong:
        lines, too_much = [], True
    return visit.render(
        "usage.html",
        status=422 if wanted.wrong else 503 if too_much else 200,
        asked=wanted,
        places=usage_lines.PLACES,
        periods=usage_lines.PERIODS,
        lines=lines[:_MOST_LINES],
        left_out=max(0, len(lines) - _MOST_LINES),
        total=usage_lines.total_of(lines),
        hours_from=await _hours_known_from(visit, wanted),
        whole=whole,
        too_much=too_much,
    )


async def download(visit: Visit) -> StreamResponse:
    """Send the same lines as comma-separated values, all of them."""
    wanted = _asked(visit)
    if wanted.wrong:
        return await show(visit)
    await _flushed(visit)
    lines = await _lines(visit, wanted)
    columns = [*_PLACE_COLUMNS[wanted.by], *COUNTERS, "estimated_cost_usd"]
    name = f"usage-by-{wanted.by}-{wanted.first}-{wanted.last}.csv"
    response = StreamResponse(
        headers={
            "content-type": "text/csv; charset=utf-8",
            "content-disposition": f'attachment; filename="{name}"',
        }
    )
    answers.guard(response)
    await response.prepare(visit.request)
    if visit.request.method != "HEAD":
        await response.write(csv_head(columns))
        for start in range(0, len(lines), _LINES_AT_ONCE):
            some = [_cells(wanted.by, each) for each in lines[start : start + _LINES_AT_ONCE]]
            await response.write(csv_lines(columns, some))
    await response.write_eof()
    return response


_PLACE_COLUMNS: Final[dict[Place, tuple[str, ...]]] = {
    "day": ("day",),
    "hour": ("hour",),
    "key": ("key", "label"),
    "model": ("model",),
}


def _cells(by: Place, line: Line) -> dict[str, Any]:
    """Return a line as the columns of the file."""
    places = dict(zip(_PLACE_COLUMNS[by], (line.place, line.name), strict=False))
    counts = line.counts._asdict()
    return {
        **places,
        **counts,
        "estimated_cost_usd": None if line.cost is None else round(line.cost, 6),
    }


def _asked(visit: Visit) -> Asked:
    return usage_lines.asked(visit.query, _today(visit), visit.gettext)


def _today(visit: Visit) -> date:
    """Return the day that calls are billed to, also after a clock was set back."""
    return max(visit.desk.times.today(), visit.desk.admission.day)


async def _flushed(visit: Visit) -> bool:
    """Let the ledger write what was settled so far; return whether it did in time."""
    try:
        async with asyncio.timeout(_FLUSH_S):
            return await visit.desk.flush()
    except TimeoutError:
        return False


async def _lines(visit: Visit, wanted: Asked) -> list[Line]:
    """Return the lines of the table, in its order."""
    desk, by = visit.desk, wanted.by
    used = await used_by(desk.database, visit.account.id, by, wanted.days)
    models = desk.catalog().models
    prices = {name: model.price for name, model in models.items() if model.price is not None}
    lines = usage_lines.lines_of(used, prices)
    if by == "day":
        return usage_lines.filled(lines, [each.isoformat() for each in wanted.days])
    if by == "hour":
        hours = usage_lines.hours_of(wanted.days, desk.times.unix())
        return usage_lines.filled(lines, hours)
    sorted_lines = usage_lines.by_charge(lines.values())
    return await _named(visit, sorted_lines) if by == "key" else sorted_lines


async def _named(visit: Visit, lines: Iterable[Line]) -> list[Line]:
    """Return the lines of keys under their labels."""
    found = list(lines)
    names = await names_of(visit.desk.database, visit.account.id, [each.place for each in found])
    labels = {id_: name.label for id_, name in names.items() if name.label}
    labels[SESSION_KEY_ID] = visit.gettext("Playground")
    return [replace(each, name=labels.get(each.place, each.place)) for each in found]


async def _hours_known_from(visit: Visit, wanted: Asked) -> date | None:
    """Return the first day whose hours are known, when an earlier one was asked for."""
    if wanted.by != "hour":
        return None
    known = await hours_from(visit.desk.database)
    return known if known is not None and known > wanted.days[0] else None


ROUTES: Final = (
    Route("GET", PATH, show),
    Route("GET", PATH + ".csv", download),
)
