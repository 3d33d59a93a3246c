"""Usage rows: each written once, none lost, and their sums right."""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from kurolproxy.server.ids import Ids
from kurolproxy.storage.database import Database
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.ledger import Ledger as UsageWriter
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import import_rows

MONDAY, TUESDAY = date(2026, 3, 2), date(2026, 3, 3)
NOON = 1_772_452_800.0  # 2026-03-02 12:00 UTC


def row(request_id: str, **fields: Any) -> UsageRow:
    plain = UsageRow(
        request_id=request_id,
        day=MONDAY,
        started_at=NOON,
        account_id=1,
        key_id="key_a",
        model="gpt-4o",
        upstream="openai",
        client_protocol="openai-chat",
        upstream_protocol="openai-chat",
        status=200,
        outcome="ok",
        prompt=100,
        completion=20,
        cache_read=10,
        cache_write=5,
        reasoning=8,
        charged=120,
        estimated=False,
        streamed=True,
        duration_ms=1_500,
        ttft_ms=300,
    )
    return plain._replace(**fields)


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


class Ledger:
    """A database with a writer whose clock a test turns by hand."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.writer = UsageWriter(database, clock=self.clock, interval_s=0.001)
        self.reader = UsageReader(database)

    async def ids(self) -> list[str]:
        rows = await self.database.read("SELECT request_id FROM usage ORDER BY rowid")
        return [each["request_id"] for each in rows]

    async def agrees(self) -> bool:
        """Whether the daily sums are the sums of the rows."""
        sums = "sum(prompt), sum(completion), sum(cache_read), sum(cache_write), sum(reasoning),"
        group = "GROUP BY day, account_id, key_id, model ORDER BY day, account_id, key_id, model"
        rows = await self.database.read(
            f"SELECT day, account_id, key_id, model, count(*), {sums} sum(charged), sum(estimated)"
            f" FROM usage {group}"
        )
        daily = await self.database.read(
            "SELECT day, account_id, key_id, model, requests, prompt, completion, cache_read,"
            " cache_write, reasoning, charged, estimated FROM usage_daily"
            " ORDER BY day, account_id, key_id, model"
        )
        return [tuple(each) for each in rows] == [tuple(each) for each in daily]

    async def set(self, pragma: str) -> None:
        async def work(db: aiosqlite.Connection) -> None:
            await db.execute_fetchall(f"PRAGMA {pragma}")

        await self.database.write(work)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kurolproxy.db"


@pytest.fixture
async def ledger(path: Path) -> AsyncIterator[Ledger]:
    database = await Database.open(path, busy_timeout_s=0.02)
    yield Ledger(database)
    await database.close()


# --- one row, once --------------------------------------------------------------------


async def test_row_is_written_as_it_is(ledger: Ledger) -> None:
    ledger.writer.add(row("r1", estimated=True, ttft_ms=None))
    assert await ledger.writer.flush()
    [found] = await ledger.database.read("SELECT * FROM usage")
    expected = row("r1", estimated=True, ttft_ms=None)._asdict()
    values = {name: value for name, value in dict(found).items() if name != "checksum"}
    assert values == {**expected, "day": "2026-03-02"}


async def test_rows_of_many_batches_are_all_there_in_order(ledger: Ledger) -> None:
    ids = [f"r{number}" for number in range(1_203)]
    for id_ in ids:
        ledger.writer.add(row(id_))
    assert await ledger.writer.flush()
    assert await ledger.ids() == ids
    assert await ledger.agrees()


async def test_importing_the_same_rows_again_changes_nothing(ledger: Ledger) -> None:
    rows = [row(f"r{number % 7}", model=f"m{number % 3}") for number in range(10)]
    assert await import_rows(ledger.database, rows) == 7
    assert await import_rows(ledger.database, rows) == 0
    assert await import_rows(ledger.database, [*rows, row("new")]) == 1
    assert len(await ledger.ids()) == 8
    assert await ledger.agrees()


async def test_importing_nothing_is_fine(ledger: Ledger) -> None:
    assert await import_rows(ledger.database, []) == 0


async def test_same_id_of_a_client_twice_is_two_rows_because_ours_differ(ledger: Ledger) -> None:
    # A row has no place for the client's x-request-id: its key is always one of these.
    ids = Ids(bytes(16))
    for _ in range(2):
        ledger.writer.add(row(ids.request()))
    await ledger.writer.flush()
    assert len(set(await ledger.ids())) == 2


async def test_sums_follow_the_rows_whatever_comes(ledger: Ledger) -> None:
    chance = random.Random(3)
    for _ in range(30):
        for _ in range(chance.randrange(60)):
            fields = {name: chance.randrange(5_000) for name in row("x")._fields[11:17]}
            fields["estimated"] = chance.random() < 0.2
            places = {
                "day": chance.choice([MONDAY, TUESDAY]),
                "account_id": chance.randrange(3),
                "key_id": f"key_{chance.randrange(4)}",
                "model": f"m{chance.randrange(3)}",
            }
            ledger.writer.add(row(f"r{chance.randrange(600)}", **fields, **places))
        await ledger.writer.flush()
    assert len(await ledger.ids()) > 300
    assert await ledger.agrees()


# --- absurd figures -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "kept"),
    [(10**19, 10**9), (2**63, 10**9), (10**9, 10**9), (0, 0), (-1, 0), (-(10**19), 0)],
)
async def test_absurd_figures_are_clamped(ledger: Ledger, figure: int, kept: int) -> None:
    names = (*row("x")._fields[11:17], "duration_ms", "ttft_ms", "status")
    ledger.writer.add(row("r1", **dict.fromkeys(names, figure)))
    assert await ledger.writer.flush()
    [found] = await ledger.database.read(f"SELECT {', '.join(names)} FROM usage")
    assert tuple(found) == (kept,) * len(names)
    [daily] = await ledger.database.read("SELECT prompt, charged FROM usage_daily")
    assert tuple(daily) == (kept, kept)


async def test_sum_never_turns_into_a_float(ledger: Ledger) -> None:
    ledger.writer.add(row("r1"))
    await ledger.writer.flush()

    async def near_the_end(db: aiosqlite.Connection) -> None:
        await db.execute("UPDATE usage_daily SET charged = 999999999999999")

    await ledger.database.write(near_the_end)
    for number in range(3):
        ledger.writer.add(row(f"more {number}", charged=10**9))
        await ledger.writer.flush()
    [daily] = await ledger.database.read("SELECT charged, typeof(charged) FROM usage_daily")
    assert tuple(daily) == (10**15, "integer")
    assert (await ledger.reader.totals(MONDAY)).accounts == {1: 10**15}


async def test_text_that_sqlite_cannot_take_does_not_hold_up_the_others(ledger: Ledger) -> None:
    ledger.writer.add(row("r1", model="\ud800", upstream="\x00", outcome="\udfff"))
    ledger.writer.add(row("r2"))
    assert await ledger.writer.flush()
    assert await ledger.ids() == ["r1", "r2"]


# --- a database that takes nothing ----------------------------------------------------


async def test_rows_wait_for_a_busy_database_and_no_request_is_refused(
    ledger: Ledger, path: Path
) -> None:
    ledger.writer.add(row("r1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(3):
            assert not await ledger.writer.flush()
            ledger.writer.add(row(f"meanwhile {number}"))
        assert (ledger.writer.pending, ledger.writer.writable) == (4, True)
        other.execute("COMMIT")
    assert await ledger.writer.flush()
    assert (ledger.writer.pending, len(await ledger.ids())) == (0, 4)
    assert await ledger.agrees()


async def test_database_that_stays_busy_too_long_is_unwritable(path: Path) -> None:
    database = await Database.open(path)
    writer = UsageWriter(database, max_pending=10)
    for number in range(11):
        assert writer.writable
        writer.add(row(f"r{number}"))
    assert not writer.writable
    await writer.flush()
    assert writer.writable
    await database.close()


async def test_full_disk_is_unwritable_until_there_is_space_and_nothing_is_lost(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    await ledger.set("max_page_count = 1")
    for number in range(600):
        ledger.writer.add(row(f"r{number}", model=f"m{number}"))
    assert ledger.writer.writable
    for second in range(130):
        assert not await ledger.writer.flush()
        ledger.clock.now = 50.0 + second
    assert (ledger.writer.writable, ledger.writer.pending) == (False, 600)
    # Once a minute is enough to know it.
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 3
    assert "600 usage rows wait" in caplog.text
    await ledger.set("max_page_count = 1000000")
    assert await ledger.writer.flush()
    assert (ledger.writer.writable, ledger.writer.pending) == (True, 0)
    assert len(await ledger.ids()) == 600
    assert await ledger.agrees()
    assert "written again" in caplog.records[-1].message


async def test_pending_time_counts_from_the_oldest_row(ledger: Ledger) -> None:
    writer, clock = ledger.writer, ledger.clock
    assert writer.oldest_pending_s == 0.0
    writer.add(row("r1"))
    clock.now += 3
    writer.add(row("r2"))
    clock.now += 4
    assert (writer.pending, writer.oldest_pending_s) == (2, 7.0)
    await writer.flush()
    clock.now += 100
    assert (writer.pending, writer.oldest_pending_s) == (0, 0.0)
    writer.add(row("r3"))
    clock.now += 1
    assert writer.oldest_pending_s == 1.0


async def test_row_added_during_a_flush_waits_for_the_next(ledger: Ledger) -> None:
    ledger.writer.add(row("r1"))
    flushing = asyncio.create_task(ledger.writer.flush())
    await asyncio.sleep(0)
    ledger.clock.now += 2
    ledger.writer.add(row("r2"))
    assert await flushing
    assert (ledger.writer.pending, ledger.writer.oldest_pending_s) == (1, 2.0)
    await ledger.writer.flush()
    assert await ledger.ids() == ["r1", "r2"]


@pytest.mark.parametrize("turns", [0, 1, 2, 5, 50])
async def test_cancelled_flush_loses_nothing_and_counts_nothing_twice(
    ledger: Ledger, turns: int
) -> None:
    for number in range(50):
        ledger.writer.add(row(f"r{number}"))
    flushing = asyncio.create_task(ledger.writer.flush())
    for _ in range(turns):
        await asyncio.sleep(0)
    flushing.cancel()
    await asyncio.wait({flushing})
    assert await ledger.writer.flush()
    assert len(await ledger.ids()) == 50
    assert await ledger.agrees()


# --- the task -------------------------------------------------------------------------


async def until_empty(writer: UsageWriter) -> None:
    async with asyncio.timeout(30):
        for _ in range(100_000):
            if not writer.pending:
                return
            await asyncio.sleep(0.001)


async def test_rows_reach_the_database_by_themselves(ledger: Ledger) -> None:
    ledger.writer.start()
    for number in range(20):
        ledger.writer.add(row(f"r{number}"))
        await asyncio.sleep(0)
    await until_empty(ledger.writer)
    assert len(await ledger.ids()) == 20
    assert await ledger.writer.close() == 0


async def test_closing_writes_what_is_left(ledger: Ledger) -> None:
    ledger.writer.start()
    for number in range(1_100):
        ledger.writer.add(row(f"r{number}"))
    assert await ledger.writer.close() == 0
    assert len(await ledger.ids()) == 1_100
    assert await ledger.agrees()


async def test_closing_during_a_flush_writes_each_row_once(ledger: Ledger) -> None:
    ledger.writer.start()
    for number in range(1_100):
        ledger.writer.add(row(f"r{number}"))
        if number % 100 == 0:
            await asyncio.sleep(0.001)
    assert await ledger.writer.close() == 0
    assert len(await ledger.ids()) == 1_100
    assert await ledger.agrees()


async def test_closing_waits_until_a_busy_database_is_free(ledger: Ledger, path: Path) -> None:
    ledger.writer.add(row("r1"))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        closed = asyncio.create_task(ledger.writer.close(timeout_s=60))
        assert not await ledger.writer.flush()
        assert not closed.done()
        other.execute("COMMIT")
    assert await closed == 0
    assert await ledger.ids() == ["r1"]


async def test_closing_gives_up_in_time_and_says_what_is_lost(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    await ledger.set("max_page_count = 1")
    for number in range(600):
        ledger.writer.add(row(f"r{number}", model=f"m{number}"))
    assert await ledger.writer.close(timeout_s=0.005) == 600
    assert "600 usage rows could not be written and are lost" in caplog.text


async def test_fault_of_ours_does_not_end_the_writing(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.writer.start()
    ledger.writer.add(row("r1", day="not a date"))
    async with asyncio.timeout(30):
        while ledger.writer.writable:  # noqa: ASYNC110  # a property, no event
            await asyncio.sleep(0.01)
        assert "1 usage rows wait" in caplog.text
        ledger.writer._rows.clear()
        ledger.writer.add(row("r2"))
        while not ledger.writer.writable:  # noqa: ASYNC110  # a property, no event
            await asyncio.sleep(0.01)
    assert await ledger.writer.close() == 0
    assert await ledger.ids() == ["r2"]
