"""The ledger: rows go to the journal at once, to the database soon, and to neither twice."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kurolproxy.storage.database import Database
from kurolproxy.storage.journal import damaged_files_of, files_of
from kurolproxy.storage.ledger import Ledger
from kurolproxy.storage.recovery import recover
from kurolproxy.storage.rows import read_lines
from tests.storage.usage_rows import Clock, agrees, ids, row


def journaled(folder: Path) -> list[str]:
    """Return the ids that a process started now would find."""
    return [
        each.row.request_id
        for path in files_of(folder)
        for each in read_lines(path.read_bytes())
        if each.row is not None
    ]


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """Hold the database as another process does."""
    other = sqlite3.connect(database.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield
    other.execute("COMMIT")
    other.close()


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no write of ours reach a file of the journal."""

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        yield


async def until(check: object, within_s: float = 30.0) -> None:
    assert callable(check)
    async with asyncio.timeout(within_s):
        while not check():  # noqa: ASYNC110  # a property, no event
            await asyncio.sleep(0.005)


# --- what survives --------------------------------------------------------------------


async def test_row_is_in_the_journal_when_add_returns(ledger: Ledger, folder: Path) -> None:
    ledger.add(row("r1"))
    assert journaled(folder) == ["r1"]
    assert ledger.pending == 1


async def test_rows_of_a_killed_process_are_imported_at_the_next_start(
    ledger: Ledger, database: Database, folder: Path
) -> None:
    for number in range(1_100):
        ledger.add(row(f"r{number}"))
    assert await ids(database) == []
    # Nothing was closed: as if killed.
    again = Ledger(database, folder)
    await again.open()
    assert len(await ids(database)) == 1_100
    assert await agrees(database)
    assert (again.pending, again.damaged) == (0, 0)
    assert await again.close() == 0


async def test_killed_between_commit_and_deletion_counts_nothing_twice(
    ledger: Ledger, database: Database, folder: Path
) -> None:
    for number in range(30):
        ledger.add(row(f"r{number}"))
    assert await ledger.flush()
    assert len(journaled(folder)) == 30
    for _ in range(3):
        left, _ = await recover(database, folder)
        assert left == []
    assert len(await ids(database)) == 30
    assert await agrees(database)


async def test_damaged_line_is_counted_told_and_kept_and_costs_no_other(
    ledger: Ledger, database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a", "b", "c"):
        ledger.add(row(name))
    [path] = files_of(folder)
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"B"'))
    again = Ledger(database, folder)
    await again.open()
    assert await ids(database) == ["a", "c"]
    assert again.damaged == 1
    assert "1 lines of the journal" in caplog.text
    assert [each.stem for each in damaged_files_of(folder)] == [path.stem]
    await again.close()


async def test_start_fails_and_the_journal_stays_while_the_database_is_locked(
    ledger: Ledger, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kurolproxy.storage.recovery._RECOVER_TIMEOUT_S", 0.01)
    ledger.add(row("r1"))
    with locked(database), pytest.raises(Exception, match="locked"):
        await recover(database, folder)
    assert journaled(folder) == ["r1"]


# --- a database that takes nothing ----------------------------------------------------


async def test_rows_wait_for_a_locked_database_and_no_request_is_refused(
    ledger: Ledger, database: Database
) -> None:
    ledger.add(row("r1"))
    with locked(database):
        for number in range(3):
            assert not await ledger.flush()
            ledger.add(row(f"meanwhile {number}"))
        assert (ledger.pending, ledger.writable) == (4, True)
    assert await ledger.flush()
    assert (ledger.pending, len(await ids(database))) == (0, 4)
    assert await agrees(database)


async def test_failing_database_is_told_once_a_minute_and_loses_nothing(
    ledger: Ledger, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await database._bulk.run(lambda db: db.execute("PRAGMA query_only = ON"))
    for number in range(600):
        ledger.add(row(f"r{number}"))
    assert ledger.writable
    for second in range(130):
        await ledger._import()
        clock.now = 50.0 + second
    assert (ledger.writable, ledger.pending) == (False, 600)
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    assert "600 usage rows wait" in caplog.text
    await database._bulk.run(lambda db: db.execute("PRAGMA query_only = OFF"))
    await ledger._import()
    assert (ledger.writable, ledger.pending) == (True, 0)
    assert len(await ids(database)) == 600
    assert await agrees(database)
    assert "written again" in caplog.records[-1].message


# --- a disk that takes nothing --------------------------------------------------------


async def test_rows_are_held_in_memory_while_the_disk_is_full(
    ledger: Ledger,
    database: Database,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger.add(row("before"))
    with full_disk(monkeypatch):
        ledger.add(row("r1"))
        ledger.add(row("r2"))
        assert (ledger.writable, ledger.pending) == (False, 3)
        assert not await ledger.flush()
        assert await ids(database) == ["before"]
        assert (ledger.writable, ledger.pending) == (False, 2)
    ledger.add(row("r3"))
    assert journaled(folder) == ["before"]
    await ledger._roll()
    assert journaled(folder) == ["before", "r1", "r2", "r3"]
    assert ledger.writable
    assert await ledger.flush()
    assert len(await ids(database)) == 4
    assert caplog.text.count("usage rows wait") == 1


async def test_memory_is_full_at_its_limit(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(database, folder, max_held=2)
    await ledger.open()
    with full_disk(monkeypatch):
        ledger.add(row("r1"))
        assert not ledger.full
        ledger.add(row("r2"))
        assert ledger.full
        assert await ledger.close(timeout_s=0) == 2


async def test_file_that_cannot_be_replaced_is_synced_where_it_is(
    ledger: Ledger, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(28, "No space left on device")

    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr("kurolproxy.storage.journal.JournalFile.make", refuse)
    ledger.add(row("r1"))
    for _ in range(3):
        clock.now += 1.5
        await ledger._roll()
        await ledger._roll()
    assert len(synced) == 3
    assert len(list(files_of(folder))) == 1
    assert not ledger.writable


async def test_file_that_could_not_be_synced_is_synced_again_and_not_dropped_before(
    ledger: Ledger, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int) -> None:
        raise OSError(5, "Input/output error")

    ledger.add(row("r1"))
    clock.now += 1.5
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", refuse)
        await ledger._roll()
        await ledger._import()
        clock.now += 10
        await ledger._import()
        assert not ledger.writable
        assert journaled(folder) == ["r1"]
    await ledger._roll()
    assert ledger.writable
    clock.now += 10
    await ledger._import()
    assert journaled(folder) == []


# --- rotation -------------------------------------------------------------------------


async def test_file_is_closed_synced_imported_and_deleted(
    ledger: Ledger, database: Database, folder: Path, clock: Clock
) -> None:
    ledger.add(row("a"))
    await ledger._roll()
    assert len(list(files_of(folder))) == 2  # the one that is next stands by
    clock.now += 1.0
    await ledger._roll()
    ledger.add(row("b"))
    await ledger._import()
    assert await ids(database) == ["a", "b"]
    assert journaled(folder) == ["b"]


async def test_large_file_is_closed_before_its_time(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kurolproxy.storage.ledger.MAX_BYTES", 1_000)
    await ledger._roll()
    first = ledger._journal.current
    for number in range(10):
        ledger.add(row(f"r{number}"))
    await ledger._roll()
    assert first.synced
    assert ledger._journal.current is not first


async def test_nothing_is_deleted_before_the_database_is_on_the_disk(
    ledger: Ledger, database: Database, folder: Path, clock: Clock
) -> None:
    ledger.add(row("a"))
    clock.now += 1.5
    reader = sqlite3.connect(database.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM usage").fetchall()
    await ledger._roll()
    await ledger._import()
    assert await ids(database) == ["a"]
    # The reader stands in the checkpoint's way.
    assert journaled(folder) == ["a"]
    reader.close()
    clock.now += 10
    await ledger._import()
    assert journaled(folder) == []


async def test_settled_means_that_nothing_old_is_in_the_journal(
    ledger: Ledger, clock: Clock
) -> None:
    assert await ledger.settled()
    ledger.add(row("a"))
    clock.now += 59
    assert await ledger.settled()
    clock.now += 2
    assert not await ledger.settled()


# --- strict ---------------------------------------------------------------------------


async def test_durable_waits_for_the_sync_of_its_row_and_others_share_it(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(database, folder, strict=True)
    await ledger.open()
    real, synced = os.fdatasync, []

    def count(fd: int) -> None:
        synced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fdatasync", count)
    ledger.start()
    for name in "abc":
        ledger.add(row(name))
    await asyncio.gather(*(ledger.durable() for _ in range(3)))
    assert 1 <= len(synced) <= 2
    before = len(synced)
    ledger.add(row("d"))
    await ledger.durable()
    assert len(synced) > before
    assert len(list(files_of(folder))) <= 3
    assert await ledger.close() == 0
    assert sorted(await ids(database)) == ["a", "b", "c", "d"]


async def test_durable_gives_up_on_a_disk_that_hangs(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kurolproxy.storage.ledger._DURABLE_TIMEOUT_S", 0.02)
    ledger = Ledger(database, folder, strict=True)
    await ledger.open()
    ledger.add(row("a"))
    # No task runs that would sync it.
    await ledger.durable()
    assert not ledger.writable


async def test_durable_does_not_wait_for_rows_that_the_disk_did_not_take(
    database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = Ledger(database, folder, strict=True)
    await ledger.open()
    with full_disk(monkeypatch):
        ledger.add(row("a"))
        await asyncio.wait_for(ledger.durable(), 1)


# --- pending --------------------------------------------------------------------------


async def test_pending_time_counts_from_the_oldest_row(ledger: Ledger, clock: Clock) -> None:
    assert ledger.oldest_pending_s == 0.0
    ledger.add(row("r1"))
    clock.now += 3
    ledger.add(row("r2"))
    clock.now += 4
    assert (ledger.pending, ledger.oldest_pending_s) == (2, 7.0)
    await ledger.flush()
    clock.now += 100
    assert (ledger.pending, ledger.oldest_pending_s) == (0, 0.0)
    ledger.add(row("r3"))
    clock.now += 1
    assert ledger.oldest_pending_s == 1.0


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_cancelled_flush_loses_nothing_and_counts_nothing_twice(
    ledger: Ledger, database: Database, turns: int
) -> None:
    for number in range(50):
        ledger.add(row(f"r{number}"))
    flushing = asyncio.create_task(ledger.flush())
    for _ in range(turns):
        await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.wait({flushing})
    assert await ledger.flush()
    assert (len(await ids(database)), ledger.pending) == (50, 0)
    assert await agrees(database)


async def test_nothing_is_imported_while_it_is_paused(ledger: Ledger, database: Database) -> None:
    ledger.add(row("r1"))
    async with ledger.paused():
        async with ledger.paused():
            assert not await ledger.flush()
        ledger.add(row("r2"))
        assert not await ledger.flush()
        assert await ids(database) == []
    assert await ledger.flush()
    assert await ids(database) == ["r1", "r2"]


# --- the tasks ------------------------------------------------------------------------


async def test_rows_reach_the_database_by_themselves(ledger: Ledger, database: Database) -> None:
    ledger.start()
    for number in range(20):
        ledger.add(row(f"r{number}"))
        await asyncio.sleep(0)
    await until(lambda: not ledger.pending)
    assert len(await ids(database)) == 20
    assert await ledger.close() == 0


async def test_closing_imports_what_is_left_and_leaves_no_file(
    ledger: Ledger, database: Database, folder: Path
) -> None:
    ledger.start()
    for number in range(1_100):
        ledger.add(row(f"r{number}"))
        if number % 100 == 0:
            await asyncio.sleep(0.001)
    assert await ledger.close() == 0
    assert len(await ids(database)) == 1_100
    assert await agrees(database)
    assert not any(files_of(folder))


async def test_closing_beside_a_locked_database_leaves_the_rows_to_the_next_start(
    ledger: Ledger, database: Database, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.add(row("r1"))
    with locked(database):
        assert await ledger.close(timeout_s=0.01) == 0
    assert "1 usage rows wait in the journal" in caplog.text
    again = Ledger(database, folder)
    await again.open()
    assert await ids(database) == ["r1"]
    await again.close()


async def test_closing_says_what_is_lost(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with full_disk(monkeypatch):
        ledger.add(row("r1"))
        assert await ledger.close(timeout_s=0) == 1
    assert "1 usage rows could not be written and are lost" in caplog.text


async def test_fault_of_ours_does_not_end_the_tasks(
    ledger: Ledger,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    with monkeypatch.context() as patched:
        patched.setattr("kurolproxy.storage.importer.insert_rows", fail)
        ledger.start()
        ledger.add(row("r1"))
        await until(lambda: not ledger.writable)
    assert "a fault of ours" in caplog.text
    await until(lambda: ledger.writable and not ledger.pending)
    assert await ids(database) == ["r1"]
    assert await ledger.close() == 0
