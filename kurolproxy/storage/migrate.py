"""Make a database file fit for use: create it, check it, bring it to the newest version."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import resources
from pathlib import Path

from kurolproxy.storage.errors import (
    DatabaseCorrupt,
    DatabaseForeign,
    DatabaseMissing,
    DatabaseTooNew,
    DatabaseUnwritable,
    StorageError,
    translating,
)
from kurolproxy.storage.journal import FOLDER, files_of

FILE_MODE = 0o600
_APPLICATION_ID = 0x4B75726F
# The whole file is read up to this size (about 0.15 s). Of a larger one the tables without
# which nobody can be let in, and the top of the ledger's trees.
CHECK_WHOLE_BYTES = 32 * 1024 * 1024
_QUICK_CHECKS = (
    "PRAGMA quick_check(accounts)",
    "PRAGMA quick_check(keys)",
    "PRAGMA quick_check(audit)",
)
_LOOKS = (
    "SELECT max(rowid) FROM usage",
    "SELECT min(request_id) FROM usage",
    "SELECT max(day) FROM usage",
    "SELECT max(day) FROM usage_daily",
)

_RESTORE = 'Restore a backup ("Backup and restore" in docs/cli.md)'
_REMEDIES: dict[type[StorageError], str] = {
    DatabaseCorrupt: f"Nothing was changed. {_RESTORE} and leave the journal there: its rows are"
    " added at the next start.",
    DatabaseForeign: "Nothing was changed. Look whether state_dir names the right folder.",
    DatabaseMissing: f"{_RESTORE}, or move what is left out of the folder to begin with an empty"
    " one.",
    DatabaseTooNew: f"Install that version again, or: {_RESTORE}.",
    DatabaseUnwritable: "Look at its disk, and at who may write there.",
}


def prepare(
    path: Path, *, busy_timeout_s: float, check_whole_bytes: int = CHECK_WHOLE_BYTES
) -> None:
    """Create or check the database and apply what migrations it lacks.

    Blocks: call it in a thread. Nothing is ever repaired.

    Args:
        check_whole_bytes: a larger file is checked in part, or a start would take long.

    Raises:
        DatabaseCorrupt: its pages do not fit together.
        DatabaseForeign: it is a database of another program.
        DatabaseMissing: it is gone, but not what belongs to it.
        DatabaseTooNew: a newer version of the gateway wrote it.
        DatabaseUnwritable: it cannot be created, opened or written.
        DatabaseBusy: another process holds it.
    """
    try:
        _prepare(path, busy_timeout_s, check_whole_bytes)
    except StorageError as error:
        raise with_remedy(error, path) from error


def with_remedy(error: StorageError, path: Path) -> StorageError:
    """Return an error that ends a start, of the same kind: which file, what, and what to do."""
    remedy = _REMEDIES.get(type(error))
    return error if remedy is None else type(error)(f"{path}: {error}. {remedy}")


def _prepare(path: Path, busy_timeout_s: float, check_whole_bytes: int) -> None:
    try:
        _check_left_over(path)
        _create_private(path)
    except OSError as error:
        raise DatabaseUnwritable(f"{path.name} cannot be opened: {error.strerror}") from error
    with (
        translating(),
        closing(sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None)) as db,
    ):
        check_origin(db, path)
        check_pages(db, path, check_whole_bytes)
        db.execute("PRAGMA journal_mode = WAL")
        for number, script in _missing(db):
            _apply(db, number, script)


def _check_left_over(path: Path) -> None:
    """Refuse to make a new database where one was lost: its keys would be gone without a word."""
    if path.exists() and path.stat().st_size:
        return
    wal = path.with_name(path.name + "-wal")
    left = [*files_of(path.parent / FOLDER), *([wal] if wal.exists() else [])]
    full = [each for each in left if each.stat().st_size]
    if full:
        state = "empty" if path.exists() else "gone"
        raise DatabaseMissing(f"{path.name} is {state}, but {full[0]} is not")


def _create_private(path: Path) -> None:
    """See to it that nobody else can read the file; SQLite gives its WAL the same mode."""
    try:
        mode = path.stat().st_mode & 0o777
    except FileNotFoundError:
        path.touch(mode=FILE_MODE, exist_ok=False)
        mode = path.stat().st_mode & 0o777
    if mode != FILE_MODE:
        path.chmod(FILE_MODE)


def _value(db: sqlite3.Connection, sql: str) -> int:
    return int(db.execute(sql).fetchone()[0])


def check_origin(db: sqlite3.Connection, path: Path) -> None:
    """See to it that a database is one of ours, and of no newer version; it may be empty.

    Raises:
        DatabaseForeign, DatabaseTooNew: it is not.
    """
    version, newest = _value(db, "PRAGMA user_version"), _scripts()[-1][0]
    origin = _value(db, "PRAGMA application_id")
    empty = version == 0 and _value(db, "SELECT count(*) FROM sqlite_master") == 0
    if not empty and origin != _APPLICATION_ID:
        raise DatabaseForeign(f"{path.name} is not a database of Kurol Proxy")
    if version > newest:
        raise DatabaseTooNew(
            f"{path.name} has version {version}, this program knows up to {newest}: "
            "a newer Kurol Proxy wrote it"
        )


def check_pages(
    db: sqlite3.Connection, path: Path, check_whole_bytes: int = CHECK_WHOLE_BYTES
) -> None:
    """See to it that the pages of a database fit together.

    Raises:
        DatabaseCorrupt: they do not; also ``sqlite3.DatabaseError``.
    """
    if path.stat().st_size <= check_whole_bytes:
        checks: tuple[str, ...] = ("PRAGMA quick_check(1)",)
    else:
        checks = _QUICK_CHECKS
        for look in _LOOKS:
            db.execute(look).fetchall()
    for check in checks:
        answer = str(db.execute(check).fetchone()[0])
        if answer != "ok":
            raise DatabaseCorrupt(f"{path.name} is damaged: {answer.splitlines()[-1]}")


def _scripts() -> list[tuple[int, str]]:
    folder = resources.files("kurolproxy.storage") / "migrations"
    files = sorted((file for file in folder.iterdir()), key=lambda file: file.name)
    return [
        (int(file.name[:4]), file.read_text("utf-8"))
        for file in files
        if file.name.endswith(".sql")
    ]


def is_newest(db: sqlite3.Connection) -> bool:
    """Return whether a database of ours lacks no migration."""
    return not _missing(db)


def _missing(db: sqlite3.Connection) -> list[tuple[int, str]]:
    version = _value(db, "PRAGMA user_version")
    return [(number, script) for number, script in _scripts() if number > version]


def _apply(db: sqlite3.Connection, number: int, script: str) -> None:
    """Run one migration and note its number, both or neither."""
    try:
        db.executescript(f"BEGIN IMMEDIATE;\n{script}\nPRAGMA user_version = {number};\nCOMMIT;")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
