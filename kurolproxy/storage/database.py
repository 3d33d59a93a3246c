"""The SQLite file: one connection that writes, one that reads, each on its own thread."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from kurolproxy.storage.errors import translating
from kurolproxy.storage.migrate import prepare

T = TypeVar("T")

_BUSY_TIMEOUT_S = 5.0
# A read that never ends keeps the WAL from being reused: it would grow without bound.
_READ_LIMIT_S = 2.0
# Instructions of SQLite's machine between two looks at the clock: some 0.1 ms.
_CHECK_EVERY = 10_000
_WAL_KEPT_BYTES = 64 * 1024 * 1024
_SYNCHRONOUS = {False: "NORMAL", True: "FULL"}


class _Limit:
    """How long one query may go on; asked on the database's thread while it runs."""

    def __init__(self, seconds: float) -> None:
        self._deadline = time.monotonic() + seconds

    def stop(self) -> None:
        """Let the query end at once."""
        self._deadline = 0.0

    def passed(self) -> bool:
        return time.monotonic() > self._deadline


class Database:
    """The open database.

    Writing goes through ``write`` alone, one transaction at a time. Both connections run
    on threads of their own: a commit may stall for 100 ms and never stalls the loop.

    Args:
        writer: connected, in autocommit mode: transactions are begun here.
        reader: connected, to read only.
        read_limit_s: how long one query may take.
    """

    def __init__(
        self, writer: aiosqlite.Connection, reader: aiosqlite.Connection, *, read_limit_s: float
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._read_limit_s = read_limit_s
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._transactions: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        busy_timeout_s: float = _BUSY_TIMEOUT_S,
        read_limit_s: float = _READ_LIMIT_S,
    ) -> Database:
        """Open the file, create it when it is missing, bring it to the newest version.

        Args:
            path: in a directory that exists; the file gets the mode 0600.
            busy_timeout_s: how long a statement waits for another process's lock.
            read_limit_s: how long one query may take.

        Raises:
            StorageError: as ``migrate.prepare``.
        """
        # At DEBUG it logs every statement with its values: password hashes, emails.
        logging.getLogger("aiosqlite").setLevel(logging.WARNING)
        await asyncio.to_thread(prepare, path, busy_timeout_s=busy_timeout_s)
        writer = await _connect(path, busy_timeout_s)
        try:
            reader = await _connect(path, busy_timeout_s)
            await reader.execute("PRAGMA query_only = ON")
        except BaseException:
            await writer.close()
            raise
        return cls(writer, reader, read_limit_s=read_limit_s)

    async def close(self) -> None:
        """Finish the transactions that run, then close both connections."""
        while self._transactions:
            await asyncio.wait(self._transactions)
        await self._reader.close()
        await self._writer.close()

    async def write(
        self,
        work: Callable[[aiosqlite.Connection], Awaitable[T]],
        *,
        durable: bool = False,
        then: Callable[[T], None] | None = None,
    ) -> T:
        """Run one transaction, whole or not at all.

        Once begun it runs to its end, also when the caller is cancelled: a change is never
        in the database and not in memory.

        Args:
            work: executes statements on the connection; what it raises rolls them back.
            durable: return only once it is safe on the disk (``synchronous = FULL``).
            then: called with the result after the commit, before another transaction
                begins: the place to change memory.

        Raises:
            DatabaseBusy: another process holds the database.
            DatabaseUnwritable: the disk is full, read-only or failing.
            DatabaseCorrupt: the file is damaged.
        """
        task = asyncio.create_task(self._transaction(work, durable, then))
        self._transactions.add(task)
        task.add_done_callback(self._transactions.discard)
        return await asyncio.shield(task)

    async def read(
        self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()
    ) -> list[sqlite3.Row]:
        """Run one query beside whatever is being written.

        Raises:
            QueryTooLong: it was stopped after ``read_limit_s``.
            StorageError: as ``write``.
        """
        async with self._reading:
            limit = _Limit(self._read_limit_s)
            try:
                with translating():
                    # The thread takes its work in order: each query runs under its own limit.
                    await self._reader.set_progress_handler(limit.passed, _CHECK_EVERY)
                    return list(await self._reader.execute_fetchall(sql, parameters))
            finally:
                # For a caller who went away: the next query waits for this one's thread.
                limit.stop()

    async def _transaction(
        self,
        work: Callable[[aiosqlite.Connection], Awaitable[T]],
        durable: bool,
        then: Callable[[T], None] | None,
    ) -> T:
        async with self._writing:
            with translating():
                try:
                    # A transaction cannot change this once it has begun.
                    await self._writer.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durable]}")
                    # IMMEDIATE: a read that turned into a write would fail at once, whatever
                    # the timeout.
                    await self._writer.execute("BEGIN IMMEDIATE")
                    result = await work(self._writer)
                    await self._writer.execute("COMMIT")
                finally:
                    if self._writer.in_transaction:
                        await self._writer.execute("ROLLBACK")
            if then is not None:
                then(result)
            return result


async def _connect(path: Path, busy_timeout_s: float) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, timeout=busy_timeout_s, isolation_level=None)
    connection.row_factory = sqlite3.Row
    await connection.execute("PRAGMA foreign_keys = ON")
    await connection.execute(f"PRAGMA journal_size_limit = {_WAL_KEPT_BYTES}")
    return connection
