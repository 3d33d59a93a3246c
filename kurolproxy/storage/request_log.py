"""The requests of the ledger one by one: what was asked when, never a word of it.

The list goes through rows backwards, see ``walking``: by the index of days and accounts
when an account is given, else in the order in which rows were written, which is that in
which requests ended.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

from kurolproxy.storage.database import Database
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.walking import Pace, Path, walk

Result = Literal["ok", "failed", "gone", "4xx", "5xx"]

_COLUMNS: Final = ", ".join(UsageRow._fields)
_WALKED: Final = f"SELECT rowid, {_COLUMNS} FROM usage NOT INDEXED"
_OF_ACCOUNT: Final = f"SELECT rowid, {_COLUMNS} FROM usage INDEXED BY usage_by_day"
_OWN: Final = ("day = :day", "account_id = :account")
_OWN_FLOOR: Final = (
    f"SELECT rowid FROM usage INDEXED BY usage_by_day WHERE {' AND '.join(_OWN)}"
    " AND rowid < :before ORDER BY rowid DESC LIMIT 1 OFFSET :step - 1"
)
_NO_FLOOR: Final = "SELECT 0"
_ENDS: Final = "SELECT (SELECT min(rowid) FROM usage), (SELECT max(rowid) FROM usage)"
_ENDED_AT: Final = (
    "SELECT started_at + duration_ms / 1000.0 FROM usage NOT INDEXED"
    " WHERE rowid >= ? ORDER BY rowid LIMIT 1"
)
_STARTED_AT: Final = (
    "SELECT started_at FROM usage NOT INDEXED WHERE rowid >= ? ORDER BY rowid LIMIT 1"
)
_DAY_BEFORE: Final = "SELECT max(day) FROM usage INDEXED BY usage_by_day WHERE day < ?"
_ONE: Final = f"SELECT {_COLUMNS} FROM usage WHERE request_id = ?"
_LABELS: Final = "SELECT id, label FROM keys WHERE id IN (SELECT value FROM json_each(?))"
_RESULTS: Final[Mapping[Result, str]] = {
    "ok": "outcome = 'ok'",
    "failed": "outcome != 'ok'",
    "gone": "outcome = 'client_gone'",
    "4xx": "status BETWEEN 400 AND 499",
    "5xx": "status BETWEEN 500 AND 599",
}
_EQUAL: Final[Mapping[str, str]] = {
    "key_id": "key_id",
    "model": "model",
    "upstream": "upstream",
    "protocol": "client_protocol",
}
_BEHIND_ALL: Final = 2**62
_AFTER_ALL: Final = "~"
# No request takes longer. Rows are in the order in which requests ended, up to less than that.
_LONG_CALL_S: Final = 3_600.0


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests are wanted; None: any.

    Attributes:
        since: unix seconds: those that began then or later.
        until: unix seconds: those that began before.
        protocol: what the client spoke.
    """

    since: float
    until: float | None = None
    account_id: int | None = None
    key_id: str | None = None
    model: str | None = None
    upstream: str | None = None
    protocol: str | None = None
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """Some requests, the newest first.

    Attributes:
        rows: as the ledger has them.
        labels: of their keys, by id; a key that is gone has none.
        older: where to go on; "": there are no more.
        searched_to: unix seconds: the search stopped there, before there were enough of them.
    """

    rows: list[UsageRow]
    labels: dict[str, str] = field(default_factory=dict)
    older: str = ""
    searched_to: float | None = None


class RequestReader:
    """Reads requests, as far as they are written: ``Ledger.flush`` first for all.

    Args:
        pace: how far one search goes; made when it begins.
    """

    def __init__(self, database: Database, pace: Callable[[], Pace] = Pace) -> None:
        self._database = database
        self._pace = pace

    async def one(self, request_id: str) -> Found:
        """Return one request, or none."""

        def work(queries: Queries) -> Found:
            rows = [_row(each) for each in queries.rows(_ONE, [request_id])]
            return Found(rows, _labels(queries, rows))

        return await self._database.report(work)

    async def page(self, wanted: Filter, *, limit: int, older: str = "") -> Found:
        """Return some requests, those that ended last first.

        Args:
            limit: at least 1.
            older: ``Found.older`` of the page before; "", or one that makes no sense: from
                the newest on.

        Raises:
            StorageError: the ledger cannot be read.
        """

        def work(queries: Queries) -> Found:
            # Made here: whoever waits for the thread has not searched yet.
            search = _Search(queries, wanted, limit, self._pace())
            if wanted.account_id is None:
                return search.by_rowid(older)
            return search.by_account(wanted.account_id, older)

        return await self._database.report(work)


class _Search:
    """One search, on the thread of the database."""

    def __init__(self, queries: Queries, wanted: Filter, limit: int, pace: Pace) -> None:
        self._queries = queries
        self._wanted = wanted
        self._limit = limit
        self._pace = pace
        self._where, self._values = _conditions(wanted)

    # --- everybody's, in the order in which they were written -------------------------

    def by_rowid(self, older: str) -> Found:
        """Go through all rows."""
        [(lowest, highest)] = self._queries.rows(_ENDS)
        if lowest is None:
            return Found([])
        before = min(_number(older), highest + 1)
        if self._wanted.until is not None:
            before = min(before, self._first_after(self._wanted.until, lowest, highest))
        path = Path(_WALKED, "rowid", self._where, self._values)
        stretch = walk(
            self._queries,
            path,
            self._pace,
            limit=self._limit,
            before=before,
            lowest=lowest,
            ended=lambda rowid: self._ended_at(rowid) < self._wanted.since - _LONG_CALL_S,
        )
        cursor = "" if stretch.stopped_at is None else str(stretch.stopped_at)
        return self._found(stretch.rows, cursor, stretch.stopped_at)

    def _first_after(self, moment: float, low: int, high: int) -> int:
        """Return the rowid from which on all requests began after a moment."""
        high += 1
        while low < high:
            middle = (low + high) // 2
            if self._ended_at(middle) <= moment + _LONG_CALL_S:
                low = middle + 1
            else:
                high = middle
        return low

    def _ended_at(self, rowid: int) -> float:
        rows = self._queries.rows(_ENDED_AT, [rowid])
        return float(rows[0][0]) if rows else math.inf

    # --- of one account, day by day ---------------------------------------------------

    def by_account(self, account_id: int, older: str) -> Found:
        """Go through the rows of one account."""
        first = _day_of(self._wanted.since)
        day, before = self._beginning(older)
        rows: list[tuple[Any, ...]] = []
        while day is not None and day >= first:
            own = {**self._values, "day": day, "account": account_id}
            path = Path(_OF_ACCOUNT, "rowid", (*_OWN, *self._where), own, self._own_floor())
            limit = self._limit - len(rows)
            stretch = walk(self._queries, path, self._pace, limit=limit, before=before, lowest=0)
            rows += stretch.rows
            if stretch.stopped_at is not None:
                return self._found(rows, f"{day}/{stretch.stopped_at}", stretch.stopped_at)
            done, (day, before) = day, (self._day_before(day), _BEHIND_ALL)
            if self._pace.over and day is not None:
                return self._found(rows, f"{day}/{before}", None, done)
        return self._found(rows, "", None)

    def _beginning(self, older: str) -> tuple[str | None, int]:
        """Return the day and the rowid to begin at."""
        day, slash, rowid = older.partition("/")
        if slash and _is_day(day):
            return day, _number(rowid)
        until = self._wanted.until
        last = _AFTER_ALL if until is None else _day_of(until) + _AFTER_ALL
        return self._day_before(last), _BEHIND_ALL

    def _day_before(self, day: str) -> str | None:
        """Return the last day with rows before another: one seek, whatever lies between."""
        [(found,)] = self._queries.rows(_DAY_BEFORE, [day])
        return None if found is None else str(found)

    def _own_floor(self) -> str:
        # Where every row counts but for its moment, the limit is bound enough.
        asked = (getattr(self._wanted, name) for name in (*_EQUAL, "result"))
        return _NO_FLOOR if all(each is None for each in asked) else _OWN_FLOOR

    # --- what is returned -------------------------------------------------------------

    def _found(
        self, found: list[tuple[Any, ...]], older: str, rowid: int | None, day: str = ""
    ) -> Found:
        rows = [_row(each[1:]) for each in found]
        searched_to = None
        if older and len(rows) < self._limit:
            searched_to = self._moment(rowid, day)
        return Found(rows, _labels(self._queries, rows), older, searched_to)

    def _moment(self, rowid: int | None, day: str) -> float | None:
        if rowid is None:
            return datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()
        rows = self._queries.rows(_STARTED_AT, [rowid])
        return float(rows[0][0]) if rows else None


def _conditions(wanted: Filter) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return what a row has to be besides those of the way to it, and the values in that."""
    where = ["started_at >= :since"]
    values: dict[str, Any] = {"since": wanted.since, "until": wanted.until}
    if wanted.until is not None:
        where.append("started_at < :until")
    for name, column in _EQUAL.items():
        value = getattr(wanted, name)
        if value is not None:
            where.append(f"{column} = :{name}")
            values[name] = value
    if wanted.result is not None:
        where.append(_RESULTS[wanted.result])
    return tuple(where), values


def _row(values: Iterable[Any]) -> UsageRow:
    row = UsageRow(*values)
    return row._replace(
        day=date.fromisoformat(str(row.day)),
        estimated=bool(row.estimated),
        streamed=bool(row.streamed),
    )


def _labels(queries: Queries, rows: Iterable[UsageRow]) -> dict[str, str]:
    """Return the labels of the keys of some requests."""
    ids = sorted({each.key_id for each in rows})
    return {str(id_): str(label) for id_, label in queries.rows(_LABELS, [json.dumps(ids)])}


def _day_of(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).date().isoformat()


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _number(text: str) -> int:
    """Return the rowid of a cursor; of what is none one that is behind all."""
    plain = text.isascii() and text.isdecimal() and len(text) < 20
    return min(int(text), _BEHIND_ALL) if plain else _BEHIND_ALL
