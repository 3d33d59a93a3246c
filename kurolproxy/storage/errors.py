"""What can go wrong with the database, and with a change to what it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager


class StorageError(Exception):
    """The database did not do what was asked; the text holds no data of it."""


class DatabaseCorrupt(StorageError):
    """The file is damaged; nothing repairs it silently."""


class DatabaseForeign(StorageError):
    """The file is another program's database."""


class DatabaseMissing(StorageError):
    """The file is gone or empty, and what belongs to it is not."""


class DatabaseTooNew(StorageError):
    """A newer version of the gateway wrote the file."""


class DatabaseBusy(StorageError):
    """Another process holds the database; trying again will do."""


class DatabaseUnwritable(StorageError):
    """The disk is full, read-only, failing or not ours."""


class QueryTooLong(StorageError):
    """A read was stopped: a long one keeps the WAL from being reused."""


class StoreError(Exception):
    """A change was refused; the text is for whoever asked for it.

    Args:
        field: the field at fault, by the name that it has in the verb's structure; "" when
            it is about none, or about several.
    """

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class NotFound(StoreError):
    """There is no such account or key, or it is somebody else's."""


class Conflict(StoreError):
    """It exists already, or it is in no state for this."""


class Limit(StoreError):
    """There are too many already."""


class Invalid(StoreError):
    """A value makes no sense."""


_CLASSES: dict[int, type[StorageError]] = {
    sqlite3.SQLITE_CORRUPT: DatabaseCorrupt,
    sqlite3.SQLITE_NOTADB: DatabaseCorrupt,
    sqlite3.SQLITE_BUSY: DatabaseBusy,
    sqlite3.SQLITE_LOCKED: DatabaseBusy,
    sqlite3.SQLITE_FULL: DatabaseUnwritable,
    sqlite3.SQLITE_READONLY: DatabaseUnwritable,
    sqlite3.SQLITE_IOERR: DatabaseUnwritable,
    sqlite3.SQLITE_CANTOPEN: DatabaseUnwritable,
    sqlite3.SQLITE_PERM: DatabaseUnwritable,
    sqlite3.SQLITE_NOMEM: DatabaseUnwritable,
    sqlite3.SQLITE_INTERRUPT: QueryTooLong,
}


@contextmanager
def translating() -> Iterator[None]:
    """Raise SQLite's errors as ours; what is a fault of our own SQL stays what it is."""
    try:
        yield
    except sqlite3.Error as error:
        # The low byte is the kind, the rest says where in SQLite it happened.
        kind = _CLASSES.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if kind is None:
            raise
        what = "is damaged" if kind is DatabaseCorrupt else "says"
        raise kind(f"the database {what}: {error}") from error
