"""A query that never ends, under load: it is stopped, and the WAL does not grow for ever."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import islice, pairwise
from pathlib import Path

import pytest

from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import QueryTooLong
from kurolproxy.storage.usage import import_rows
from tests.faults.books import Books
from tests.faults.conftest import Tell
from tests.faults.made_up import rows
from tests.faults.serving import rounds

READ_LIMIT_S = rounds(0.3, 2.0)
SECONDS = rounds(2.0, 12.0)
WAL_LIMIT = 1_000_000
BATCH = 100
# Holds the database for reading, and counts to 10^12.
ENDLESS = (
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000000)"
    " SELECT count(*) FROM n, usage"
)


async def test_query_that_never_ends_is_stopped_and_the_wal_stays_small(
    tmp_path: Path, tell: Tell
) -> None:
    database = await Database.open(tmp_path / "kurolproxy.db", read_limit_s=READ_LIMIT_S)
    took: list[float] = []
    sizes: list[int] = []

    async def ask() -> None:
        while True:
            begun = time.monotonic()
            with pytest.raises(QueryTooLong):
                await database.read(ENDLESS)
            took.append(time.monotonic() - begun)

    async def write() -> int:
        fresh, ends = rows(), time.monotonic() + SECONDS
        written = 0
        while time.monotonic() < ends:
            written += await import_rows(database, list(islice(fresh, BATCH)))
            sizes.append(database.wal_bytes)
            await database.checkpoint(wal_limit_bytes=WAL_LIMIT)
            sizes.append(database.wal_bytes)
            await asyncio.sleep(0.02)
        return written

    asking = asyncio.create_task(ask())
    written = await write()
    asking.cancel()
    with suppress(asyncio.CancelledError):
        await asking
    cuts = sum(later < earlier for earlier, later in pairwise(sizes))
    tell(
        f"{written} rows beside {len(took)} queries, the longest {max(took):.2f} s (limit "
        f"{READ_LIMIT_S} s); WAL at most {max(sizes) / 1e6:.1f} MB (limit 1 MB), cut {cuts} times"
    )
    await database.checkpoint(wal_limit_bytes=0)
    assert database.wal_bytes == 0
    await database.close()
    assert len(took) >= 2
    assert max(took) < 10 * READ_LIMIT_S
    assert cuts >= 2
    # A cut waits for one query; what is written meanwhile comes on top of the limit.
    assert max(sizes) < 10 * WAL_LIMIT
    Books.open(tmp_path / "kurolproxy.db").check()
