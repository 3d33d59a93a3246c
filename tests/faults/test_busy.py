"""Another process holds the database, or a query that never ends: no call fails or waits."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.load import Load
from tests.faults.serving import PASSED, TRANSLATED, Installation, rounds

HELD_S = rounds(2, 30)
RATE = 100


async def test_database_that_another_process_holds_costs_nobody_anything(
    site: Installation, tell: Tell
) -> None:
    async with site.serving() as served:
        before = served.load(PASSED, TRANSLATED, rate=RATE)
        await before.run(0.5)
        load = served.load(PASSED, TRANSLATED, rate=RATE)
        with closing(sqlite3.connect(site.database, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            await load.run(HELD_S)
            pending = (await served.metrics())["kurol_ledger_pending_rows"]
            ready = await served.get("/readyz")
            db.execute("ROLLBACK")
        caught_up_s = await served.written()
        books = Books.open(site.database)
    tell(
        f"held for {HELD_S} s: {len(load.calls)} calls, {len(load.failed)} failed, longest "
        f"{longest(load) * 1000:.0f} ms (before: {longest(before) * 1000:.0f} ms); then "
        f"{pending:.0f} rows in {caught_up_s:.2f} s"
    )
    assert ready[0] == 200
    assert len(load.whole) == len(load.calls) > 10 * HELD_S
    # All of them waited for the database meanwhile, and no call for them.
    assert pending >= len(load.calls)
    assert longest(load) < 2
    books.check()
    assert books.lost([*before.calls, *load.calls]) == []
    assert len(books.rows) == len(before.calls) + len(load.calls)


def longest(load: Load) -> float:
    """Return the seconds of the call that took longest."""
    return max(each.took for each in load.calls)
