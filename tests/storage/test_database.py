"""The database file: private, checked, migrated, and never written in part."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import (
    DatabaseBusy,
    DatabaseCorrupt,
    DatabaseForeign,
    DatabaseTooNew,
    DatabaseUnwritable,
    QueryTooLong,
    StorageError,
)
from kurolproxy.storage.migrate import prepare

TABLES = ["accounts", "keys", "audit", "usage", "usage_daily"]
ENTRY = "INSERT INTO audit (at, actor, action, subject, detail) VALUES (1, 'a', 'b', ?, '{}')"
# Counts to 10^12: never ends within a test, and stops when it is interrupted.
ENDLESS = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000)"
    " SELECT count(*) FROM n"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kurolproxy.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(path, busy_timeout_s=0.05, read_limit_s=5)
    yield opened
    await opened.close()


async def subjects(database: Database) -> list[str]:
    return [row["subject"] for row in await database.read("SELECT subject FROM audit ORDER BY id")]


async def pragma(db: aiosqlite.Connection, name: str) -> Any:
    return next(iter(await db.execute_fetchall(f"PRAGMA {name}")))[0]


async def add(database: Database, subject: str) -> None:
    async def work(db: aiosqlite.Connection) -> None:
        await db.execute(ENTRY, (subject,))

    await database.write(work)


def content(path: Path) -> bytes:
    return path.read_bytes()


def fill(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def modes(folder: Path) -> dict[str, int]:
    return {file.name: mode(file) for file in folder.iterdir()}


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4_096)
        file.write(b"\xa5" * 4_096)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- opening --------------------------------------------------------------------------


async def test_new_database_has_every_table(database: Database) -> None:
    rows = await database.read("SELECT name FROM sqlite_master WHERE type = 'table'")
    names = {row["name"] for row in rows}
    assert set(TABLES) <= names


async def test_all_its_files_are_for_their_owner_only(database: Database, path: Path) -> None:
    old = os.umask(0)
    try:
        await add(database, "x")
        found = modes(path.parent)
    finally:
        os.umask(old)
    assert found == {
        "kurolproxy.db": 0o600,
        "kurolproxy.db-wal": 0o600,
        "kurolproxy.db-shm": 0o600,
    }


async def test_open_mode_of_an_existing_file_is_closed(path: Path) -> None:
    await (await Database.open(path)).close()
    os.chmod(path, 0o644)
    await (await Database.open(path)).close()
    assert mode(path) == 0o600


async def test_writing_connection_is_set_up_for_a_ledger(database: Database) -> None:
    async def work(db: aiosqlite.Connection) -> list[Any]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        return [await pragma(db, name) for name in names]

    normal, full = 1, 2
    assert await database.write(work) == ["wal", normal, 1, 50]
    assert await database.write(work, durable=True) == ["wal", full, 1, 50]
    assert await database.write(work) == ["wal", normal, 1, 50]


async def test_what_was_written_is_there_after_a_restart(path: Path) -> None:
    first = await Database.open(path)
    await add(first, "kept")
    await first.close()
    second = await Database.open(path)
    assert await subjects(second) == ["kept"]
    await second.close()


async def test_migrations_run_once(path: Path) -> None:
    await (await Database.open(path)).close()
    with closing(sqlite3.connect(path)) as db:
        version = db.execute("PRAGMA user_version").fetchone()[0]
    assert version >= 1
    await (await Database.open(path)).close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone()[0] == version


async def test_database_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    await (await Database.open(path)).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 9999")
    before = content(path)
    with pytest.raises(DatabaseTooNew, match="version 9999"):
        await Database.open(path)
    assert content(path) == before


async def test_database_of_another_program_is_refused_and_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE photos (id)")
    before = content(path)
    with pytest.raises(DatabaseForeign, match="not a database of Kurol Proxy"):
        await Database.open(path)
    assert content(path) == before


async def test_file_that_is_no_database_is_corrupt(path: Path) -> None:
    fill(path, b"this is no database at all, however long it is. " * 100)
    with pytest.raises(DatabaseCorrupt):
        await Database.open(path)


@pytest.mark.parametrize("page", range(2, 12))
async def test_overwritten_page_is_corrupt_and_never_repaired(path: Path, page: int) -> None:
    database = await Database.open(path)
    await add(database, "x")
    await database.close()
    overwrite(path, page)
    before = content(path)
    with pytest.raises(DatabaseCorrupt, match=r"damaged|malformed"):
        await Database.open(path)
    assert content(path) == before


@pytest.mark.parametrize("table", TABLES)
async def test_damage_is_seen_when_the_file_is_too_large_to_read_whole(
    path: Path, table: str
) -> None:
    await (await Database.open(path)).close()
    with closing(sqlite3.connect(path)) as db:
        sql = "SELECT rootpage FROM sqlite_master WHERE tbl_name = ? AND rootpage > 0"
        roots = [page for (page,) in db.execute(sql, (table,))]
    prepare(path, busy_timeout_s=1, check_whole_bytes=0)
    sound = content(path)
    for page in roots:
        fill(path, sound)
        overwrite(path, page)
        with pytest.raises(DatabaseCorrupt, match=r"damaged|malformed"):
            prepare(path, busy_timeout_s=1, check_whole_bytes=0)


@pytest.mark.parametrize("name", ["missing/kurolproxy.db", "."])
async def test_path_that_cannot_be_opened_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError):
        await Database.open(tmp_path / name)


async def test_statements_and_their_values_are_never_logged(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    database = await Database.open(path)
    await add(database, "private@example.org")
    await database.close()
    assert "private@example.org" not in caplog.text


# --- writing --------------------------------------------------------------------------


async def test_failed_transaction_leaves_nothing(database: Database) -> None:
    async def work(db: aiosqlite.Connection) -> None:
        await db.execute(ENTRY, ("half",))
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        await database.write(work)
    await add(database, "next")
    assert await subjects(database) == ["next"]


async def test_cancelled_caller_leaves_the_whole_change_and_memory_in_step(
    database: Database,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    memory: list[str] = []

    async def work(db: aiosqlite.Connection) -> str:
        await db.execute(ENTRY, ("first",))
        begun.set()
        await go_on.wait()
        await db.execute(ENTRY, ("second",))
        return "done"

    caller = asyncio.create_task(database.write(work, durable=True, then=memory.append))
    await begun.wait()
    caller.cancel()
    await asyncio.wait({caller})
    assert (caller.cancelled(), memory) == (True, [])
    go_on.set()
    await add(database, "third")
    assert (await subjects(database), memory) == (["first", "second", "third"], ["done"])


async def test_memory_changes_in_the_order_of_the_commits(database: Database) -> None:
    memory: list[int] = []

    def change(number: int) -> Any:
        async def work(db: aiosqlite.Connection) -> int:
            await db.execute(ENTRY, (str(number),))
            return number

        return database.write(work, then=memory.append)

    await asyncio.gather(*(change(number) for number in range(20)))
    assert [str(number) for number in memory] == await subjects(database)


async def test_closing_waits_for_a_transaction(path: Path) -> None:
    database = await Database.open(path)
    change = asyncio.create_task(add(database, "kept"))
    await asyncio.sleep(0)
    await database.close()
    await change
    again = await Database.open(path)
    assert await subjects(again) == ["kept"]
    await again.close()


async def test_database_that_another_process_holds_is_busy_and_then_free(
    database: Database, path: Path
) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseBusy):
            await add(database, "x")
        assert await subjects(database) == []
        other.execute("ROLLBACK")
    await add(database, "y")
    assert await subjects(database) == ["y"]


async def test_full_disk_is_unwritable_and_recovers(database: Database) -> None:
    async def limit(db: aiosqlite.Connection, pages: int) -> None:
        await db.execute_fetchall(f"PRAGMA max_page_count = {pages}")

    await database.write(lambda db: limit(db, 1))
    with pytest.raises(DatabaseUnwritable, match="full"):
        await add(database, "x" * 100_000)
    await database.write(lambda db: limit(db, 1_000_000))
    await add(database, "y")
    assert await subjects(database) == ["y"]


async def test_read_only_database_is_unwritable(database: Database) -> None:
    async def work(db: aiosqlite.Connection) -> None:
        await db.execute("PRAGMA query_only = ON")
        await db.execute(ENTRY, ("x",))

    with pytest.raises(DatabaseUnwritable, match="readonly"):
        await database.write(work)


async def test_fault_of_our_own_sql_is_not_hidden(database: Database) -> None:
    async def work(db: aiosqlite.Connection) -> None:
        await db.execute("SELECT 1 FROM nowhere")

    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await database.write(work)
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        await database.read("SELECT 1 FROM nowhere")


# --- reading --------------------------------------------------------------------------


async def test_reading_connection_cannot_write(database: Database) -> None:
    with pytest.raises(DatabaseUnwritable, match="readonly"):
        await database.read("DELETE FROM audit")


async def test_reading_goes_on_while_a_transaction_is_open(database: Database) -> None:
    async def work(db: aiosqlite.Connection) -> list[str]:
        await db.execute(ENTRY, ("x",))
        return await subjects(database)

    assert await database.write(work) == []
    assert await subjects(database) == ["x"]


async def test_query_that_never_ends_is_stopped_and_the_next_one_answers(path: Path) -> None:
    database = await Database.open(path, read_limit_s=0.05)
    with pytest.raises(QueryTooLong):
        await database.read(ENDLESS)
    assert await subjects(database) == []
    await database.close()


@pytest.mark.parametrize("turns", [1, 2, 3, 1_000])
async def test_query_of_a_caller_who_went_away_is_stopped(path: Path, turns: int) -> None:
    database = await Database.open(path, read_limit_s=3_600)
    query = asyncio.create_task(database.read(ENDLESS))
    for _ in range(turns):
        await asyncio.sleep(0)
    query.cancel()
    await asyncio.wait({query})
    async with asyncio.timeout(60):
        assert await subjects(database) == []
    await database.close()
