"""Questions about what was used: today's sums for a start, tables for people."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from types import TracebackType
from typing import Any, Final, TypeVar

from kurolproxy.storage import report_sql
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import QueryTooLong
from kurolproxy.storage.lane import Queries
from kurolproxy.storage.report_sql import By, Question, Slice
from kurolproxy.storage.retention import detail_from

T = TypeVar("T")
Line = dict[str, Any]

MOST_LINES: Final = 200_000
"""A report of more lines is cut, and says so."""

# What one statement should take: others want to read, too, and the WAL to be reused.
_SLICE_S: Final = 0.25
_MOST_DAYS: Final = 64
_LINES_AT_ONCE: Final = 500
_TEMPORARY_CACHE_KIB: Final = 16_384


@dataclass(frozen=True, slots=True)
class Totals:
    """Tokens charged on one day.

    Attributes:
        accounts: by account id.
        keys: by key id.
    """

    accounts: dict[int, int]
    keys: dict[str, int]


class Report:
    """One report while it is made; a context manager that tidies up.

    It is added up in slices of a few days, each a short query of its own, and on the
    database's thread throughout: other reads and the import get in between, and the loop
    only waits. Lines have what they stand for (``day``; ``hour``; ``key``, ``label``,
    ``account``; ``model``; ``account_id``, ``account``), ``requests``, the token counts,
    ``charged``, and ``estimated``: requests whose usage was not reported. The account, an
    email, is None when it was deleted. Days and hours come in order, all else by what was
    charged.

    Args:
        most_lines: where to cut it: lines by time after the day that reached them, all
            others at this number.
        slice_s: what one query should take.
        clock: seconds of a monotonic clock.

    Attributes:
        ends_with: the last day that is in it, when later ones were left out.
        left_out: how many lines were left out at the end; not known of later days.
        detail_from: the first day whose hours are known, when it was to begin earlier.
    """

    def __init__(
        self,
        database: Database,
        question: Question,
        *,
        most_lines: int = MOST_LINES,
        slice_s: float = _SLICE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.ends_with: date | None = None
        self.left_out = 0
        self.detail_from: date | None = None
        self._database = database
        self._question = question
        self._source = report_sql.source_of(question)
        self._most_lines = most_lines
        self._slice_s = slice_s
        self._clock = clock
        self._table = f"sums_{secrets.token_hex(8)}"
        self._arranged = f"{self._table}_arranged"

    async def __aenter__(self) -> Report:
        await self._database.report(self._create)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._database.report(self._drop)

    async def steps(self) -> AsyncIterator[None]:
        """Add it up; yields after each slice, as a sign of life.

        Raises:
            QueryTooLong: the smallest part that it can be cut into takes too long.
            StorageError: the ledger cannot be read.
        """
        until = self._question.until or date.max
        day = await self._next_day(self._question.since or date.min, until)
        days = 1
        while day is not None:
            last = min(_after(day, days - 1), until)
            took_s = 0.0
            parts = [Slice(day, last)]
            while parts:
                part = parts.pop()
                try:
                    took_s += await self._add(part)
                except QueryTooLong:
                    parts += reversed(await self._halves(part))
                yield
            days = self._days(days, took_s)
            day = None if last == date.max else await self._next_day(last + _DAY, until)
            if day is not None and await self._database.report(self._is_full):
                self.ends_with = last
                break
        self.left_out = await self._database.report(self._arrange)

    async def batches(self, make: Callable[[list[Line]], T]) -> AsyncIterator[T]:
        """Yield the lines in their order, some hundred at a time; after ``steps``.

        Args:
            make: what is to become of some lines; runs on the thread.
        """
        sql = report_sql.lines(self._arranged, self._question.by)
        names = report_sql.columns_of(self._question.by)

        def batch(queries: Queries) -> tuple[int, T]:
            rows = queries.rows(sql, [start, start + _LINES_AT_ONCE])
            return len(rows), make([dict(zip(names, row, strict=True)) for row in rows])

        start, found = 0, _LINES_AT_ONCE
        while found == _LINES_AT_ONCE:
            found, made = await self._database.report(batch)
            start += found
            if found:
                yield made

    # --- slices -----------------------------------------------------------------------

    async def _next_day(self, first: date, last: date) -> date | None:
        """Return the first day of a range that has rows: gaps cost nothing."""
        sql = report_sql.next_day(self._source)
        bounds = [first.isoformat(), last.isoformat()]
        [(found,)] = await self._database.report(lambda queries: queries.rows(sql, bounds))
        return None if found is None else date.fromisoformat(found)

    async def _add(self, part: Slice) -> float:
        """Add a slice, or nothing of it when it takes too long; return the seconds."""
        sql, values = report_sql.add(self._table, self._question, part)

        def work(queries: Queries) -> float:
            began = self._clock()
            queries.rows(sql, values)
            return self._clock() - began

        return await self._database.report(work)

    def _days(self, days: int, took_s: float) -> int:
        """Return how many days the next slice is to have."""
        if took_s > self._slice_s:
            return max(1, days // 2)
        return days if 2 * took_s > self._slice_s else min(2 * days, _MOST_DAYS)

    async def _halves(self, part: Slice) -> list[Slice]:
        """Cut a slice in two: by days, by accounts, at last by rows.

        Raises:
            QueryTooLong: it cannot be cut.
        """
        if part.first < part.last:
            middle = part.first + (part.last - part.first) // 2
            return [Slice(part.first, middle), Slice(middle + _DAY, part.last)]
        if not self._source.owned:
            raise _too_long(part)
        accounts = part.accounts
        if self._question.account_id is not None:
            accounts = (self._question.account_id,) * 2
        elif accounts is None:
            accounts = await self._ends(part, "account_id")
        if accounts[0] < accounts[1]:
            return [Slice(part.first, part.last, each) for each in _cut(accounts)]
        if not self._source.detail:
            raise _too_long(part)
        part = Slice(part.first, part.last, accounts, part.rowids)
        rowids = part.rowids or await self._ends(part, "rowid")
        if rowids[0] == rowids[1]:
            raise _too_long(part)
        return [Slice(part.first, part.last, accounts, each) for each in _cut(rowids)]

    async def _ends(self, part: Slice, column: str) -> report_sql.Range:
        sql, values = report_sql.ends(self._source, part, column)
        [(low, high)] = await self._database.report(lambda queries: queries.rows(sql, values))
        return low, high

    # --- on the thread ----------------------------------------------------------------

    def _create(self, queries: Queries) -> None:
        queries.scratch(f"PRAGMA temp.cache_size = -{_TEMPORARY_CACHE_KIB}")
        queries.scratch(report_sql.create(self._table, self._question.by))
        if self._source.detail:
            known = detail_from(queries)
            if known is not None and known > (self._question.since or date.min):
                self.detail_from = known

    def _count(self, queries: Queries) -> int:
        return int(queries.scratch(f"SELECT count(*) FROM temp.{self._table}")[0][0])

    def _is_full(self, queries: Queries) -> bool:
        return self._question.timed and self._count(queries) >= self._most_lines

    def _arrange(self, queries: Queries) -> int:
        """Put the lines in order; return how many are left out."""
        # Lines by time are cut between two days: each day that is there is there as a whole.
        most = None if self._question.timed else self._most_lines
        count = self._count(queries)
        queries.scratch(report_sql.arrange(self._table, self._arranged, self._question, most))
        return 0 if most is None else max(0, count - most)

    def _drop(self, queries: Queries) -> None:
        for table in (self._table, self._arranged):
            queries.scratch(f"DROP TABLE IF EXISTS temp.{table}")
        queries.scratch("PRAGMA shrink_memory")


class UsageReader:
    """Sums of the ledger, as far as it is written: ``Ledger.flush`` first for all."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self, day: date) -> Totals:
        """Return what was charged on a day, to restore the allowances after a start."""

        def work(queries: Queries) -> Totals:
            totals = Totals({}, {})
            for account_id, key_id, charged in queries.rows(_TOTALS, [day.isoformat()]):
                totals.accounts[account_id] = totals.accounts.get(account_id, 0) + charged
                totals.keys[key_id] = totals.keys.get(key_id, 0) + charged
            return totals

        return await self._database.report(work)

    async def days_after(self, today: date) -> list[date]:
        """Return the days of the ledger that come after one; see ``days.starting_days``."""

        def work(queries: Queries) -> list[date]:
            # A seek for each day: DISTINCT would read every line of each of them.
            found = []
            day = today.isoformat()
            while (row := queries.rows(_DAY_AFTER, [day])[0])[0] is not None:
                day = row[0]
                found.append(date.fromisoformat(day))
            return found

        return await self._database.report(work)

    def ask(self, question: Question) -> Report:
        """Return a report that is still to be made."""
        return Report(self._database, question)

    async def report(
        self,
        by: By | Sequence[By],
        *,
        since: date | None = None,
        until: date | None = None,
        account_id: int | None = None,
    ) -> list[Line]:
        """Return the lines of a small report; see ``Report`` and ``Question``.

        Raises:
            StorageError: the ledger cannot be read.
        """
        dimensions: tuple[By, ...] = (by,) if isinstance(by, str) else tuple(by)
        async with self.ask(Question(dimensions, since, until, account_id)) as report:
            async for _ in report.steps():
                pass
            return [line async for lines in report.batches(_same) for line in lines]


_DAY: Final = timedelta(days=1)
_TOTALS: Final = (
    "SELECT account_id, key_id, sum(charged) FROM usage_daily"
    " WHERE day = ? GROUP BY account_id, key_id"
)
_DAY_AFTER: Final = "SELECT min(day) FROM usage_daily WHERE day > ?"


def _after(day: date, days: int) -> date:
    """Return a later day, or the last one that there is."""
    return date.fromordinal(min(day.toordinal() + days, date.max.toordinal()))


def _same(lines: list[Line]) -> list[Line]:
    return lines


def _cut(whole: report_sql.Range) -> tuple[report_sql.Range, report_sql.Range]:
    low, high = whole
    middle = (low + high) // 2
    return (low, middle), (middle + 1, high)


def _too_long(part: Slice) -> QueryTooLong:
    return QueryTooLong(f"the usage of {part.first} takes too long to add up")
