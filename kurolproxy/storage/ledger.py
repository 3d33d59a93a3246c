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
from kurolproxy.storage.journal import (
    MAX_AGE_S,
    MAX_BYTES,
    Journal,
    JournalFile,
    drop,
    left_in,
)
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
# What is older than this should be out of the journal.
_SETTLED_S = 60.0
_CLOSE_TIMEOUT_S = 10.0
_RECOVER_TIMEOUT_S = 5.0
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
        # Files with rows that are not known to be safe in the database, oldest first.
        self._files: list[JournalFile] = []
        # Encoded rows that the journal did not take.
        self._held: list[bytes] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._oldest: float | None = None
        self._checkpoint_at = 0.0
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
        for _ in range(1 + int(timeout_s / _IMPORT_INTERVAL_S)):
            if await self.flush():
                break
            await asyncio.sleep(_IMPORT_INTERVAL_S)
        for file in await asyncio.to_thread(self._journal.close):
            with suppress(OSError):
                await asyncio.to_thread(file.sync)
        with suppress(StorageError, OSError):
            # Their last lines are left.
            await self._import_rows()
            await self._let_go()
        for file in self._files:
            file.release()
        self._tell_what_is_left()
        return len(self._held)

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
        except TimeoutError as error:
            self._troubles.note("sync", error or TimeoutError(), self.pending)

    @property
    def damaged(self) -> int:
        """Lines of the journal that could not be read, at the start or since."""
        return self._damaged + sum(file.damaged for file in self._files)

    @property
    def pending(self) -> int:
        """Rows that are not in the database yet."""
        return len(self._held) + sum(file.waiting for file in self._files)

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
        self._journal_held()
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
            file.begun_at is not None and now - file.begun_at < _SETTLED_S for file in self._files
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
        self._journal_held()
        due = self._journal.due(self._clock(), max_age_s=self._max_age_s, max_bytes=MAX_BYTES)
        files = [each for each in self._files if each.closed and not each.synced]
        waiting, self._waiting = self._waiting, []
        try:
            if due or waiting:
                files.append(await self._turned(close=due))
            for file in files:
                await asyncio.to_thread(file.sync)
            self._troubles.over("sync")
        except OSError as error:
            self._troubles.note("sync", error, self.pending)
        finally:
            for each in waiting:
                if not each.done():
                    each.set_result(None)
        if self._journal.needs_supply:
            await self._supply()

    async def _turned(self, *, close: bool) -> JournalFile:
        """Return a file to sync: one that nothing is appended to, if there can be another."""
        if self._journal.needs_supply and not await self._supply():
            current = self._journal.current
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
        try:
            await self._import_rows()
            if self._clock() >= self._checkpoint_at:
                await self._let_go()
        except (StorageError, OSError) as error:
            busy = isinstance(error, DatabaseBusy)
            self._troubles.note("busy" if busy else "import", error, self.pending)
        else:
            self._troubles.over("import", "busy")

    # --- steps --------------------------------------------------------------------------

    def _append(self, encoded: bytes) -> bool:
        file = self._journal.current
        try:
            file.append(encoded)
        except OSError as error:
            self._troubles.note("append", error, self.pending + 1)
            return False
        if file.begun_at is None:
            file.begun_at = self._clock()
            self._files.append(file)
        return True

    def _journal_held(self) -> None:
        """Try again what the journal did not take."""
        if not self._held:
            return
        taken = 0
        for encoded in self._held:
            if not self._append(encoded):
                break
            taken += 1
        del self._held[:taken]
        if not self._held:
            self._troubles.over("append")

    async def _import_rows(self) -> None:
        async with self._importing:
            started = self._clock()
            for file in list(self._files):
                end = file.size
                while file.imported < end and not self._pauses:
                    await import_piece(self._database, file)
            if not self._held:
                self._oldest = started if self.pending else None

    async def _let_go(self) -> None:
        """Delete files of the journal whose rows are on the disk in the database."""
        self._checkpoint_at = self._clock() + _LOOK_INTERVAL_S
        done = [each for each in self._files if each.synced and each.imported >= each.size]
        if self.wal_bytes <= self._wal_limit_bytes:
            if not done:
                return
            self._checkpoint_at = self._clock() + _CHECKPOINT_INTERVAL_S
        if not await self._database.checkpoint(wal_limit_bytes=self._wal_limit_bytes):
            return
        for file in done:
            await _drop(file)
            self._files.remove(file)
            self._damaged += file.damaged


async def recover(database: Database, folder: Path) -> tuple[list[JournalFile], int]:
    """Import what an earlier process left in the journal, and delete it.

    Returns:
        the files that are still there although all is imported, and how many lines of the
        others could not be read.

    Raises:
        StorageError: the database does not take it; the journal stays.
        OSError: the journal cannot be read.
    """
    files = await asyncio.to_thread(left_in, folder)
    deadline = time.monotonic() + _RECOVER_TIMEOUT_S
    for file in files:
        while file.imported < file.size:
            try:
                await import_piece(database, file)
            except DatabaseBusy:
                if time.monotonic() > deadline:
                    raise
    if not files or not await database.checkpoint():
        return files, 0
    for file in files:
        await _drop(file)
    return [], sum(file.damaged for file in files)


async def _drop(file: JournalFile) -> None:
    if file.damaged:
        text = "%d lines of the journal's %s could not be read; it is kept as %s.damaged"
        logging.getLogger(__name__).error(text, file.damaged, file.path.name, file.path.stem)
    await asyncio.to_thread(drop, file)
