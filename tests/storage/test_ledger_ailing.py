"""The ledger when disk, folder, clock or rows are not what they should be."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from zlib import crc32

import pytest

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import DatabaseBusy, DatabaseUnwritable
from kurolproxy.storage.journal import damaged_files_of, files_of
from kurolproxy.storage.ledger import Ledger
from kurolproxy.storage.recovery import recover
from kurolproxy.storage.rows import UsageRow, cleaned, encode_row, line, read_lines
from tests.storage.test_ledger import full_disk, journaled, locked
from tests.storage.usage_rows import Clock, agrees, ids, row


@pytest.fixture
async def strict(database: Database, folder: Path, clock: Clock) -> Ledger:
    """Return a strict one."""
    made = Ledger(database, folder, strict=True, clock=clock)
    await made.open()
    return made


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


async def waiter(ledger: Ledger) -> asyncio.Task[None]:
    """Return a task that waits until the rows so far are on the disk."""
    task = asyncio.create_task(ledger.durable())
    await asyncio.sleep(0)
    return task


def left_behind(folder: Path, data: bytes) -> None:
    """Leave a file of the journal as a process that was killed does."""
    folder.mkdir()
    (folder / f"{1:020}.log").write_bytes(data)


# --- rows that the database would refuse ------------------------------------------------


def forged(row_: UsageRow, number: int) -> bytes:
    """Return the line of a row that no version of ours would write, with a right checksum."""
    return line(encode_row(row_), number)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": 10**19},
        {"account_id": 10**19},
        {"started_at": 1e300},
        {"started_at": -1e300},
        {"ttft_ms": 2**63},
    ],
)
async def test_row_that_the_database_would_refuse_holds_up_no_other(
    fields: dict[str, object], database: Database, folder: Path
) -> None:
    lines = [row("a"), row("b")._replace(**fields), row("c")]
    left_behind(folder, b"".join(forged(each, number) for number, each in enumerate(lines)))
    left, damaged = await recover(database, folder)
    assert (left, damaged) == ([], 1)
    assert await ids(database) == ["a", "c"]
    assert len(damaged_files_of(folder)) == 1


async def test_text_that_is_none_is_damage(database: Database, folder: Path) -> None:
    encoded = encode_row(row("bad")).replace(b"bad", b"\xff\xfe!")
    left_behind(folder, line(encoded, 0) + forged(row("good"), 1))
    assert (await recover(database, folder))[1] == 1
    assert await ids(database) == ["good"]


def test_row_of_a_clock_that_is_no_clock_can_be_read_again() -> None:
    for moment in (float("nan"), float("inf"), -1.0):
        kept = json.loads(encode_row(cleaned(row("r", started_at=moment))))
        assert 0 <= kept[2] < 2.6e11


async def test_length_with_a_sign_ends_the_reading(database: Database, folder: Path) -> None:
    # An end, whose checksum is right, and that goes back to its own beginning.
    end = b"e0000a%08x-0000017\n" % crc32(b"", 10)
    data = forged(row("before"), 0) + end + forged(row("behind"), 0)
    assert sum(each.damaged for each in islice(read_lines(data), 100)) == 1
    left_behind(folder, data)
    assert (await recover(database, folder))[1] == 1
    assert await ids(database) == ["before", "behind"]


# --- what others do to the folder ---------------------------------------------------------


def fill(folder: Path, other: Path) -> None:
    """Put into the folder what is not ours, and one file with the largest number."""
    folder.mkdir()
    (folder / "README").write_text("mine")
    (folder / "000.log").mkdir()
    (folder / "\u00b2.log").write_text("a digit that is no number")
    (folder / "7.log").symlink_to(folder / "nowhere")
    (folder / "8.log").symlink_to(other)
    (folder / ("9" * 20 + ".log")).write_bytes(forged(row("last"), 0))
    (folder / ("9" * 150 + ".log")).write_text("longer than any of ours")


async def test_what_others_leave_in_the_folder_is_let_alone(
    database: Database, folder: Path, tmp_path: Path
) -> None:
    fill(folder, tmp_path / "kurolproxy.db")
    ledger = Ledger(database, folder)
    await ledger.open()
    assert await ids(database) == ["last"]
    ledger.add(row("next"))
    # The number behind the largest one is still read.
    assert journaled(folder) == ["next"]
    assert await ledger.close() == 0
    assert {"README", "000.log", "\u00b2.log", "7.log", "8.log"} <= set(os.listdir(folder))


async def test_file_that_somebody_deleted_costs_its_own_rows_only(
    ledger: Ledger,
    database: Database,
    folder: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ledger.add(row("lost"))
    clock.now += 1
    await ledger._roll()
    ledger.add(row("kept"))
    next(iter(files_of(folder))).unlink()
    await ledger._import()
    assert await ids(database) == ["kept"]
    assert (ledger.pending, ledger.damaged) == (0, 1)
    clock.now += 10
    await ledger._import()
    assert "deleted before its rows were imported" in caplog.text
    assert (ledger.writable, ledger.damaged) == (True, 1)
    assert await ledger.close() == 0


async def test_journal_folder_that_somebody_deleted_is_made_again(
    ledger: Ledger, database: Database, folder: Path, clock: Clock
) -> None:
    await ledger._roll()
    ledger.add(row("lost"))
    shutil.rmtree(folder)
    await ledger._import()
    assert not ledger.writable
    for _ in range(3):
        clock.now += 2
        await ledger._roll()
    ledger.add(row("again"))
    assert journaled(folder) == ["again"]
    await ledger._import()
    assert ledger.writable
    assert await ids(database) == ["again"]


async def test_file_that_cannot_be_read_holds_up_no_other(
    ledger: Ledger, database: Database, folder: Path, clock: Clock
) -> None:
    ledger.add(row("closed to us"))
    clock.now += 1
    await ledger._roll()
    ledger.add(row("open"))
    first = next(iter(files_of(folder)))
    aside = folder / "aside"
    first.rename(aside)
    first.mkdir()
    await ledger._import()
    assert await ids(database) == ["open"]
    assert (ledger.writable, ledger.pending) == (False, 1)
    first.rmdir()
    aside.rename(first)
    await ledger._import()
    assert (ledger.writable, ledger.pending) == (True, 0)
    assert len(await ids(database)) == 2


@pytest.mark.parametrize("replaced", [False, True])
async def test_journal_is_kept_while_the_database_is_not_where_it_was(
    replaced: bool, ledger: Ledger, database: Database, folder: Path, clock: Clock
) -> None:
    ledger.add(row("r1"))
    away = database.path.with_name("away.db")
    database.path.rename(away)
    if replaced:
        shutil.copy(away, database.path)
    for _ in range(2):
        clock.now += 10
        await ledger._roll()
        await ledger._import()
    assert journaled(folder) == ["r1"]
    assert not ledger.writable
    away.replace(database.path)
    clock.now += 10
    await ledger._import()
    assert ledger.writable
    assert journaled(folder) == []


# --- what comes and goes ----------------------------------------------------------------


async def test_sync_that_fails_is_no_success_because_nothing_waits(
    strict: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    strict.add(row("r1"))
    task = await waiter(strict)
    with monkeypatch.context() as patched:
        patched.setattr(os, "fdatasync", refusing(5))
        await strict._roll()
        await task
        assert not strict.writable
        # Nobody waits, nothing is due: it failed all the same.
        await strict._roll()
        assert not strict.writable
    monkeypatch.setattr(os, "fdatasync", synced.append)
    await strict._roll()
    assert strict.writable
    assert len(synced) == 1


async def test_checkpoint_that_fails_stays_a_failure_between_two_tries(
    ledger: Ledger, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(**_: object) -> bool:
        raise OSError(28, "No space left on device")

    ledger.add(row("r1"))
    clock.now += 2
    await ledger._roll()
    with monkeypatch.context() as patched:
        patched.setattr(database, "checkpoint", fail)
        await ledger._import()
        assert not ledger.writable
        await ledger._import()
        assert not ledger.writable
    clock.now += 10
    await ledger._import()
    assert ledger.writable


async def test_full_disk_is_emptied_of_what_is_imported(
    ledger: Ledger, database: Database, folder: Path, clock: Clock
) -> None:
    ledger.add(row("r1"))
    clock.now += 2
    await ledger._roll()
    assert await ledger.flush()
    ledger.add(row("r2"))
    with locked(database):
        await ledger._import()
        assert journaled(folder) == ["r2"]


async def test_reader_that_never_ends_is_told_and_refuses_nobody(
    ledger: Ledger, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    reader = sqlite3.connect(database.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM usage").fetchall()
    for number in range(70):
        ledger.add(row(f"r{number}"))
        clock.now += 1.5
        await ledger._roll()
        await ledger._import()
    assert caplog.text.count("reads the database without an end") == 1
    assert ledger.writable
    assert not await ledger.settled()
    reader.close()
    for _ in range(2):
        clock.now += 10
        await ledger._roll()
        await ledger._import()
    assert await ledger.settled()


async def test_rows_of_a_pause_grow_old(ledger: Ledger, clock: Clock) -> None:
    ledger.add(row("r1"))
    async with ledger.paused():
        for _ in range(3):
            clock.now += 100
            await ledger._import()
        assert ledger.oldest_pending_s == 300
    await ledger._import()
    assert ledger.oldest_pending_s == 0


async def test_pause_is_no_sign_that_the_database_takes_rows_again(
    ledger: Ledger, database: Database
) -> None:
    ledger.add(row("r1"))
    await database._bulk.run(lambda db: db.execute("PRAGMA query_only = ON"))
    await ledger._import()
    assert not ledger.writable
    async with ledger.paused():
        await ledger._import()
        assert not ledger.writable
    await database._bulk.run(lambda db: db.execute("PRAGMA query_only = OFF"))
    await ledger._import()
    assert ledger.writable


async def test_rows_held_in_memory_go_to_the_journal_in_steps(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_disk(monkeypatch):
        for number in range(1_000):
            ledger.add(row(f"r{number}"))
    most, turns = 0, 0
    rolling = asyncio.create_task(ledger._roll())
    while not rolling.done():
        before = ledger._journal.current.lines
        await asyncio.sleep(0)
        turns += 1
        most = max(most, ledger._journal.current.lines - before)
    assert most <= 200
    assert ledger.writable
    assert journaled(folder) == [f"r{number}" for number in range(1_000)]


async def test_pending_is_exact_beside_damage_and_appending(
    ledger: Ledger, database: Database, folder: Path
) -> None:
    for name in ("a", "b", "c"):
        ledger.add(row(name))
    [path] = files_of(folder)
    path.write_bytes(path.read_bytes().replace(b'"b"', b'"B"'))
    assert await ledger.flush()
    assert (ledger.pending, ledger.damaged) == (0, 1)
    ledger.add(row("d"))
    assert ledger.pending == 1
    flushing = asyncio.create_task(ledger.flush())
    while not flushing.done():
        ledger.add(row(f"meanwhile {ledger.pending}"))
        await asyncio.sleep(0)
    await ledger.flush()
    assert ledger.pending == 0
    assert await agrees(database)


async def test_file_of_rows_behind_a_failed_turn_is_imported(
    strict: Ledger, database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("kurolproxy.storage.journal.JournalFile.make", refusing(28))
        # Two turns: the next file is there, another cannot be made.
        strict.add(row("a"))
        clock.now += 2
        await strict._roll()
        task = await waiter(strict)
        await strict._roll()
        await task
    strict.add(row("b"))
    assert strict.pending == 2
    assert await strict.flush()
    assert await ids(database) == ["a", "b"]


async def test_idle_strict_journal_settles(strict: Ledger, folder: Path, clock: Clock) -> None:
    strict.add(row("a"))
    task = await waiter(strict)
    await strict._roll()
    await task
    for _ in range(3):
        clock.now += 61
        await strict._roll()
        await strict._import()
    assert await strict.settled()
    assert journaled(folder) == []


# --- the end --------------------------------------------------------------------------------


async def test_row_that_comes_when_all_is_closed_is_told(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    assert await ledger.close() == 0
    ledger.add(row("late"))
    assert "came when the ledger was closed" in caplog.text
    assert (ledger.pending, ledger.writable) == (1, False)


@pytest.mark.parametrize("turns", range(0, 40, 3))
async def test_row_that_comes_while_the_ledger_closes_is_kept_or_told(
    turns: int, ledger: Ledger, database: Database, folder: Path
) -> None:
    ledger.start()
    ledger.add(row("before"))
    closing = asyncio.create_task(ledger.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    ledger.add(row("meanwhile"))
    lost = await closing
    kept = {*await ids(database), *journaled(folder)}
    assert "before" in kept
    assert ("meanwhile" in kept) != bool(lost or ledger.pending)


async def test_fault_in_the_import_leaves_the_journal_whole_at_the_end(
    ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("a fault of ours")

    synced: list[int] = []
    monkeypatch.setattr(os, "fdatasync", synced.append)
    monkeypatch.setattr("kurolproxy.storage.importer.insert_rows", fail)
    ledger.add(row("r1"))
    with pytest.raises(ValueError, match="of ours"):
        await ledger.close()
    assert len(synced) == 1
    assert journaled(folder) == ["r1"]


async def test_who_waits_for_the_disk_is_freed_at_the_end(strict: Ledger) -> None:
    strict.add(row("r1"))
    task = await waiter(strict)
    assert await strict.close() == 0
    async with asyncio.timeout(1):
        await task
    assert strict.writable


async def test_start_beside_a_database_that_is_busy_now_and_then_takes_its_time(
    ledger: Ledger, database: Database, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1_500):
        ledger.add(row(f"r{number}"))
    now = 0.0

    def monotonic() -> float:
        nonlocal now
        now += 4.0
        return now

    real, calls = database.bulk, 0

    async def sometimes(work: Callable[[sqlite3.Connection], object]) -> object:
        nonlocal calls
        calls += 1
        if calls % 2:
            raise DatabaseBusy("not now")
        return await real(work)

    monkeypatch.setattr("kurolproxy.storage.recovery.time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr("kurolproxy.storage.recovery._RECOVER_TIMEOUT_S", 6.0)
    monkeypatch.setattr(database, "bulk", sometimes)
    left, _ = await recover(database, folder)
    assert left == []
    assert len(await ids(database)) == 1_500


async def test_start_on_a_full_disk_says_which_file_and_what_to_do(
    ledger: Ledger, database: Database, folder: Path
) -> None:
    ledger.add(row("r1"))
    size = (await database.read("PRAGMA page_count"))[0][0]

    def fill(db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA max_page_count = {size}")

    await database.bulk(fill)
    for number in range(2_000):
        ledger.add(row(f"more{number}"))
    with pytest.raises(DatabaseUnwritable) as caught:
        await recover(database, folder)
    text = str(caught.value)
    assert text.startswith(f"{database.path}: the database says: database or disk is full. ")
    assert text.endswith("Look at its disk, and at who may write there.")
    assert files_of(folder)
