"""What one account used: sums by day, hour, key or model, read by seeks alone.

The key of ``usage_daily`` begins with day and account: however many accounts there are, a
day of one of them is one seek, and days that an account did not call cost no more than that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, NamedTuple

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import QueryTooLong
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.report_sql import DETAIL
from kurolproxy.storage.retention import detail_from
from kurolproxy.storage.usage import COUNTERS

Place = Literal["day", "hour", "key", "model"]

MOST_ROWS_BY_HOUR: Final = 100_000
"""Of more requests nobody learns the hours: reading them would hold up everybody's reads."""


class Counts(NamedTuple):
    """Sums of some requests, in the order of ``usage.COUNTERS``.

    Attributes:
        charged: tokens that counted against the day's allowance.
        estimated: requests whose usage the upstream did not report.
    """

    requests: int = 0
    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    charged: int = 0
    estimated: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return both together."""
        return Counts(*(mine + its for mine, its in zip(self, other, strict=True)))


class Used(NamedTuple):
    """What was used of one model on one day, in one hour, or by one key.

    Attributes:
        place: the day, the hour (2030-12-31T23:00Z), the key's id, or the model.
    """

    place: str
    model: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a key was used for of late.

    Attributes:
        last_day: the last of the days that it was used on.
    """

    last_day: date
    requests: int
    charged: int


_SUMS: Final = ", ".join(f"sum(used.{each})" for each in COUNTERS)
_DETAIL_SUMS: Final = ", ".join(
    ["count(*)", *(f"coalesce(sum(used.{each}), 0)" for each in COUNTERS[1:])]
)
# CROSS JOIN: the days come first, then one seek for each of them.
_DAILY: Final = (
    "SELECT {place}, used.model, " + _SUMS + " FROM json_each(:days) AS days"
    " CROSS JOIN usage_daily AS used ON used.day = days.value AND used.account_id = :account"
    " GROUP BY {place}, used.model"
)
_PLACES: Final = {"day": "used.day", "key": "used.key_id", "model": "used.model"}
_HOURLY: Final = (
    f"SELECT {DETAIL.hour.replace('started_at', 'used.started_at')} AS hour, used.model,"
    f" {_DETAIL_SUMS} FROM usage AS used INDEXED BY usage_by_day"
    " WHERE used.day = :day AND used.account_id = :account GROUP BY hour, used.model"
)
_ROWS: Final = (
    "SELECT count(*) FROM (SELECT 1 FROM usage INDEXED BY usage_by_day"
    " WHERE day = :day AND account_id = :account LIMIT :most)"
)
_KEYS: Final = (
    "SELECT used.key_id, max(used.day), sum(used.requests), sum(used.charged)"
    " FROM json_each(:days) AS days"
    " CROSS JOIN usage_daily AS used ON used.day = days.value AND used.account_id = :account"
    " GROUP BY used.key_id"
)


async def used_by(
    database: Database,
    account_id: int,
    place: Place,
    days: Sequence[date],
    *,
    most_rows: int = MOST_ROWS_BY_HOUR,
) -> list[Used]:
    """Return what an account used on some days, in the order of the places.

    Args:
        place: what lines stand for, besides a model each. ``hour`` reads a row for every
            request: ask for a few days only.
        most_rows: how many rows may be read for hours.

    Raises:
        QueryTooLong: there are too many rows to be read by the hour.
        StorageError: the ledger cannot be read.
    """
    if place == "hour":
        return await database.report(lambda queries: _hours(queries, account_id, days, most_rows))
    sql = _DAILY.format(place=_PLACES[place])
    values = _values(account_id, days)
    return await database.report(lambda queries: _lines(queries.rows(sql, values)))


async def used_keys(database: Database, account_id: int, days: Sequence[date]) -> dict[str, KeyUse]:
    """Return which keys of an account were used on some days, by their ids.

    Raises:
        StorageError: the ledger cannot be read.
    """
    values = _values(account_id, days)
    rows = await database.report(lambda queries: queries.rows(_KEYS, values))
    return {
        key: KeyUse(date.fromisoformat(last), requests, charged)
        for key, last, requests, charged in rows
    }


async def hours_from(database: Database) -> date | None:
    """Return the first day whose hours are known; None: all are."""
    return await database.report(detail_from)


def _hours(queries: Queries, account_id: int, days: Iterable[date], most_rows: int) -> list[Used]:
    # A query for each day: the limit of time is that of one day.
    found: list[Used] = []
    for day in sorted(days):
        values = {"day": day.isoformat(), "account": account_id, "most": most_rows + 1}
        most_rows -= queries.rows(_ROWS, values)[0][0]
        if most_rows < 0:
            raise QueryTooLong("too many requests to be added up by the hour")
        found += _lines(queries.rows(_HOURLY, values))
    return found


def _lines(rows: Iterable[tuple[Any, ...]]) -> list[Used]:
    return [Used(place, model, Counts(*sums)) for place, model, *sums in rows]


def _values(account_id: int, days: Iterable[date]) -> dict[str, Any]:
    return {"account": account_id, "days": json.dumps([each.isoformat() for each in days])}
