"""Requests: what was asked by whom, when, and how it ended; never a word of a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, get_args
from urllib.parse import quote, urlencode

from aiohttp import web

from kurolproxy.dashboard.answers import PageError
from kurolproxy.dashboard.pages.admin import asked
from kurolproxy.dashboard.router import Route
from kurolproxy.dashboard.updates import endpoint_of
from kurolproxy.dashboard.visit import Visit
from kurolproxy.ir import ProtocolName
from kurolproxy.policy.keys import SESSION_KEY_ID
from kurolproxy.storage.errors import NotFound
from kurolproxy.storage.request_log import Filter, Found, RequestReader, Result

PATH: Final = "/dashboard/admin/requests"
SHOWN_DAYS: Final = 30
"""Requests of the last so many days are listed; a request is found by its id whenever it was."""

_ROWS: Final = 50
_DAY_S: Final = 86_400.0
_PROTOCOLS: Final[tuple[str, ...]] = get_args(ProtocolName)
_RESULTS: Final[Mapping[str, Result]] = {each: each for each in get_args(Result)}
_FIELDS: Final = ("account", "key", "model", "upstream", "protocol", "result", "from", "to")


@dataclass(slots=True)
class _Asked:
    """The filter as it was typed, what it means, and what is wrong with it."""

    typed: dict[str, str]
    wanted: Filter
    wrong: dict[str, str] = field(default_factory=dict)

    @property
    def query(self) -> str:
        """The filter as a part of an address."""
        return urlencode({name: text for name, text in self.typed.items() if text})

    def older(self, cursor: str) -> str:
        """Return the same, going on behind a row."""
        typed = {name: text for name, text in self.typed.items() if text and name != "id"}
        return urlencode({**typed, "older": cursor})


async def show(visit: Visit) -> web.Response:
    """Show the last requests, or those that a filter finds."""
    request_id = asked.text(visit, "id")
    if request_id:
        return await _looked_up(visit, request_id)
    read = await _read(visit)
    if read.wrong:
        return _page(visit, read, status=422)
    older = asked.text(visit, "older", longest=64)
    seq = visit.desk.live.last(None)
    whole = True if older else await asked.flushed(visit.desk.flush)
    reader = RequestReader(visit.desk.database)
    found = await reader.page(read.wanted, limit=_ROWS, older=older)
    return _page(visit, read, found=found, older=older, whole=whole, seq=seq)


async def show_one(visit: Visit) -> web.Response:
    """Show all that is known of one request."""
    found = await _one(visit, visit.params["id"])
    if found is None:
        raise PageError(404, "missing")
    [row] = found.rows
    return visit.render(
        "admin/request.html",
        row=row,
        label=found.labels.get(row.key_id, ""),
        session_key=SESSION_KEY_ID,
        email=email_of(visit, row.account_id),
        endpoint=endpoint_of(row.client_protocol, streamed=row.streamed),
    )


async def _looked_up(visit: Visit, request_id: str) -> web.Response:
    """Go on to the page of a request; say so when there is none."""
    if await _one(visit, request_id) is not None:
        return visit.redirect(f"{PATH}/{quote(request_id, safe='')}")
    read = await _read(visit)
    read.typed["id"] = request_id
    read.wrong["id"] = visit.gettext("There is no request of this id.")
    return _page(visit, read, status=404)


async def _one(visit: Visit, request_id: str) -> Found | None:
    """Return a request, however long ago it was; None when there is none of this id."""
    await asked.flushed(visit.desk.flush)
    found = await RequestReader(visit.desk.database).one(request_id)
    return found if found.rows else None


def _page(
    visit: Visit,
    read: _Asked,
    *,
    status: int = 200,
    found: Found | None = None,
    older: str = "",
    whole: bool = True,
    seq: int = 0,
) -> web.Response:
    """Return the list.

    Args:
        seq: the number of the last call that can be in it.
        older: where it begins; "": at the newest.
        whole: whether all that ended so far can be in it.
    """
    found = found or Found([])
    catalog = visit.desk.catalog()
    return visit.render(
        "admin/requests.html",
        block="found" if visit.partial else None,
        status=status,
        read=read,
        found=found,
        rows=[(row, email_of(visit, row.account_id)) for row in found.rows],
        endpoint_of=endpoint_of,
        session_key=SESSION_KEY_ID,
        older=older,
        whole=whole,
        live=not (older or read.query),
        seq=seq,
        choices={
            "model": _choices(visit, catalog.models, read.typed["model"]),
            "upstream": _choices(visit, catalog.upstreams, read.typed["upstream"]),
            "protocol": _choices(visit, _PROTOCOLS, read.typed["protocol"]),
        },
        days=SHOWN_DAYS,
        most=_ROWS,
    )


def _choices(visit: Visit, names: Iterable[str], chosen: str) -> list[tuple[str, str]]:
    """Return what may be chosen; what the configuration has no more was asked for by address."""
    known = dict.fromkeys([*names, chosen] if chosen else names)
    return [("", visit.gettext("any")), *((each, each) for each in known)]


def email_of(visit: Visit, account_id: int) -> str:
    """Return the email of an account; "" when it was deleted."""
    account = visit.desk.keys.account(account_id)
    return "" if account is None else account.email


# --- the filter -------------------------------------------------------------------------


async def _read(visit: Visit) -> _Asked:
    """Read the filter; what of it makes no sense is told at its field."""
    typed = {name: asked.text(visit, name) for name in _FIELDS} | {"id": ""}
    now = visit.desk.times.unix()
    read = _Asked(typed, Filter(now - SHOWN_DAYS * _DAY_S))
    since, until = _moment(visit, read, "from"), _moment(visit, read, "to")
    account_id = await _account(visit, read)
    read.wanted = Filter(
        since=max(since or 0.0, read.wanted.since),
        until=until,
        account_id=account_id,
        result=_RESULTS.get(typed["result"]),
        key_id=typed["key"] or None,
        model=typed["model"] or None,
        upstream=typed["upstream"] or None,
        protocol=typed["protocol"] or None,
    )
    return read


def _moment(visit: Visit, read: _Asked, name: str) -> float | None:
    text = read.typed[name]
    if not text:
        return None
    found = asked.moment(text)
    if found is None:
        read.wrong[name] = visit.gettext("This is no date.")
    return found


async def _account(visit: Visit, read: _Asked) -> int | None:
    """Return the account that is meant: by its email, by its number, or by its key."""
    desk, text, key = visit.desk, read.typed["account"], read.typed["key"]
    if text:
        found = asked.number(text)
        if found is not None:
            # Of a deleted account the number is all that is left.
            return found
        try:
            return (await desk.accounts.get_account(text)).id
        except NotFound:
            read.wrong["account"] = visit.gettext("There is no account of this email.")
            return None
    if key and key != SESSION_KEY_ID:
        try:
            return (await desk.accounts.owner_of(key))[1].id
        except NotFound:
            return None
    return None


ROUTES: Final = (
    Route("GET", PATH, show, needs="admin"),
    Route("GET", PATH + "/{id}", show_one, needs="admin"),
)
