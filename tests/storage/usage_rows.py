"""Rows of usage for tests, and a database that holds some."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from kurolproxy.storage.database import Database
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import COUNTERS, import_rows

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
NOON = 1_772_452_800.0
"""2026-03-02 12:00 UTC."""

_PLAIN = UsageRow(
    request_id="",
    day=MONDAY,
    started_at=NOON,
    account_id=1,
    key_id="key_a",
    model="gpt-4o",
    upstream="openai",
    client_protocol="openai-chat",
    upstream_protocol="openai-chat",
    status=200,
    outcome="ok",
    prompt=100,
    completion=20,
    cache_read=10,
    cache_write=5,
    reasoning=8,
    charged=120,
    estimated=False,
    streamed=True,
    duration_ms=1_500,
    ttft_ms=300,
)


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def row(request_id: str, **fields: Any) -> UsageRow:
    """Return a row of Monday noon, but for what is said otherwise."""
    return _PLAIN._replace(request_id=request_id, **fields)


async def ids(database: Database) -> list[str]:
    """Return the ids of all rows, in the order in which they were written."""
    rows = await database.read("SELECT request_id FROM usage ORDER BY rowid")
    return [each["request_id"] for each in rows]


async def agrees(database: Database) -> bool:
    """Return whether the daily and the hourly sums are the sums of the rows."""
    counters = ", ".join(COUNTERS)
    summed = ", ".join(f"sum({each})" for each in COUNTERS[1:])
    hour = "strftime('%Y-%m-%dT%H:00Z', CAST(started_at AS INTEGER), 'unixepoch')"
    for table, place, of_rows in (
        ("usage_daily", "day, account_id, key_id, model", "day, account_id, key_id, model"),
        ("usage_hourly", "day, hour, model", f"day, {hour}, model"),
    ):
        rows = await database.read(
            f"SELECT {of_rows}, count(*), {summed} FROM usage GROUP BY {of_rows}"
        )
        sums = await database.read(f"SELECT {place}, {counters} FROM {table}")
        if sorted(map(tuple, rows)) != sorted(map(tuple, sums)):
            return False
    return True


async def write(database: Database, rows: Iterable[UsageRow]) -> None:
    """Import rows, some hundred in a transaction."""
    waiting = list(rows)
    for start in range(0, len(waiting), 500):
        await import_rows(database, waiting[start : start + 500])
