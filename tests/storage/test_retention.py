"""Rows of old days go, in small steps; their sums stay, and a wrong clock deletes nothing."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.storage import retention
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import DatabaseBusy
from kurolproxy.storage.retention import ROWS_AT_ONCE, detail_from, keep, prune
from kurolproxy.storage.usage import import_rows
from tests.storage.usage_rows import MONDAY, TUESDAY, row, write

WEDNESDAY = date(2026, 3, 4)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "kurolproxy.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(path, busy_timeout_s=0.02)
    yield opened
    await opened.close()


async def days(database: Database) -> list[str]:
    rows = await database.read("SELECT DISTINCT day FROM usage ORDER BY day")
    return [each["day"] for each in rows]


async def sums(database: Database) -> list[tuple[Any, ...]]:
    return [
        tuple(each)
        for table in ("usage_daily", "usage_hourly")
        for each in await database.read(f"SELECT * FROM {table} ORDER BY day")
    ]


async def noted(database: Database) -> date | None:
    return await database.report(detail_from)


class Sleeper:
    """Stands in for ``asyncio.sleep``: notes how long, and does something meanwhile."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.slept: list[float] = []
        self.meanwhile = meanwhile

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.meanwhile()
        await asyncio.sleep(0)


# --- deleting -------------------------------------------------------------------------


async def test_rows_before_the_day_go_and_their_sums_stay(database: Database) -> None:
    await write(database, [row(str(n), day=MONDAY + timedelta(days=n)) for n in range(5)])
    before = await sums(database)
    assert await noted(database) is None
    assert await prune(database, WEDNESDAY) == 2
    assert await days(database) == ["2026-03-04", "2026-03-05", "2026-03-06"]
    assert await sums(database) == before
    assert await noted(database) == WEDNESDAY


async def test_nothing_too_old_is_nothing_to_write(database: Database, path: Path) -> None:
    await write(database, [row("1")])
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert await prune(database, MONDAY) == 0
    assert await noted(database) is None


async def test_day_that_is_noted_never_moves_backwards(database: Database) -> None:
    await write(database, [row("1"), row("2", day=TUESDAY)])
    assert await prune(database, WEDNESDAY) == 2
    # Imported late: the journal held it while the disk was full.
    await write(database, [row("3")])
    assert await prune(database, TUESDAY) == 1
    assert await noted(database) == WEDNESDAY


@pytest.mark.parametrize(
    ("count", "transactions"),
    [(1, 1), (ROWS_AT_ONCE - 1, 1), (ROWS_AT_ONCE, 2), (2 * ROWS_AT_ONCE + 1, 3)],
)
async def test_rows_go_in_small_transactions_with_pauses(
    database: Database, count: int, transactions: int
) -> None:
    await write(database, (row(f"r{n}") for n in range(count)))
    await write(database, [row("kept", day=TUESDAY)])
    sleeper = Sleeper()
    assert await prune(database, TUESDAY, pause_s=0.125, sleep=sleeper) == count
    assert sleeper.slept == [0.125] * (transactions - 1)
    assert await days(database) == ["2026-03-03"]


async def test_imports_get_in_between(database: Database) -> None:
    await write(database, (row(f"r{n}") for n in range(ROWS_AT_ONCE + 1)))
    imports: list[asyncio.Task[int]] = []

    def more() -> None:
        new = row("new", day=WEDNESDAY)
        imports.append(asyncio.create_task(import_rows(database, [new])))

    assert await prune(database, TUESDAY, sleep=Sleeper(more)) == ROWS_AT_ONCE + 1
    assert await asyncio.gather(*imports) == [1]
    assert await days(database) == ["2026-03-04"]


async def test_what_was_begun_is_noted_and_ended_the_next_time(
    database: Database, path: Path
) -> None:
    await write(database, (row(f"r{n}") for n in range(ROWS_AT_ONCE + 7)))
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        sleeper = Sleeper(lambda: other.execute("BEGIN IMMEDIATE") and None)
        with pytest.raises(DatabaseBusy):
            await prune(database, TUESDAY, sleep=sleeper)
        other.execute("ROLLBACK")
    # Monday is not whole any more: no report may take it for whole.
    assert await noted(database) == TUESDAY
    assert await prune(database, TUESDAY) == 7


async def test_old_rows_are_found_by_the_index(database: Database) -> None:
    [step] = await database.read(f"EXPLAIN QUERY PLAN {retention._OLDEST}", ["2026-03-03"])
    assert "SEARCH usage USING COVERING INDEX usage_by_day" in step["detail"]


# --- now and then ---------------------------------------------------------------------


class Stop(Exception):
    """The test has seen enough."""


class Keeping:
    """Runs ``keep`` for some rounds, with a clock and a sleep of the test's.

    Args:
        rounds: each says what the day is, or what is wrong.
    """

    def __init__(self, database: Database, path: Path, *rounds: date | str) -> None:
        self.database = database
        self.slept: list[float] = []
        self._other = sqlite3.connect(path, isolation_level=None)
        self._rounds = iter(rounds)
        self._now: date | str = ""

    async def run(self, detail_days: int) -> None:
        with closing(self._other), pytest.raises(Stop):
            await keep(
                self.database,
                detail_days,
                self._today,
                settled=self._settled,
                period_s=3_600,
                retry_s=60,
                sleep=self._sleep,
            )

    def _today(self) -> date:
        return self._now if isinstance(self._now, date) else WEDNESDAY

    async def _settled(self) -> bool:
        return self._now != "unsettled"

    async def _sleep(self, seconds: float) -> None:
        if seconds < 1:
            return
        self.slept.append(seconds)
        if self._other.in_transaction:
            self._other.execute("ROLLBACK")
        found = next(self._rounds, None)
        if found is None:
            raise Stop
        self._now = found
        if found == "locked":
            self._other.execute("BEGIN IMMEDIATE")


async def used_daily(database: Database, first: date, count: int) -> None:
    rows = [row(f"{first}+{n}", day=first + timedelta(days=n)) for n in range(count)]
    await write(database, rows)


async def test_so_many_days_before_today_are_kept(database: Database, path: Path) -> None:
    await used_daily(database, date(2026, 2, 1), 32)
    keeping = Keeping(database, path, WEDNESDAY, WEDNESDAY, WEDNESDAY + timedelta(days=1))
    await keeping.run(2)
    assert await days(database) == ["2026-03-03", "2026-03-04"]
    assert keeping.slept == [60, 3_600, 3_600, 3_600]


async def test_nothing_goes_while_the_journal_holds_rows(database: Database, path: Path) -> None:
    await used_daily(database, date(2026, 2, 1), 32)
    keeping = Keeping(database, path, "unsettled", "unsettled")
    await keeping.run(2)
    assert len(await days(database)) == 32
    assert keeping.slept == [60, 60, 60]


async def test_database_that_takes_nothing_is_tried_again_and_told_once(
    database: Database, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await used_daily(database, date(2026, 2, 1), 32)
    keeping = Keeping(database, path, "locked", "locked", "locked", WEDNESDAY)
    await keeping.run(2)
    assert keeping.slept == [60, 60, 60, 60, 3_600]
    assert [each.levelname for each in caplog.records] == ["WARNING", "INFO"]
    assert "older than 2 days stay for now" in caplog.text
    assert "29 usage rows older than 2 days were deleted" in caplog.text
    assert await days(database) == ["2026-03-02", "2026-03-03", "2026-03-04"]


@pytest.mark.parametrize(
    ("today", "left"),
    [
        (WEDNESDAY, 3),
        # The clock jumped, and nothing or next to nothing was used on its days.
        (date(2099, 1, 1), 32),
        (date(2026, 4, 13), 32),
        # The last days that bear it out: of three or more, the oldest one is 40 days ago.
        (date(2026, 4, 11), 0),
        # Set back: whatever seems to lie in the future stays.
        (date(2026, 2, 6), 29),
        (date(1970, 1, 1), 32),
    ],
)
async def test_day_that_the_ledger_does_not_bear_out_deletes_nothing(
    database: Database, path: Path, today: date, left: int
) -> None:
    await used_daily(database, date(2026, 2, 1), 32)
    await Keeping(database, path, today).run(2)
    assert len(await days(database)) == left
