"""A copy of the database in one file: made beside a gateway that runs, and checked."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from kurolproxy.storage.errors import DatabaseBusy, DatabaseCorrupt, translating
from kurolproxy.storage.journal import sync_folder
from kurolproxy.storage.migrate import FILE_MODE, check_origin

Progress = Callable[[int, int], None]
"""(pages that are copied, pages in all); what it raises ends the copy."""

# 4 MiB: a step reads the database for some milliseconds, and lets others have it then.
_STEP_PAGES: Final = 1_024
# A change that somebody commits meanwhile begins the copy anew.
_MOST_RESTARTS: Final = 20
_STUCK_S: Final = 30.0
_SIDE_FILES: Final = ("", "-journal", "-wal", "-shm")
# Instructions of SQLite's machine between two looks whether somebody wants the check to end.
_LOOK_EVERY: Final = 1_000_000


class BackupError(Exception):
    """No copy was made; the text says why."""


@contextmanager
def new_file(path: Path, *, replace: bool) -> Iterator[Path]:
    """Let a file be written under another name beside a path, and give it its name then.

    It is private, on the disk, and whole when it gets its name. When anything is raised
    meanwhile, nothing is left of it, and what had the name keeps it.

    Args:
        replace: whether a file may have the name already.

    Yields:
        the path to write to: an empty file.

    Raises:
        BackupError: there is such a file, somebody else writes it, or it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    _may_be(path, replace=replace)
    try:
        fd = _held(partial)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error
    try:
        yield partial
        os.fsync(fd)
        _may_be(path, replace=replace)
        partial.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise BackupError(f"{path} cannot be written: {error.strerror}") from error
    finally:
        # While it is held: whoever comes next takes a new one.
        for suffix in _SIDE_FILES:
            with suppress(OSError):
                partial.with_name(partial.name + suffix).unlink()
        os.close(fd)


def copy(source: sqlite3.Connection, target: Path, *, progress: Progress) -> int:
    """Copy a database in steps, beside whatever else goes on there.

    Blocks. Every step takes some milliseconds; between two of them the WAL can be reused.
    The copy is of one moment: a change that is committed meanwhile begins it anew.

    Args:
        source: in autocommit mode.
        target: an empty file.

    Returns:
        how often it had to begin anew.

    Raises:
        BackupError: that happened too often.
        StorageError: source or target cannot be used.
    """
    watch = _Watch(progress)
    with translating(), closing(sqlite3.connect(target, isolation_level=None)) as copied:
        # Until it is whole nobody needs it to survive anything.
        copied.execute("PRAGMA journal_mode = OFF")
        copied.execute("PRAGMA synchronous = OFF")
        source.backup(copied, pages=_STEP_PAGES, progress=watch, sleep=0.05)
    return watch.restarts


def check(path: Path) -> None:
    """Check a copy from its first page to its last, and make it one file that needs no other.

    Blocks, about as long as the copy took.

    Raises:
        DatabaseCorrupt: its pages do not fit together: those of the database do not.
        StorageError: it is no database of ours, or cannot be read.
    """
    with translating(), closing(sqlite3.connect(path, isolation_level=None)) as db:
        # Python acts on signals when it is asked something.
        db.set_progress_handler(lambda: None, _LOOK_EVERY)
        check_origin(db, path)
        found = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
        if found != "ok":
            raise DatabaseCorrupt(f"the database is damaged: {found.splitlines()[-1]}")
        db.execute("PRAGMA journal_mode = DELETE")


class _Watch:
    """Looks on while pages are copied.

    Args:
        clock: seconds of a monotonic clock.

    Attributes:
        restarts: how often the copy began anew.
    """

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self.restarts = 0
        self._progress = progress
        self._clock = clock
        self._copied = 0
        self._moved_at = clock()

    def __call__(self, status: int, remaining: int, total: int) -> None:
        copied = total - remaining
        now = self._clock()
        if status in (sqlite3.SQLITE_OK, sqlite3.SQLITE_DONE):
            self._moved_at = now
            # Every step copies a page at least.
            self._count_restart(anew=copied <= self._copied)
            self._copied = copied
        elif now - self._moved_at > _STUCK_S:
            raise DatabaseBusy("another process holds the database")
        self._progress(copied, total)

    def _count_restart(self, *, anew: bool) -> None:
        self.restarts += anew
        if self.restarts > _MOST_RESTARTS:
            raise BackupError(
                "the database was changed all the time: try again when fewer accounts and keys"
                " are being changed"
            )


def _may_be(path: Path, *, replace: bool) -> None:
    if path.is_dir():
        raise BackupError(f"{path} is a directory: name a file in it")
    # A device or a pipe would be gone: root has both.
    if path.exists() and not path.is_file():
        raise BackupError(f"{path} is no ordinary file: name one")
    if path.exists() and not replace:
        raise BackupError(f"{path} exists already: name another file, or say --force")


def _held(partial: Path) -> int:
    """Open a file that nobody else writes, empty and private; return its descriptor.

    Raises:
        BackupError: somebody else does.
        OSError: it cannot be made.
    """
    fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever held it may just have given it its name: then it is a backup by now.
        if os.fstat(fd).st_ino != partial.stat().st_ino:
            raise BlockingIOError
        os.fchmod(fd, FILE_MODE)
        os.ftruncate(fd, 0)
    except (BlockingIOError, FileNotFoundError) as error:
        os.close(fd)
        raise BackupError(f"another backup is writing {partial}") from error
    except OSError:
        os.close(fd)
        raise
    return fd
