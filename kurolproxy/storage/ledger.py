"""The ledger while the gateway runs: rows into the journal at once, into SQLite soon.

The loop appends a row to the journal when its call is settled, before the answer's last
bytes go out. Two tasks do the rest beside it: one puts closed files of the journal on the
disk, the other imports them, in pieces, and deletes them once the database is on the
disk, too. What the disk does not take waits in memory and is tried again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import DatabaseBusy, StorageError
from kurolproxy.storage.importer import import_piece
from kurolproxy.storage.journal import MAX_AGE_S, MAX_BYTES, Journal, JournalFile
from kurolproxy.storage.recovery import drop_imported, recover
from kurolproxy.storage.rows import UsageRow, cleaned, encode_row
from kurolproxy.storage.troubles import Troubles

_ROLL_INTERVAL_S = 0.1
_IMPORT_INTERVAL_S = 0.15
_CHECKPOINT_INTERVAL_S = 5.0
_LOOK_INTERVAL_S = 1.0
_WAL_LIMIT_BYTES = 64 * 1024 * 1024
# So many rows in memory, some 50 MB: then calls are refused whatever the policy says.
_MAX_HELD = 100_000
# A database that stays locked for so many rows, some 400 MB of journal, counts as unwritable.
_MAX_WAITING = 1_000_000
# So many of the rows held in memory go to the journal in one turn of the loop.
_HELD_AT_ONCE = 200
# What is older than this should be out of the journal.
_SETTLED_S = 60.0
_BLOCKED = "another process reads the database without an end: journal and WAL grow"
_CLOSE_TIMEOUT_S = 10.0
# A disk that takes longer is in trouble: the answer goes out, and others are refused.
_DURABLE_TIMEOUT_S = 5.0


class Ledger:
    """The record of usage.

    Args:
        folder: of the journal.
        strict: every answer waits until its row is on the disk (``durable``).
        max_age_s: how long one file of the journal is appended to.
        clock: seconds of a monotonic clock.

    Attributes:
        strict: as given.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        strict: bool = False,
        max_age_s: float = MAX_AGE_S,
        max_held: int = _MAX_HELD,
        wal_limit_bytes: int = _WAL_LIMIT_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.strict = strict
        self._damaged = 0
        self._database = database
        self._folder = folder
        self._max_age_s = max_age_s
        self._max_held = max_held
        self._wal_limit_bytes = wal_limit_bytes
        self._clock = clock
        self._journal = Journal(folder, in_turn=strict)
        # Files with rows that may not be in the database yet, oldest first; and those with
        # none, which are deleted once the database is on the disk.
        self._files: list[JournalFile] = []
        self._imported: list[JournalFile] = []
        # Files that have to be synced.
        self._unsynced: list[JournalFile] = []
        # Rows of ``_files`` that are not in the database: every request asks.
        self._journaled = 0
        # Encoded rows that the journal did not take.
        self._held: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._oldest: float | None = None
        self._checkpoint_at = 0.0
        # Since when no checkpoint was whole.
        self._blocked_at: float | None = None
        self._troubles = Troubles(clock)
        self._importing = asyncio.Lock()
        self._pauses = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = asyncio.Event()
        self._wake = asyncio.Event()

    # --- life -------------------------------------------------------------------------

    async def open(self) -> None:
        """Import what an earlier process left, and begin a new file.

        Raises:
            StorageError: the database does not take it.
            OSError: the journal cannot be read or written.
        """
        self._files, self._damaged = await recover(self._database, self._folder)
        await asyncio.to_thread(self._journal.open)

    def start(self) -> None:
        """Begin to sync and to import, in tasks of the running loop."""
        self._tasks = [
            asyncio.create_task(self._repeat(self._roll, _ROLL_INTERVAL_S, self._wake)),
            asyncio.create_task(self._repeat(self._import, _IMPORT_INTERVAL_S, self._stopping)),
        ]

    async def close(self, *, timeout_s: float = _CLOSE_TIMEOUT_S) -> int:
        """Stop, put what is left on the disk, and import it.

        Args:
            timeout_s: how long to go on trying while the database takes nothing; the
                journal keeps what it did not take.

        Returns:
            the rows that are lost: those that not even the journal took.
        """
        self._stopping.set()
        self._wake.set()
        if self._tasks:
            await asyncio.wait(self._tasks)
        try:
            await self._flush_within(timeout_s)
        finally:
            # Whatever goes wrong with the database: the journal is what the rows are safe in.
            self._unsynced += self._journal.close()
            await self._sync()
            self._free_waiting(self._waiting)
        with suppress(StorageError, OSError):
            # Their last lines are left.
            await self._import_rows()
            await self._let_go()
        for file in self._files:
            file.release()
        self._tell_what_is_left()
        return len(self._held)

    async def _flush_within(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not await self.flush():
            if loop.time() >= deadline:
                return
            await asyncio.sleep(_IMPORT_INTERVAL_S)

    def _tell_what_is_left(self) -> None:
        log = logging.getLogger(__name__)
        if self._held:
            log.error("%d usage rows could not be written and are lost", len(self._held))
        if waiting := self.pending - len(self._held):
            log.warning("%d usage rows wait in the journal for the next start", waiting)

    # --- the loop's side --------------------------------------------------------------

    def add(self, row: UsageRow) -> None:
        """Take a row over: from here on it survives the end of this process.

        Never raises: what the journal does not take is held in memory and tried again.
        """
        if self._oldest is None:
            self._oldest = self._clock()
        encoded = encode_row(cleaned(row))
        if self._held or not self._append(encoded):
            self._held.append(encoded)

    async def durable(self) -> None:
        """Wait until the rows added so far are on the disk; for ``strict`` only.

        Gives up after a few seconds, or at once for rows that the journal did not take:
        a failing disk fails no call that runs.
        """
        if self._held or self._stopping.is_set():
            return
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(written)
        self._wake.set()
        try:
            async with asyncio.timeout(_DURABLE_TIMEOUT_S):
                await written
        except TimeoutError:
            self._troubles.note("sync", TimeoutError("the disk takes too long"), self.pending)

    @property
    def damaged(self) -> int:
        """Lines of the journal that could not be read, at the start or since."""
        return self._damaged + sum(file.damaged for file in [*self._files, *self._imported])

    @property
    def pending(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._held) + self._journaled

    @property
    def oldest_pending_s(self) -> float:
        """How long the oldest of them has waited, or a little less than that."""
        return 0.0 if self._oldest is None else self._clock() - self._oldest

    @property
    def wal_bytes(self) -> int:
        """The length of SQLite's write-ahead log."""
        return self._database.wal_bytes

    @property
    def writable(self) -> bool:
        """Whether rows reach disk and database, as far as is known.

        A database that another process holds for a while counts as writable: rows wait in
        the journal, no request does.
        """
        died = any(task.done() for task in self._tasks) and not self._stopping.is_set()
        return not (self._troubles or died or self._held or self.pending > _MAX_WAITING)

    @property
    def full(self) -> bool:
        """Whether no more rows can wait in memory."""
        return len(self._held) >= self._max_held

    # --- for those who read the database ------------------------------------------------

    async def flush(self) -> bool:
        """Import all rows that were added before this call.

        Returns:
            whether they are committed now; else they stay and are tried again.
        """
        await self._journal_held()
        wanted = [(file, file.size) for file in self._files]
        with suppress(StorageError, OSError):
            await self._import_rows()
        return not self._held and all(file.imported >= size for file, size in wanted)

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Import nothing meanwhile; the journal goes on. Several may be open at once."""
        self._pauses += 1
        try:
            # What runs comes to its end first.
            async with self._importing:
                pass
            yield
        finally:
            self._pauses -= 1

    async def settled(self) -> bool:
        """Return whether the journal holds nothing that is older than a minute."""
        now = self._clock()
        return all(
            file.begun_at is not None and now - file.begun_at < _SETTLED_S
            for file in [*self._files, *self._imported]
        )

    # --- the two tasks ------------------------------------------------------------------

    async def _repeat(
        self, work: Callable[[], Awaitable[None]], period_s: float, wake: asyncio.Event
    ) -> None:
        while not self._stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(period_s):
                    await wake.wait()
            if wake is self._wake:
                wake.clear()
            try:
                await work()
            except Exception as error:  # the outermost boundary of a task
                # A fault of ours must not end the writing: the rows wait and are tried again.
                self._troubles.note("fault", error, self.pending)
            else:
                self._troubles.over("fault")

    async def _roll(self) -> None:
        """Put what the journal holds on the disk, when it is time or somebody waits for it."""
        await self._journal_held()
        now = self._clock()
        self._unsynced += self._journal.retire(now, max_age_s=self._max_age_s)
        due = self._journal.due(now, max_age_s=self._max_age_s, max_bytes=MAX_BYTES)
        waiting, self._waiting = self._waiting, []
        try:
            if due or waiting:
                self._unsynced.append(await self._turned(close=due))
            await self._sync()
        finally:
            self._free_waiting(waiting)
        if self._journal.needs_supply:
            await self._supply()

    async def _sync(self) -> None:
        """Put files on the disk; those that cannot be put there stay in ``_unsynced``."""
        files, self._unsynced = list(dict.fromkeys(self._unsynced)), []
        for file in files:
            try:
                await asyncio.to_thread(file.sync)
            except OSError as error:
                self._unsynced.append(file)
                self._troubles.note("sync", error, self.pending)
        if files and not self._unsynced:
            self._troubles.over("sync")

    def _free_waiting(self, waiting: list[asyncio.Future[None]]) -> None:
        for each in waiting:
            if not each.done():
                each.set_result(None)

    async def _turned(self, *, close: bool) -> JournalFile:
        """Return a file to sync: one that nothing is appended to, if there can be another."""
        if self._journal.needs_supply and not await self._supply():
            current = self._journal.current
            if current.begun_at is not None:
                current.begun_at = self._clock()
            return current
        return self._journal.turn(close=close)

    async def _supply(self) -> bool:
        try:
            await asyncio.to_thread(self._journal.supply)
        except OSError as error:
            self._troubles.note("journal", error, self.pending)
            return False
        self._troubles.over("journal")
        return True

    async def _import(self) -> None:
        """Import what there is, and let go of what is safe."""
        if not self._pauses:
            try:
                await self._import_rows()
            except (StorageError, OSError) as error:
                busy = isinstance(error, DatabaseBusy)
                self._troubles.note("busy" if busy else "import", error, self.pending)
            else:
                self._troubles.over("import", "busy")
        if self._clock() >= self._checkpoint_at:
            await self._try_to_let_go()

    async def _try_to_let_go(self) -> None:
        """Delete files that are safe, also while the disk is full: that makes room."""
        try:
            safe = await self._let_go()
        except DatabaseBusy:
            safe = False
        except (StorageError, OSError) as error:
            self._troubles.note("checkpoint", error, self.pending)
            return
        self._troubles.over("checkpoint")
        now = self._clock()
        if safe:
            self._blocked_at = None
            self._troubles.over("reader")
        elif self._blocked_at is None:
            self._blocked_at = now
        elif now - self._blocked_at >= _SETTLED_S:
            # No failure yet, but the disk fills up.
            self._troubles.note("reader", DatabaseBusy(_BLOCKED), self.pending)

    # --- steps --------------------------------------------------------------------------

    def _append(self, encoded: bytes) -> bool:
        if not self._journal.is_open:
            logging.getLogger(__name__).error("a usage row came when the ledger was closed")
            return False
        file = self._journal.current
        try:
            file.append(encoded)
        except OSError as error:
            self._troubles.note("append", error, self.pending + 1)
            return False
        if file.begun_at is None:
            file.begun_at = self._clock()
            self._files.append(file)
        self._journaled += 1
        return True

    async def _journal_held(self) -> None:
        """Try again what the journal did not take; others get their turn meanwhile."""
        if not self._held or not self._journal.is_open:
            return
        while self._held:
            some, taken = self._held[:_HELD_AT_ONCE], 0
            while taken < len(some) and self._append(some[taken]):
                taken += 1
            del self._held[:taken]
            if taken < len(some):
                return
            await asyncio.sleep(0)
        self._troubles.over("append")

    async def _import_rows(self) -> None:
        """Import the rows that were there before this call.

        Raises:
            StorageError: the database takes no more of them now.
            OSError: a file cannot be read; the others were.
        """
        unreadable: OSError | None = None
        async with self._importing:
            started = self._clock()
            for file in list(self._files):
                try:
                    await self._import_file(file)
                except OSError as error:
                    unreadable = error
            if not (self._held or self._pauses or unreadable):
                self._oldest = started if self.pending else None
        if unreadable is not None:
            raise unreadable

    async def _import_file(self, file: JournalFile) -> None:
        end = file.size
        while file.imported < end and not self._pauses:
            lines, waiting = file.lines, file.waiting
            try:
                await import_piece(self._database, file)
            finally:
                # Meanwhile others were appended, and counted.
                appended = file.lines - lines
                self._journaled += file.waiting - waiting - appended

    async def _let_go(self) -> bool:
        """Delete files of the journal whose rows are on the disk in the database.

        Returns:
            False when a reader kept the database from being put there.
        """
        self._checkpoint_at = self._clock() + _LOOK_INTERVAL_S
        self._imported += [each for each in self._files if each.done]
        self._files = [each for each in self._files if not each.done]
        if self.wal_bytes <= self._wal_limit_bytes:
            if not self._imported:
                return True
            self._checkpoint_at = self._clock() + _CHECKPOINT_INTERVAL_S
        if not await self._database.checkpoint(wal_limit_bytes=self._wal_limit_bytes):
            return False
        while self._imported:
            file = self._imported[0]
            await drop_imported(file)
            self._damaged += file.damaged
            del self._imported[0]
        return True
