"""What calls used: rows written in batches off the loop, and the sums of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date
from itertools import chain
from typing import Any, NamedTuple

import aiosqlite

from kurolproxy.ir import MAX_TOKENS_COUNTED
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import DatabaseBusy, StorageError

_FLUSH_INTERVAL_S = 0.2
# One transaction: long enough to be cheap, short enough for the changes of people between.
_MAX_BATCH = 500
# A database that stays busy for longer than this many rows counts as unwritable.
_MAX_PENDING = 100_000
_LOG_INTERVAL_S = 60.0
_CLOSE_TIMEOUT_S = 10.0
# SQLite turns an integer sum over 2^63 into a REAL without a word.
_LARGEST_SUM = 10**15


class UsageRow(NamedTuple):
    """One request of a client, as the ledger keeps it.

    A tuple, because one is made for every request and handed to SQLite as it is.

    Attributes:
        request_id: ours, never a client's: what counts a row once.
        day: the UTC day of admission.
        started_at: unix seconds.
        status: the HTTP status that the client saw.
        outcome: one word for how it ended, as the metric has it.
        charged: what it counted against the allowance.
        estimated: the usage was not reported, or not whole.
        ttft_ms: milliseconds to the first token; None when there was none.
    """

    request_id: str
    day: date
    started_at: float
    account_id: int
    key_id: str
    model: str
    upstream: str
    client_protocol: str
    upstream_protocol: str
    status: int
    outcome: str
    prompt: int
    completion: int
    cache_read: int
    cache_write: int
    reasoning: int
    charged: int
    estimated: bool
    streamed: bool
    duration_ms: int
    ttft_ms: int | None


# (day, account, key, model) -> what is added to each of ``_DAILY_COUNTERS``.
_Sums = dict[tuple[str, int, str, str], list[int]]

_SUMMED = ("prompt", "completion", "cache_read", "cache_write", "reasoning", "charged")
# Many rows in one statement: each statement gives the interpreter's lock away and takes it
# back, and waits for the loop each time.
_CHUNK = 50
_ROW = "({})".format(", ".join("?" * len(UsageRow._fields)))
_INSERT = "INSERT INTO usage ({}) VALUES ".format(", ".join(UsageRow._fields))
_INSERT_ONE = _INSERT + _ROW
_INSERT_CHUNK = _INSERT + ", ".join([_ROW] * _CHUNK)
_DAILY_COUNTERS = ("requests", *_SUMMED, "estimated")
_ADD_UP = "INSERT INTO usage_daily (day, account_id, key_id, model, {}) VALUES ({}) {} {}".format(
    ", ".join(_DAILY_COUNTERS),
    ", ".join("?" * (4 + len(_DAILY_COUNTERS))),
    "ON CONFLICT (day, account_id, key_id, model) DO UPDATE SET",
    ", ".join(
        f"{column} = min({column} + excluded.{column}, {_LARGEST_SUM})"
        for column in _DAILY_COUNTERS
    ),
)


async def import_rows(database: Database, rows: Sequence[UsageRow]) -> int:
    """Write rows and their sums in one transaction; a row that is there already is skipped.

    Returns:
        how many were new.

    Raises:
        StorageError: nothing was written.
    """

    async def work(db: aiosqlite.Connection) -> int:
        unique = {row.request_id: row for row in rows}
        marks = ", ".join("?" * len(unique))
        sql = f"SELECT request_id FROM usage WHERE request_id IN ({marks})"
        known = {found[0] for found in await db.execute_fetchall(sql, list(unique))}
        fresh = [row for id_, row in unique.items() if id_ not in known]
        sums: _Sums = {}
        records = list(_records(fresh, sums))
        whole = len(records) - len(records) % _CHUNK
        for start in range(0, whole, _CHUNK):
            await db.execute(_INSERT_CHUNK, [*chain(*records[start : start + _CHUNK])])
        await db.executemany(_INSERT_ONE, records[whole:])
        await db.executemany(_ADD_UP, ((*place, *added) for place, added in sums.items()))
        return len(fresh)

    return await database.write(work)


class UsageWriter:
    """Rows on their way to the database: added by the loop, written beside it.

    A row stays here until its transaction is committed. While the database cannot take
    rows they wait and are tried again; each is written once, however often it is tried.

    Args:
        interval_s: how long rows are collected for one transaction.
        clock: seconds of a monotonic clock.
    """

    def __init__(
        self,
        database: Database,
        *,
        interval_s: float = _FLUSH_INTERVAL_S,
        max_pending: int = _MAX_PENDING,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._interval_s = interval_s
        self._max_pending = max_pending
        self._clock = clock
        self._log = logging.getLogger(__name__)
        self._rows: list[UsageRow] = []
        self._oldest = 0.0
        self._failing = False
        self._logged_at: float | None = None
        self._flushing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to write every ``interval_s``, in a task of the running loop."""
        self._task = asyncio.create_task(self._run(), name="usage-writer")

    def add(self, row: UsageRow) -> None:
        """Take a row over; it is counted from here on."""
        if not self._rows:
            self._oldest = self._clock()
        self._rows.append(row)

    @property
    def pending(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._rows)

    @property
    def oldest_pending_s(self) -> float:
        """How long the oldest of them has waited, or a little less than that."""
        return self._clock() - self._oldest if self._rows else 0.0

    @property
    def writable(self) -> bool:
        """Whether rows reach the database, as far as is known.

        A database that another process holds for a while counts as writable: rows wait,
        no request does.
        """
        died = self._task is not None and self._task.done()
        return not (self._failing or died or len(self._rows) > self._max_pending)

    async def flush(self) -> bool:
        """Write all rows that were added before this call.

        Returns:
            whether they are committed now; else they stay and are tried again.
        """
        async with self._flushing:
            left = len(self._rows)
            while left > 0:
                started = self._clock()
                batch = self._rows[: min(left, _MAX_BATCH)]
                if not await self._write(batch):
                    return False
                # Only now: whoever cancels this meanwhile finds every row still here.
                del self._rows[: len(batch)]
                left -= len(batch)
                if left == 0:
                    self._oldest = started
            return True

    async def close(self, *, timeout_s: float = _CLOSE_TIMEOUT_S) -> int:
        """Stop, and write what is left.

        Args:
            timeout_s: how long to go on trying while the database takes nothing.

        Returns:
            the rows that are lost; 0 but for a failing disk.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._log.error("the usage writer had ended", exc_info=self._task.exception())
            self._task = None
        deadline = self._clock() + timeout_s
        for _ in range(1 + int(timeout_s / self._interval_s)):
            if await self.flush() or self._clock() >= deadline:
                break
            await asyncio.sleep(self._interval_s)
        if self._rows:
            self._log.error("%d usage rows could not be written and are lost", len(self._rows))
        return len(self._rows)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self.flush()
            except Exception as error:  # the outermost boundary of this task
                # A fault of ours must not end the writing: the rows wait and are tried again.
                self._failing = True
                self._complain(error)

    async def _write(self, batch: list[UsageRow]) -> bool:
        try:
            await import_rows(self._database, batch)
        except StorageError as error:
            self._failing = not isinstance(error, DatabaseBusy)
            self._complain(error)
            return False
        if self._logged_at is not None:
            self._log.warning("usage is written again")
        self._failing, self._logged_at = False, None
        return True

    def _complain(self, error: Exception) -> None:
        now = self._clock()
        if self._logged_at is None or now - self._logged_at >= _LOG_INTERVAL_S:
            self._logged_at = now
            self._log.error("%d usage rows wait: %s", len(self._rows), error)


def _records(rows: Iterable[UsageRow], sums: _Sums) -> Iterator[tuple[Any, ...]]:
    """Yield the values of rows as SQLite takes them, and add them up in ``sums``."""
    for row in rows:
        day, figures = row.day.isoformat(), [_clamped(value) for value in row[11:17]]
        key_id, model, upstream, client, target = (_text(value) for value in row[4:9])
        added = sums.setdefault((day, row.account_id, key_id, model), [0] * len(_DAILY_COUNTERS))
        for index, value in enumerate((1, *figures, int(row.estimated))):
            added[index] += value
        yield (
            row.request_id,
            day,
            row.started_at,
            row.account_id,
            key_id,
            model,
            upstream,
            client,
            target,
            _clamped(row.status),
            _text(row.outcome),
            *figures,
            int(row.estimated),
            int(row.streamed),
            _clamped(row.duration_ms),
            None if row.ttft_ms is None else _clamped(row.ttft_ms),
        )


def _clamped(value: int) -> int:
    if 0 <= value <= MAX_TOKENS_COUNTED:
        return value
    return 0 if value < 0 else MAX_TOKENS_COUNTED


def _text(value: str) -> str:
    # SQLite takes no lone surrogates, and one such row would hold up all others.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()
