"""Open the database to read only, beside whatever else uses it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from kurolproxy.storage.errors import DatabaseMissing, StorageError, translating
from kurolproxy.storage.migrate import check_origin, is_newest

_BUSY_TIMEOUT_S: Final = 5.0
# The pages of some ten thousand rows: a check reads those of a day several times.
_CACHE_KIB: Final = 32_768


@contextmanager
def reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection in autocommit mode that changes nothing.

    It is opened to read and write all the same: SQLite keeps the two files beside a
    database together with all who have it open, and removes them with the last one. As
    root it makes them the owner's of the database.

    Raises:
        StorageError: there is no database, or it is none that this version knows.
    """
    if not path.is_file():
        raise DatabaseMissing(f"there is no database {path}: no gateway has started there yet")
    uri = f"{path.absolute().as_uri()}?mode=rw"
    with (
        translating(),
        closing(
            sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        ) as db,
    ):
        db.execute("PRAGMA query_only = ON")
        db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        try:
            check_origin(db, path)
        except StorageError as error:
            raise type(error)(f"{path}: {error}") from error
        if not is_newest(db):
            raise StorageError(f"{path.name} is of an older version: start the gateway once")
        yield db
