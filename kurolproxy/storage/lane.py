"""One connection to SQLite on a thread of its own, for work of many statements."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from kurolproxy.storage.errors import translating

T = TypeVar("T")

# Instructions of SQLite's machine between two looks at the clock: some 0.1 ms.
CHECK_EVERY = 10_000


class Lane:
    """A connection whose work runs on one thread, one piece after the other.

    The loop only waits: what is done with the rows is done on that thread, too.

    Args:
        path: of a database that was prepared.
        name: of the thread.
        busy_timeout_s: how long a statement waits for another connection's lock.
        writes: whether it may change anything.
    """

    def __init__(self, path: Path, *, name: str, busy_timeout_s: float, writes: bool) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._writes = writes
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do some work with the connection, in autocommit mode.

        What was begun runs to its end, also when the caller is cancelled.

        Raises:
            StorageError: SQLite's errors as ours.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)

    async def close(self) -> None:
        """Wait for what runs, and close the connection."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        with translating():
            if self._connection is None:
                self._connection = self._open()
            try:
                return work(self._connection)
            finally:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")

    def _open(self) -> sqlite3.Connection:
        # Opened to read only, not "query_only", which would forbid temporary tables as well.
        mode = "rw" if self._writes else "ro"
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=self._busy_timeout_s,
            isolation_level=None,
        )
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Queries:
    """Queries of one connection, each under a limit of time.

    Args:
        limit_s: how long one query may hold the database; a longer one raises QueryTooLong
            where errors are translated. A read that never ends keeps the WAL from being
            reused: it would grow without bound.
    """

    def __init__(self, connection: sqlite3.Connection, limit_s: float) -> None:
        self._connection = connection
        self._limit_s = limit_s

    def rows(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Return all rows of one query."""
        deadline = time.monotonic() + self._limit_s
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, CHECK_EVERY)
        try:
            return self.scratch(sql, parameters)
        finally:
            self._connection.set_progress_handler(None, 0)

    def scratch(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[tuple[Any, ...]]:
        """Run a statement on temporary tables alone: it takes the time that it takes.

        They are in a file of this connection's own; nothing of the database is held.
        """
        return self._connection.execute(sql, parameters).fetchall()
