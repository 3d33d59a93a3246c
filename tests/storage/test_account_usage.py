"""What one account used: the same sums as the ledger's report, by seeks alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from kurolproxy.storage import account_usage
from kurolproxy.storage.account_usage import Counts, KeyUse, Used, used_by, used_keys
from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.errors import NotFound, QueryTooLong
from kurolproxy.storage.key_list import keys_of, names_of, one_key_of, revoked_keys_of
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.usage import COUNTERS
from tests.scale.building import Size, build
from tests.storage.usage_rows import MONDAY, NOON, TUESDAY, row, write

LAST = date(2026, 6, 30)
DAYS = [LAST - timedelta(days=number) for number in range(9, -1, -1)]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "kurolproxy.db")
    yield opened
    await opened.close()


@pytest.fixture
async def built(tmp_path: Path) -> AsyncIterator[Database]:
    """Yield a ledger of 20 accounts, 20 models and 12 days."""
    path = tmp_path / "built.db"
    build(path, Size(keys=200, rows=6_000, days=12), LAST)
    opened = await Database.open(path)
    yield opened
    await opened.close()


@pytest.mark.parametrize("place", ["day", "hour", "key", "model"])
async def test_sums_are_those_of_the_ledgers_report(built: Database, place: Any) -> None:
    report = await UsageReader(built).report(
        (place, "model"), since=DAYS[0], until=LAST, account_id=7
    )
    expected = {
        (line[place], line["model"], tuple(line[each] for each in COUNTERS)) for line in report
    }
    found = await used_by(built, 7, place, DAYS)
    assert {(each.place, each.model, tuple(each.counts)) for each in found} == expected
    assert len(found) == len(expected) > 0


async def test_days_that_were_not_asked_for_and_other_accounts_stay_out(
    database: Database,
) -> None:
    await write(
        database,
        [
            row("1", charged=7),
            row("2", account_id=2, charged=1_000),
            row("3", day=TUESDAY, started_at=NOON + 86_400, charged=1_000),
        ],
    )
    expected = Counts(1, 100, 20, 10, 5, 8, 7, 0)
    assert await used_by(database, 1, "day", [MONDAY]) == [
        Used(MONDAY.isoformat(), "gpt-4o", expected)
    ]
    assert await used_by(database, 1, "hour", [MONDAY]) == [
        Used("2026-03-02T12:00Z", "gpt-4o", expected)
    ]
    assert await used_by(database, 3, "day", [MONDAY, TUESDAY]) == []
    assert await used_by(database, 1, "day", []) == []


async def test_hours_of_very_many_requests_are_not_added_up(database: Database) -> None:
    rows = [row(f"m{number}") for number in range(3)]
    later = {"day": TUESDAY, "started_at": NOON + 86_400}
    rows += [row(f"t{number}", **later) for number in range(2)]
    await write(database, rows)
    days = [MONDAY, TUESDAY]
    assert len(await used_by(database, 1, "hour", days, most_rows=5)) == 2
    assert await used_by(database, 2, "hour", days, most_rows=0) == []
    for most_rows in (4, 2):
        with pytest.raises(QueryTooLong):
            await used_by(database, 1, "hour", days, most_rows=most_rows)
    # The sums of days are few, however many requests they stand for.
    assert len(await used_by(database, 1, "day", days, most_rows=0)) == 2


async def test_each_table_is_read_by_seeks(database: Database) -> None:
    values = {"account": 1, "days": "[]", "day": "2026-03-02", "most": 1}
    for sql in (
        account_usage._DAILY.format(place="used.day"),
        account_usage._KEYS,
        account_usage._HOURLY,
    ):
        plan = [each["detail"] for each in await database.read(f"EXPLAIN QUERY PLAN {sql}", values)]
        reads = [each for each in plan if "used" in each]
        assert len(reads) == 1, plan
        assert "SEARCH used" in reads[0]
        assert "(day=? AND account_id=?)" in reads[0]


async def test_keys_tell_when_they_were_used_last(database: Database) -> None:
    await write(
        database,
        [
            row("1", key_id="key_a", charged=7),
            row("2", key_id="key_a", day=TUESDAY, started_at=NOON + 86_400, charged=5),
            row("3", key_id="key_b", charged=1),
            row("4", key_id="key_c", account_id=2),
        ],
    )
    assert await used_keys(database, 1, [MONDAY, TUESDAY]) == {
        "key_a": KeyUse(TUESDAY, 2, 12),
        "key_b": KeyUse(MONDAY, 1, 1),
    }


async def test_keys_of_an_account_are_listed_with_their_dates(database: Database) -> None:
    now = [1_000.0]
    store = AccountStore(database, clock=lambda: now[0])
    ann = await store.create_account("ann@example.org", "team")
    ben = await store.create_account("ben@example.org", "team")
    first, _ = await store.create_key(ann.id, label="first")
    now[0] = 2_000.0
    second, _ = await store.create_key(ann.id, label="second")
    foreign, _ = await store.create_key(ben.id)
    now[0] = 3_000.0
    await store.revoke_key(first.id)
    assert [(each.key.id, each.created_at) for each in await keys_of(database, ann.id)] == [
        (second.id, 2_000.0)
    ]
    gone = await revoked_keys_of(database, ann.id, 5)
    assert [(each.key.id, each.revoked_at) for each in gone] == [(first.id, 3_000.0)]
    assert gone[0].key.revoked
    assert await revoked_keys_of(database, ann.id, 0) == []
    assert (await one_key_of(database, ann.id, second.id)).key == second
    with pytest.raises(NotFound):
        await one_key_of(database, ann.id, foreign.id)
    names = await names_of(database, ann.id, [first.id, foreign.id, "playground"])
    assert {id_: name.label for id_, name in names.items()} == {first.id: "first"}
