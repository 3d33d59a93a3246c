"""How long rows of usage are kept: their sums stay for ever, the rows themselves do not."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from typing import Final, NoReturn

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import StorageError
from kurolproxy.storage.lane import Queries

ROWS_AT_ONCE: Final = 1_000
"""Rows of one transaction: imports and the changes of people get in between."""

_PAUSE_S: Final = 0.05
_PERIOD_S: Final = 3_600.0
_RETRY_S: Final = 60.0
# How a day is told from that of a clock that went wrong: see ``_believable``.
_LOOK_BACK: Final = timedelta(days=40)
_DAYS_SEEN: Final = 3

_KNOWN: Final = "SELECT value FROM ledger_facts WHERE name = 'detail_from'"
# Never backwards: the rows before it are gone, whatever is asked for now.
_NOTE: Final = (
    "INSERT INTO ledger_facts (name, value) VALUES ('detail_from', ?)"
    " ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value)"
)
_OLDEST: Final = (
    "SELECT rowid FROM usage INDEXED BY usage_by_day WHERE day < ?"
    f" ORDER BY day, account_id, rowid LIMIT {ROWS_AT_ONCE}"
)
_DELETE: Final = f"DELETE FROM usage WHERE rowid IN ({_OLDEST})"
_ANY: Final = "SELECT 1 FROM usage INDEXED BY usage_by_day WHERE day < ? LIMIT 1"
# Of the smallest table of sums: everybody's, by the hour.
_SEEN: Final = "SELECT count(DISTINCT day) FROM usage_hourly WHERE day >= ? AND day < ?"


def detail_from(queries: Queries) -> date | None:
    """Return the first day whose rows are all there; None when none were ever deleted."""
    found = queries.rows(_KNOWN)
    return date.fromisoformat(found[0][0]) if found else None


async def prune(
    database: Database,
    before: date,
    *,
    pause_s: float = _PAUSE_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> int:
    """Delete the rows of the days before one; their sums stay.

    What is left to do after an error, or when the caller is cancelled, is done the next
    time. ``ledger_facts`` notes ``before`` as ``detail_from`` together with the first row
    that goes: from then on older days are not whole.

    A row that is deleted is a row that can be imported again, and be added to the sums a
    second time: the journal must not hold it any more. The rows of a day leave the journal
    within seconds, at the latest when the disk takes them again after a trouble; the caller
    sees to it that nothing waits there.

    Args:
        pause_s: how long others have the database between two transactions.

    Returns:
        how many rows were deleted.

    Raises:
        StorageError: the database takes nothing now; some rows may have been deleted.
    """
    day = before.isoformat()
    if not await database.report(lambda queries: queries.rows(_ANY, [day])):
        return 0

    def work(db: sqlite3.Connection) -> int:
        db.execute(_NOTE, [day])
        return db.execute(_DELETE, [day]).rowcount

    deleted = 0
    while True:
        count = await database.bulk(work)
        deleted += count
        if count < ROWS_AT_ONCE:
            return deleted
        await sleep(pause_s)


async def keep(
    database: Database,
    detail_days: int,
    today: Callable[[], date],
    *,
    settled: Callable[[], Awaitable[bool]],
    period_s: float = _PERIOD_S,
    retry_s: float = _RETRY_S,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> NoReturn:
    """Delete what is older than ``detail_days``, now and then, until cancelled.

    Args:
        detail_days: how many days before today keep their rows; at least 1.
        today: the UTC day.
        settled: (nothing) -> whether the journal holds no row that is in the database
            already; asked before each time, see ``prune``.
        period_s: between two times.
        retry_s: after an error, before the first time, and when something is not settled.
    """
    log = logging.getLogger(__name__)
    failing = False
    wait_s = retry_s
    while True:
        await sleep(wait_s)
        wait_s = retry_s
        try:
            if not await settled():
                continue
            deleted = await _pass(database, detail_days, today(), sleep)
        except StorageError as error:
            if not failing:
                log.warning("usage rows older than %d days stay for now: %s", detail_days, error)
            failing = True
            continue
        if deleted:
            log.info("%d usage rows older than %d days were deleted", deleted, detail_days)
        failing, wait_s = False, period_s


async def _pass(
    database: Database,
    detail_days: int,
    today: date,
    sleep: Callable[[float], Awaitable[None]],
) -> int:
    """Delete what is too old today; return how many rows that were."""
    if not await _believable(database, today):
        return 0
    return await prune(database, today - timedelta(days=detail_days), sleep=sleep)


async def _believable(database: Database, today: date) -> bool:
    """Return whether the ledger bears a day out: it was used on some of the days before it.

    One jump of the clock by years must not delete the whole ledger. A gateway that was
    hardly used of late keeps its rows a while longer.
    """
    days = [(today - _LOOK_BACK).isoformat(), today.isoformat()]
    [(seen,)] = await database.report(lambda queries: queries.rows(_SEEN, days))
    return int(seen) >= _DAYS_SEEN
