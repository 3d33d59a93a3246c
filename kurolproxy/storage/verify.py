"""Recompute the ledger: every row's checksum, and the sums from the rows.

It goes on beside a gateway that writes, in slices: a day, and of a day so many accounts
that their rows are some ten thousand. Each query takes a fraction of a second, and between
two of them the WAL can be reused. What makes the slices agree with each other is the number
of the last row (``rowid``): it is read in one transaction with the sums of the slice; rows
are only ever added behind it, and rows behind it are left out. So a row that is imported
meanwhile is on neither side.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from functools import partial
from typing import Any, Final, TypeVar

from kurolproxy.storage.errors import QueryTooLong, translating
from kurolproxy.storage.findings import MOST_IDS, Difference, Findings, plain, told
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.rows import UsageRow, checksum, encode_row
from kurolproxy.storage.usage import COUNTERS, LARGEST_SUM, hour_of
from kurolproxy.storage.verify_sums import ZEROS, Sums, Values, unlike

QUERY_LIMIT_S: Final = 0.6
"""Of one query; at most three of them share a transaction."""

# A query that took too long has brought into memory what it read: the next try gets further.
_TRIES: Final = 20
# Rows of one slice: their sums are in memory. Rows of one query: some 0.05 s.
_SLICE: Final = 50_000
_CHUNK: Final = 10_000

_COLUMNS: Final = ", ".join((*UsageRow._fields, "checksum", "rowid"))
# By their numbers, and so in the order in which they lie on the disk.
_FETCH: Final = (
    f"SELECT {_COLUMNS} FROM usage WHERE rowid IN (SELECT value FROM json_each(?)) ORDER BY rowid"
)
_ADDED: Final = ", ".join(COUNTERS)
_SUMS: Final = ", ".join(f"sum({each})" for each in COUNTERS)
_FLAGS: Final[Mapping[Any, Any]] = {0: False, 1: True}
_BEFORE_ALL: Final = float("-inf")
# Seconds of an hour: what is this near to its end may be rounded into the next.
_NEAR_THE_NEXT: Final = 3599.999

T = TypeVar("T")


class LedgerCheck:
    """The check of what is in the database.

    Blocks: it is run by a process, or on a thread, of its own.

    Args:
        db: in autocommit mode, to read only.
        findings: where everything goes that is found.
        progress: called with the number of rows that were checked since the last call.
        slice_rows: about as many rows are added up at a time.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        findings: Findings,
        *,
        progress: Callable[[int], None] = lambda rows: None,
        slice_rows: int = _SLICE,
    ) -> None:
        self._db = db
        self._queries = Queries(db, QUERY_LIMIT_S)
        self._findings = findings
        self._progress = progress
        self._slice_rows = slice_rows
        self._hours: dict[int, str] = {}

    def size(self, since: date | None = None) -> int:
        """Return about how many rows there are to check."""
        sql = "SELECT coalesce(sum(requests), 0) FROM usage_hourly WHERE day >= ?"
        return int(self._read(sql, [_first(since)])[0][0])

    def run(self, since: date | None = None) -> None:
        """Check every day from ``since`` on.

        Raises:
            StorageError: the database cannot be read.
        """
        for day in self._days(_first(since)):
            self._findings.days += 1
            found = Findings()
            if not self._let_go(day):
                self._check_day(day, found)
            # Asked once more: rows that were let go while they were counted say nothing.
            if self._let_go(day):
                found = Findings()
                self._compare_sums(day, found)
            self._findings.merge(found)

    # --- days -------------------------------------------------------------------------

    def _days(self, since: str) -> Iterator[Any]:
        """Yield the days that rows or sums have, by jumps through the indexes."""
        tables = ("usage", "usage_daily", "usage_hourly")
        sql = " UNION ".join(f"SELECT min(day) FROM {each} WHERE day {{0}} ?1" for each in tables)
        found = self._read(sql.format(">="), [since])
        while days := [day for (day,) in found if day is not None]:
            day = min(days, key=_rank)
            yield day
            found = self._read(sql.format(">"), [day])

    def _let_go(self, day: Any) -> bool:
        """Return whether rows of a day may be gone: their time was over."""
        found = self._read("SELECT value FROM ledger_facts WHERE name = 'detail_from'")
        return bool(found) and isinstance(day, str) and day < found[0][0]

    def _compare_sums(self, day: Any, found: Findings) -> None:
        """Compare the daily sums of a day without rows with the hourly ones, by model."""
        sql = f"SELECT model, {_SUMS} FROM {{}} WHERE day = ? GROUP BY model"
        daily, hourly = self._snapshot(
            lambda: (
                _lines(self._read(sql.format("usage_daily"), [day]), 1),
                _lines(self._read(sql.format("usage_hourly"), [day]), 1),
            )
        )
        for place in sorted(daily.keys() | hourly.keys(), key=repr):
            line, sums = daily.get(place, ZEROS), hourly.get(place, ZEROS)
            # What was clamped in one of them says less than was counted.
            figures = {
                name: pair
                for name, pair in unlike(line, sums).items()
                if not any(isinstance(each, int) and each >= LARGEST_SUM for each in pair)
            }
            if figures:
                said = told(figures, "the daily sums", "the hourly sums")
                found.add(
                    Difference(
                        "sums",
                        f"{day}, model {place[0]}: {said}",
                        day=str(day),
                        model=plain(place[0]),
                        figures=figures,
                    )
                )

    def _check_day(self, day: Any, found: Findings) -> None:
        """Check the rows of a day, and its sums against them."""
        sql = f"SELECT hour, model, {_ADDED} FROM usage_hourly WHERE day = ?"
        hourly = self._snapshot(lambda: Sums(_lines(self._read(sql, [day]), 2), self._last_row()))
        after: Any = _BEFORE_ALL
        while after is not None:
            until = self._slice_end(day, after)
            daily = self._snapshot(partial(self._daily_sums, day, after, until))
            for numbers in self._numbers(day, after, until, daily.last):
                for rows in self._rows(sorted(numbers)):
                    self._take(day, rows, daily, hourly)
            self._findings.accounts.update(place[0] for place in daily.added)
            self._compare_daily(day, daily, found)
            after = until
        self._compare_hourly(day, hourly, found)

    # --- slices -----------------------------------------------------------------------

    def _slice_end(self, day: Any, after: Any) -> Any:
        """Return the last account of the slice that begins behind an account.

        None: it holds all that is left of the day.
        """
        sql = (
            "SELECT account_id FROM {} WHERE day = ? AND account_id > ?"
            " ORDER BY account_id LIMIT 1 OFFSET ?"
        )
        values = [day, after, self._slice_rows]
        found = [
            *self._read(sql.format("usage"), values),
            *self._read(sql.format("usage_daily"), values),
        ]
        return min((each for (each,) in found), key=_rank, default=None)

    def _daily_sums(self, day: Any, after: Any, until: Any) -> Sums:
        where, values = _between(day, after, until)
        sql = f"SELECT account_id, key_id, model, {_ADDED} FROM usage_daily WHERE {where}"
        return Sums(_lines(self._read(sql, values), 3), self._last_row())

    def _numbers(self, day: Any, after: Any, until: Any, last: int) -> Iterator[list[int]]:
        """Yield the numbers of the rows of a slice, some at a time, from the index alone."""
        sql = "SELECT account_id, rowid FROM usage WHERE {} AND rowid <= ? ORDER BY {} LIMIT ?"
        of_some, of_one = sql.format("{}", "account_id, rowid"), sql.format("{}", "rowid")
        limit = self._slice_rows
        while True:
            where, values = _between(day, after, until)
            found = self._read(of_some.format(where), [*values, last, limit])
            yield [number for _, number in found]
            if len(found) < limit:
                return
            # The rest of the account that they ended in, however many rows it has.
            after = found[-1][0]
            where = "day = ? AND account_id = ? AND rowid > ?"
            while len(found) == limit:
                values = [day, after, found[-1][1], last, limit]
                found = self._read(of_one.format(where), values)
                yield [number for _, number in found]

    def _rows(self, numbers: Sequence[int]) -> Iterator[list[Values]]:
        """Yield rows by their numbers, some at a time."""
        for at in range(0, len(numbers), _CHUNK):
            wanted = numbers[at : at + _CHUNK]
            yield self._read(_FETCH, [json.dumps(wanted)])

    def _take(self, day: Any, rows: list[Values], daily: Sums, hourly: Sums) -> None:
        """Check the checksums of some rows, and add them up."""
        for values in rows:
            figures, expected = values[11:18], values[21]
            row = as_row(values, day)
            hour = (self._hour(values[2]), values[5])
            if checksum(encode_row(row)) != expected:
                figures = tuple(each if isinstance(each, int) else 0 for each in figures)
                if expected is None:
                    self._findings.without_checksum += 1
                else:
                    self._changed(row)
                    daily.suspect(values[3:6], str(values[0]))
                    hourly.suspect(hour, str(values[0]))
            daily.add(values[3:6], figures)
            if values[22] <= hourly.last:
                hourly.add(hour, figures)
        self._findings.rows += len(rows)
        self._progress(len(rows))

    def _hour(self, started_at: Any) -> str:
        """Return the hour of a row, as the sums have it."""
        try:
            if started_at % 3600 > _NEAR_THE_NEXT:
                return hour_of(started_at)
            number = int(started_at // 3600)
            hour = self._hours.get(number)
            if hour is None:
                hour = self._hours[number] = hour_of(number * 3600)
        except (TypeError, ValueError, OverflowError, OSError):
            # A row that was changed: no sum has it.
            return repr(started_at)
        return hour

    # --- differences ------------------------------------------------------------------

    def _compare_daily(self, day: Any, daily: Sums, found: Findings) -> None:
        for place, figures in daily.unlike():
            if found.full:
                found.not_listed += 1
                continue
            account_id, key_id, model = map(plain, place)
            where = "account_id = ? AND key_id = ? AND model = ?"
            requests, ids = self._concerned(day, daily, place, where, place)
            said = told(figures, "the daily sums", "the rows")
            found.add(
                Difference(
                    "daily",
                    f"{day}, account {account_id}, key {key_id}, model {model}: {said}",
                    day=str(day),
                    account_id=account_id,
                    account=self._email(place[0]),
                    key_id=key_id,
                    model=model,
                    figures=figures,
                    requests=requests,
                    request_ids=ids,
                )
            )

    def _compare_hourly(self, day: Any, hourly: Sums, found: Findings) -> None:
        for place, figures in hourly.unlike():
            hour, model = map(plain, place)
            where, values = "started_at >= ? AND started_at < ? AND model = ?", _bounds(*place)
            requests, ids = self._concerned(day, hourly, place, where, values)
            said = told(figures, "the hourly sums", "the rows")
            found.add(
                Difference(
                    "hourly",
                    f"{hour}, model {model}: {said}",
                    day=str(day),
                    hour=hour,
                    model=model,
                    figures=figures,
                    requests=requests,
                    request_ids=ids,
                )
            )

    def _concerned(
        self, day: Any, sums: Sums, place: Values, where: str, values: Sequence[Any]
    ) -> tuple[int, list[str]]:
        """Return how many requests a difference concerns, and the ids of the first.

        They are those that were changed; where there is none, any of the place, those
        first that have no checksum.
        """
        suspects = sums.suspects.get(place)
        if suspects is not None:
            return suspects.count, suspects.ids
        requests = sums.added.get(place, ZEROS)[0]
        sql = (
            f"SELECT request_id FROM usage WHERE day = ? AND {where} AND rowid <= ?"
            f" ORDER BY checksum IS NOT NULL, rowid LIMIT {MOST_IDS}"
        )
        try:
            values = [day, *values, sums.last]
            found = read(self._db, self._queries, sql, values) if requests else []
        except QueryTooLong:
            found = []
        return requests, [str(id_) for (id_,) in found]

    def _changed(self, row: UsageRow) -> None:
        if self._findings.full:
            self._findings.not_listed += 1
            return
        account_id = plain(row.account_id)
        self._findings.add(
            Difference(
                "row",
                f"{row.day}, account {account_id}: the row of {row.request_id} was changed:"
                " its checksum does not fit it",
                day=str(row.day),
                account_id=account_id,
                account=self._email(row.account_id),
                key_id=plain(row.key_id),
                model=plain(row.model),
                requests=1,
                request_ids=[str(row.request_id)],
            )
        )

    def _email(self, account_id: Any) -> str | None:
        found = self._read("SELECT email FROM accounts WHERE id = ?", [account_id])
        return str(found[0][0]) if found else None

    # --- queries ----------------------------------------------------------------------

    def _last_row(self) -> int:
        return int(self._read("SELECT coalesce(max(rowid), 0) FROM usage")[0][0])

    def _snapshot(self, work: Callable[[], T]) -> T:
        """Do some work whose queries see the same state of the database."""

        def whole() -> T:
            with translating():
                self._db.execute("BEGIN")
                try:
                    return work()
                finally:
                    self._db.execute("ROLLBACK")

        return persistent(whole)

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[Values]:
        work = partial(read, self._db, self._queries, sql, values)
        # Inside a transaction it is the transaction that is tried again: see ``_snapshot``.
        return work() if self._db.in_transaction else persistent(work)


def persistent(work: Callable[[], T]) -> T:
    """Do some work again while its queries take too long."""
    for _ in range(_TRIES):
        with suppress(QueryTooLong):
            return work()
    return work()


def read(
    db: sqlite3.Connection, queries: Queries, sql: str, values: Sequence[Any] = ()
) -> list[Values]:
    """Return all rows of a query, whatever their texts are.

    A text may have been changed into bytes that are none: it is read all the same, and its
    checksum tells it.

    Raises:
        StorageError: as ``Database.read``.
    """
    with translating():
        try:
            return queries.rows(sql, values)
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):
                raise
        db.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            return queries.rows(sql, values)
        finally:
            db.text_factory = str


def as_row(values: Sequence[Any], day: Any) -> UsageRow:
    """Return a row as it was encoded, from its columns in the database.

    Args:
        values: in the order of ``UsageRow``; what comes behind is left out.
        day: the second of them, as a date or as the text that is written of one.
    """
    estimated, streamed = values[17:19]
    return UsageRow._make(
        (
            values[0],
            day,
            *values[2:17],
            # What is neither 0 nor 1 was changed: it stays, and the checksum tells it.
            _FLAGS.get(estimated, estimated),
            _FLAGS.get(streamed, streamed),
            *values[19:21],
        )
    )


def as_date(day: Any) -> Any:
    """Return a day of the database as a date; as it is, when it is none."""
    try:
        return date.fromisoformat(day)
    except (TypeError, ValueError):
        return day


def _lines(rows: list[Values], width: int) -> dict[Values, Values]:
    """Return rows of sums by their first ``width`` columns."""
    return {row[:width]: row[width:] for row in rows}


def _between(day: Any, after: Any, until: Any) -> tuple[str, list[Any]]:
    """Return the condition of a slice, and its values; ``until`` None: no end."""
    if until is None:
        return "day = ? AND account_id > ?", [day, after]
    return "day = ? AND account_id > ? AND account_id <= ?", [day, after, until]


def _bounds(hour: Any, model: Any) -> Values:
    """Return the first and last moment of an hour, and the model."""
    try:
        begins = datetime.fromisoformat(hour).timestamp()
    except (TypeError, ValueError):
        return (0, 0, model)
    return (begins, begins + 3600, model)


def _first(since: date | None) -> str:
    return "" if since is None else since.isoformat()


def _rank(value: Any) -> tuple[int, Any]:
    """Return what SQLite sorts a value by: numbers, then texts, then bytes."""
    return (2 if isinstance(value, bytes) else int(isinstance(value, str)), value)
