"""Usage rows in the database: each written once, and their sums right."""

from __future__ import annotations

import random

import aiosqlite
import pytest

from kurolproxy.storage.database import Database
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.usage import import_rows
from tests.storage.usage_rows import MONDAY, TUESDAY, agrees, ids, row, write

# --- one row, once --------------------------------------------------------------------


async def test_row_is_written_as_it_is(database: Database) -> None:
    await import_rows(database, [row("r1", estimated=True, ttft_ms=None)])
    [found] = await database.read("SELECT * FROM usage")
    expected = row("r1", estimated=True, ttft_ms=None)._asdict()
    values = {name: value for name, value in dict(found).items() if name != "checksum"}
    assert values == {**expected, "day": "2026-03-02"}


async def test_rows_of_many_batches_are_all_there_in_order(database: Database) -> None:
    names = [f"r{number}" for number in range(1_203)]
    await write(database, map(row, names))
    assert await ids(database) == names
    assert await agrees(database)


async def test_importing_the_same_rows_again_changes_nothing(database: Database) -> None:
    rows = [row(f"r{number % 7}", model=f"m{number % 3}") for number in range(10)]
    assert await import_rows(database, rows) == 7
    assert await import_rows(database, rows) == 0
    assert await import_rows(database, [*rows, row("new")]) == 1
    assert len(await ids(database)) == 8
    assert await agrees(database)


async def test_importing_nothing_is_fine(database: Database) -> None:
    assert await import_rows(database, []) == 0


async def test_sums_follow_the_rows_whatever_comes(database: Database) -> None:
    chance = random.Random(3)
    for _ in range(30):
        rows = []
        for _ in range(chance.randrange(60)):
            fields = {name: chance.randrange(5_000) for name in row("x")._fields[11:17]}
            fields["estimated"] = chance.random() < 0.2
            places = {
                "day": chance.choice([MONDAY, TUESDAY]),
                "account_id": chance.randrange(3),
                "key_id": f"key_{chance.randrange(4)}",
                "model": f"m{chance.randrange(3)}",
            }
            rows.append(row(f"r{chance.randrange(600)}", **fields, **places))
        await import_rows(database, rows)
    assert len(await ids(database)) > 300
    assert await agrees(database)


# --- absurd figures -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figure", "kept"),
    [(10**19, 10**9), (2**63, 10**9), (10**9, 10**9), (0, 0), (-1, 0), (-(10**19), 0)],
)
async def test_absurd_figures_are_clamped(database: Database, figure: int, kept: int) -> None:
    names = (*row("x")._fields[11:17], "duration_ms", "ttft_ms", "status")
    await import_rows(database, [row("r1", **dict.fromkeys(names, figure))])
    [found] = await database.read(f"SELECT {', '.join(names)} FROM usage")
    assert tuple(found) == (kept,) * len(names)
    [daily] = await database.read("SELECT prompt, charged FROM usage_daily")
    assert tuple(daily) == (kept, kept)


async def test_sum_never_turns_into_a_float(database: Database) -> None:
    await import_rows(database, [row("r1")])

    async def near_the_end(db: aiosqlite.Connection) -> None:
        await db.execute("UPDATE usage_daily SET charged = 999999999999999")

    await database.write(near_the_end)
    for number in range(3):
        await import_rows(database, [row(f"more {number}", charged=10**9)])
    [daily] = await database.read("SELECT charged, typeof(charged) FROM usage_daily")
    assert tuple(daily) == (10**15, "integer")
    assert (await UsageReader(database).totals(MONDAY)).accounts == {1: 10**15}


async def test_text_that_sqlite_cannot_take_does_not_hold_up_the_others(database: Database) -> None:
    strange = row("r1", model="\ud800", upstream="\x00", outcome="\udfff")
    await import_rows(database, [strange, row("r2")])
    assert await ids(database) == ["r1", "r2"]
