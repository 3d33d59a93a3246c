"""Run the gateway and let it die at a chosen point: ``python -m tests.faults.crashing``.

The points, all of the ledger's own work:

    journal        a line of the journal was written, its answer not
    before-commit  rows were inserted, the transaction not committed
    in-commit      in the middle of the write that commits them
    after-commit   they are committed, nothing else knows of it
    in-checkpoint  in the middle of the checkpoint that moves them into the database
    rotated        a segment of the journal was closed and synced
    removing       a segment of the journal is about to be removed

Nothing of the gateway is made for this: what it calls in ``os`` and ``sqlite3`` is wrapped.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from kurolproxy.__main__ import main

POINTS = (
    "journal",
    "before-commit",
    "in-commit",
    "after-commit",
    "in-checkpoint",
    "rotated",
    "removing",
)
_PAGE = 4_096


def die() -> None:
    """End at once, as by ``kill -9``."""
    os.kill(os.getpid(), signal.SIGKILL)


def file_of(database: Any) -> Path:
    """Return the file that SQLite was told to open, by its path or as a URI."""
    parts = urlsplit(str(database))
    return Path(unquote(parts.path) if parts.scheme == "file" else str(database))


def in_journal(fd: int) -> bool:
    """Return whether an open file is one of the journal's."""
    return Path(os.readlink(f"/proc/self/fd/{fd}")).parent.name == "journal"


class Trap:
    """Counts how often a point is reached, and dies there.

    Args:
        point: one of ``POINTS``.
        times: at which of its times.
    """

    def __init__(self, point: str, times: int) -> None:
        self._point = point
        self._left = times

    def at(self, point: str) -> None:
        """Die when this is the point, and its time has come."""
        if self.now(point):
            die()

    def now(self, point: str) -> bool:
        """Return whether this is the point, and its time has come."""
        if point != self._point:
            return False
        self._left -= 1
        return self._left <= 0


def short_of_space(path: Path, pages: range) -> None:
    """Let the kernel end this process in the middle of what it writes next.

    Whatever is written behind a place near the file's end is cut there, and the process
    gets SIGXFSZ for the rest.

    Args:
        pages: how far from the file's end that place is, one of them.
    """
    size = path.stat().st_size if path.exists() else 0
    limit = max(size + random.choice(pages) * _PAGE, 0) + random.randrange(_PAGE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def plenty_of_space() -> None:
    """Let the process write as much as it likes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def connection(trap: Trap) -> type[sqlite3.Connection]:
    """Return a connection of SQLite with traps in the ledger's transactions."""

    class Trapped(sqlite3.Connection):
        def __init__(self, database: Any, *args: Any, **options: Any) -> None:
            super().__init__(database, *args, **options)
            self._path = file_of(database)

        def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
            if not threading.current_thread().name.startswith("ledger"):
                return super().execute(sql, *args)
            if sql == "COMMIT":
                return self._commit()
            if "wal_checkpoint" in sql and trap.now("in-checkpoint"):
                short_of_space(self._path, range(-8, 0))
            done = super().execute(sql, *args)
            plenty_of_space()
            return done

        def _commit(self) -> sqlite3.Cursor:
            trap.at("before-commit")
            if trap.now("in-commit"):
                short_of_space(self._path.with_name(self._path.name + "-wal"), range(-1, 3))
            done = super().execute("COMMIT")
            plenty_of_space()
            trap.at("after-commit")
            return done

    return Trapped


def _wrap(trap: Trap) -> None:
    """Put the traps where the gateway asks the system for something."""
    write, connect, sync = os.write, sqlite3.connect, os.fdatasync
    factory = connection(trap)

    def writing(fd: int, data: Any) -> int:
        if not in_journal(fd):
            return write(fd, data)
        if resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
            # The kernel is about to end this process: of no other file it writes a part.
            die()
        done = write(fd, data)
        trap.at("journal")
        return done

    def syncing(fd: int) -> None:
        sync(fd)
        if in_journal(fd):
            trap.at("rotated")

    def removing(call: Callable[..., None]) -> Callable[..., None]:
        def wrapped(path: Any, *args: Any, **options: Any) -> None:
            if Path(path).parent.name == "journal":
                trap.at("removing")
            call(path, *args, **options)

        return wrapped

    os.write = writing
    os.fdatasync = syncing
    os.unlink, os.remove = removing(os.unlink), removing(os.remove)
    sqlite3.connect = lambda *args, **options: connect(*args, **{"factory": factory, **options})  # type: ignore[assignment]


if __name__ == "__main__":
    point, times, *rest = sys.argv[1:]
    # Python has it ignored; the write would fail, and its process live on.
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    _wrap(Trap(point, int(times)))
    main(rest, prog_name="kurolproxy")
