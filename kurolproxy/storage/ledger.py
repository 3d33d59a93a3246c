"""Rows on their way to the database: added by the loop, written beside it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import DatabaseBusy, StorageError
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import import_rows

_FLUSH_INTERVAL_S = 0.2
# One transaction: long enough to be cheap, short enough for the changes of people between.
_MAX_BATCH = 500
# A database that stays busy for longer than this many rows counts as unwritable.
_MAX_PENDING = 100_000
_LOG_INTERVAL_S = 60.0
_CLOSE_TIMEOUT_S = 10.0


class Ledger:
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
