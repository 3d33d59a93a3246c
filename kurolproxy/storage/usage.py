"""Rows of usage into the database, each once, and the sums of them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any

from kurolproxy.storage.database import Database
from kurolproxy.storage.rows import UsageRow, checksum, cleaned, encode_row

# SQLite turns an integer sum over 2^63 into a REAL without a word.
LARGEST_SUM = 10**15

_SUMMED = ("prompt", "completion", "cache_read", "cache_write", "reasoning", "charged")
COUNTERS = ("requests", *_SUMMED, "estimated")
"""What each table of sums adds up."""

DAILY_PLACE = ("day", "account_id", "key_id", "model")
HOURLY_PLACE = ("day", "hour", "model")

# Many rows in one statement: each statement gives the interpreter's lock away and takes it
# back, and waits for the loop each time.
_CHUNK = 50
_COLUMNS = (*UsageRow._fields, "checksum")
_ROW = "({})".format(", ".join("?" * len(_COLUMNS)))
_INSERT = "INSERT INTO usage ({}) VALUES ".format(", ".join(_COLUMNS))
_INSERT_ONE = _INSERT + _ROW
_INSERT_CHUNK = _INSERT + ", ".join([_ROW] * _CHUNK)


def _adding(table: str, place: Sequence[str]) -> str:
    """Return the statement that adds to one line of a table of sums."""
    columns = (*place, *COUNTERS)
    return "INSERT INTO {} ({}) VALUES ({}) ON CONFLICT ({}) DO UPDATE SET {}".format(
        table,
        ", ".join(columns),
        ", ".join("?" * len(columns)),
        ", ".join(place),
        ", ".join(f"{each} = min({each} + excluded.{each}, {LARGEST_SUM})" for each in COUNTERS),
    )


_ADD_DAILY = _adding("usage_daily", DAILY_PLACE)
_ADD_HOURLY = _adding("usage_hourly", HOURLY_PLACE)

# A place in a table of sums -> what is added to each of ``COUNTERS``.
_Sums = dict[tuple[Any, ...], list[int]]


def insert_rows(db: sqlite3.Connection, rows: Sequence[UsageRow]) -> int:
    """Write rows and their sums; a row that is there already is skipped.

    Args:
        db: in a transaction of the caller's.
        rows: cleaned.

    Returns:
        how many were new.
    """
    unique = {row.request_id: row for row in rows}
    marks = ", ".join("?" * len(unique))
    sql = f"SELECT request_id FROM usage WHERE request_id IN ({marks})"
    known = {found[0] for found in db.execute(sql, list(unique))}
    fresh = [row for id_, row in unique.items() if id_ not in known]
    daily: _Sums = {}
    hourly: _Sums = {}
    records = []
    for row in fresh:
        day = row.day.isoformat()
        records.append(_record(row, day))
        _add_up(daily, (day, row.account_id, row.key_id, row.model), row)
        _add_up(hourly, (day, hour_of(row.started_at), row.model), row)
    whole = len(records) - len(records) % _CHUNK
    for start in range(0, whole, _CHUNK):
        db.execute(_INSERT_CHUNK, [*chain(*records[start : start + _CHUNK])])
    db.executemany(_INSERT_ONE, records[whole:])
    db.executemany(_ADD_DAILY, ((*place, *added) for place, added in daily.items()))
    db.executemany(_ADD_HOURLY, ((*place, *added) for place, added in hourly.items()))
    return len(fresh)


async def import_rows(database: Database, rows: Sequence[UsageRow]) -> int:
    """Write rows and their sums in one transaction; a row that is there already is skipped.

    Returns:
        how many were new.

    Raises:
        StorageError: nothing was written.
    """
    clean = [*map(cleaned, rows)]
    return await database.bulk(lambda db: insert_rows(db, clean))


def hour_of(unix: float) -> str:
    """Return the hour in which something began, as reports show it: 2030-12-31T23:00Z."""
    return f"{datetime.fromtimestamp(int(unix), UTC):%Y-%m-%dT%H}:00Z"


def _record(row: UsageRow, day: str) -> tuple[Any, ...]:
    """Return the values of a row as SQLite takes them."""
    return (row.request_id, day, *row[2:], checksum(encode_row(row)))


def _add_up(sums: _Sums, place: tuple[Any, ...], row: UsageRow) -> None:
    added = sums.setdefault(place, [0] * len(COUNTERS))
    for index, value in enumerate((1, *row[11:17], row.estimated)):
        added[index] += value
