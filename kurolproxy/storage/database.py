"""The SQLite file: one connection for each kind of work, each on its own thread."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiosqlite

from kurolproxy.storage.errors import DatabaseMissing, translating
from kurolproxy.storage.lane import CHECK_EVERY, Lane, Queries
from kurolproxy.storage.migrate import prepare

T = TypeVar("T")

_BUSY_TIMEOUT_S = 5.0
# A read that never ends keeps the WAL from being reused: it would grow without bound.
_READ_LIMIT_S = 2.0
# The import of usage tries again soon: it must not hold up who changes accounts and keys.
_BULK_TIMEOUT_S = 0.2
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

    Writing goes through ``write`` and ``bulk`` alone, one transaction at a time. All
    connections run on threads of their own: a commit may stall for 100 ms and never
    stalls the loop.

    Args:
        path: of the file.
        writer: connected, in autocommit mode: transactions are begun here.
        reader: connected, to read only.
        busy_timeout_s: how long a statement waits for another process's lock.
        read_limit_s: how long one query may take.
    """

    def __init__(
        self,
        path: Path,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        *,
        busy_timeout_s: float,
        read_limit_s: float,
    ) -> None:
        self.path = path
        self._writer = writer
        self._reader = reader
        self._read_limit_s = read_limit_s
        soon = min(busy_timeout_s, _BULK_TIMEOUT_S)
        self._bulk = Lane(path, name="ledger", busy_timeout_s=soon, writes=True)
        self._reports = Lane(path, name="reports", busy_timeout_s=busy_timeout_s, writes=False)
        self._writing = asyncio.Lock()
        self._reading = asyncio.Lock()
        self._transactions: set[asyncio.Task[Any]] = set()
        self._opened = _identity(path)

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
        return cls(path, writer, reader, busy_timeout_s=busy_timeout_s, read_limit_s=read_limit_s)

    async def close(self) -> None:
        """Finish the transactions that run, then close all connections."""
        while self._transactions:
            await asyncio.wait(self._transactions)
        await self._reports.close()
        await self._bulk.close()
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
        return await self._whole(self._transaction(work, durable, then))

    async def bulk(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run one transaction of many statements, as a whole on a thread.

        It is not safe on the disk before the next ``checkpoint``.

        Args:
            work: executes statements, and whatever else takes time; what it raises rolls
                them back.

        Raises:
            StorageError: as ``write``; DatabaseBusy comes after 0.2 s.
        """

        def transaction(db: sqlite3.Connection) -> T:
            db.execute("BEGIN IMMEDIATE")
            result = work(db)
            db.execute("COMMIT")
            return result

        return await self._whole(self._in_turn(transaction))

    async def checkpoint(self, *, wal_limit_bytes: int = _WAL_KEPT_BYTES) -> bool:
        """Move what was committed into the database file, and onto the disk.

        A WAL that has outgrown its limit is cut to nothing, which waits for the reader
        that runs, at most the limit of its query.

        Returns:
            whether everything that was committed before is safe on the disk now; a reader
            of another process can stand in the way.

        Raises:
            StorageError: as ``write``.
            DatabaseMissing: somebody deleted the file, or put another in its place: what is
                written goes to one that nobody will find again.
        """
        if _identity(self.path) != self._opened:
            raise DatabaseMissing(
                f"{self.path.name} was deleted or replaced while the gateway runs: stop the"
                " gateway, put back the file or a backup, and start again"
            )
        if self.wal_bytes <= wal_limit_bytes:
            return await self._whole(self._in_turn(lambda db: _checkpoint(db, "PASSIVE")))
        async with self._reading:
            return await self._whole(self._in_turn(lambda db: _checkpoint(db, "TRUNCATE")))

    @property
    def wal_bytes(self) -> int:
        """How long the file is that holds what no checkpoint has moved yet."""
        try:
            return self.path.with_name(self.path.name + "-wal").stat().st_size
        except OSError:
            return 0

    async def report(self, work: Callable[[Queries], T]) -> T:
        """Run several queries, and what is made of their rows, on a thread.

        Each query is limited on its own: between two of them the WAL can be reused.

        Raises:
            QueryTooLong: one of them was stopped after ``read_limit_s``.
            StorageError: as ``write``.
        """
        async with self._reading:
            return await self._reports.run(lambda db: work(Queries(db, self._read_limit_s)))

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
                    await self._reader.set_progress_handler(limit.passed, CHECK_EVERY)
                    return list(await self._reader.execute_fetchall(sql, parameters))
            finally:
                # For a caller who went away: the next query waits for this one's thread.
                limit.stop()

    async def _whole(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something to its end, also when the caller is cancelled."""
        task = asyncio.create_task(work)
        self._transactions.add(task)
        task.add_done_callback(self._transactions.discard)
        return await asyncio.shield(task)

    async def _in_turn(self, work: Callable[[sqlite3.Connection], T]) -> T:
        async with self._writing:
            return await self._bulk.run(work)

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


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another of the same name; None when there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _checkpoint(db: sqlite3.Connection, mode: str) -> bool:
    busy, in_wal, moved = db.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
    return not busy and in_wal == moved
