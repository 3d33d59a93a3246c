"""The list of requests: the same rows as a plain filter finds, in bounded steps."""

from __future__ import annotations

import itertools
import random
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from kurolproxy.storage.accounts import AccountStore
from kurolproxy.storage.database import Database
from kurolproxy.storage.request_log import Filter, Found, RequestReader
from kurolproxy.storage.retention import prune
from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.walking import Pace
from tests.storage.usage_rows import MONDAY, NOON, row, write

HOUR = 3_600.0
DAY = 24 * HOUR
OUTCOMES = [
    (200, "ok"),
    (200, "ok"),
    (499, "client_gone"),
    (429, "rate_limited"),
    (502, "internal"),
]
SOURCE = random.Random(60)
ROWS = [
    row(
        f"req_{number:04d}",
        day=MONDAY + timedelta(days=number // 100),
        started_at=NOON - 12 * HOUR + number * DAY / 100,
        account_id=SOURCE.choice((1, 1, 2, 3)),
        key_id=SOURCE.choice(("key_a", "key_b", "key_gone")),
        model=SOURCE.choice(("gpt", "claude")),
        upstream=SOURCE.choice(("lab", "vendor")),
        client_protocol=SOURCE.choice(("openai-chat", "gemini")),
        duration_ms=SOURCE.randrange(60_000),
        ttft_ms=SOURCE.choice((None, 300)),
        streamed=SOURCE.random() < 0.5,
        **dict(zip(("status", "outcome"), SOURCE.choice(OUTCOMES), strict=True)),
    )
    for number in range(500)
]
SINCE = ROWS[0].started_at
FILTERS = {
    "all": Filter(SINCE),
    "since": Filter(SINCE + 2 * DAY),
    "until": Filter(SINCE, SINCE + DAY),
    "between": Filter(SINCE + DAY + HOUR, SINCE + 3 * DAY),
    "model": Filter(SINCE, model="gpt"),
    "upstream": Filter(SINCE, upstream="lab"),
    "protocol": Filter(SINCE, protocol="gemini"),
    "key": Filter(SINCE, key_id="key_a"),
    "ok": Filter(SINCE, result="ok"),
    "failed": Filter(SINCE, result="failed"),
    "gone": Filter(SINCE, result="gone"),
    "4xx": Filter(SINCE, result="4xx"),
    "5xx": Filter(SINCE, result="5xx"),
    "account": Filter(SINCE, account_id=2),
    "account since": Filter(SINCE + 2 * DAY, account_id=1),
    "account between": Filter(SINCE + DAY, SINCE + 3 * DAY + HOUR, account_id=1),
    "account and more": Filter(SINCE, account_id=1, model="gpt", key_id="key_b", result="failed"),
    "nobody": Filter(SINCE, account_id=99),
    "nothing": Filter(SINCE, model="gpt", upstream="none"),
    "later": Filter(SINCE + 9 * DAY),
}


def is_wanted(found: UsageRow, wanted: Filter) -> bool:
    """Say the same as the SQL, in the plainest way."""
    equal = {
        "account_id": found.account_id,
        "key_id": found.key_id,
        "model": found.model,
        "upstream": found.upstream,
        "protocol": found.client_protocol,
    }
    asked = asdict(wanted)
    results = {
        None: True,
        "ok": found.outcome == "ok",
        "failed": found.outcome != "ok",
        "gone": found.outcome == "client_gone",
        "4xx": 400 <= found.status < 500,
        "5xx": 500 <= found.status < 600,
    }
    return (
        all(asked[name] in (None, value) for name, value in equal.items())
        and wanted.since <= found.started_at < (wanted.until or 1e12)
        and results[wanted.result]
    )


async def every_page(reader: RequestReader, wanted: Filter, limit: int) -> list[Found]:
    """Go on to the end."""
    pages = [await reader.page(wanted, limit=limit)]
    while pages[-1].older:
        pages.append(await reader.page(wanted, limit=limit, older=pages[-1].older))
    return pages


def out_of_time(step: int) -> Pace:
    """Return a pace that stops after each step."""
    ticks = itertools.count()
    return Pace(step=step, clock=lambda: float(next(ticks)))


PACES = [(7, Pace), (50, lambda: out_of_time(13)), (1_000, lambda: Pace(step=3))]


async def test_pages_together_are_the_rows_that_a_plain_filter_finds(database: Database) -> None:
    await write(database, ROWS)
    for name, wanted in FILTERS.items():
        expected = [each for each in reversed(ROWS) if is_wanted(each, wanted)]
        for limit, pace in PACES:
            pages = await every_page(RequestReader(database, pace), wanted, limit)
            assert [each for page in pages for each in page.rows] == expected, name
            assert all(len(page.rows) <= limit for page in pages)


async def test_page_that_is_full_says_where_to_go_on_and_that_it_found_enough(
    database: Database,
) -> None:
    await write(database, ROWS)
    found = await RequestReader(database).page(FILTERS["all"], limit=50)
    assert (len(found.rows), bool(found.older), found.searched_to) == (50, True, None)


@pytest.mark.parametrize("name", ["nothing", "account and more"])
async def test_search_that_stops_says_how_far_it_came(database: Database, name: str) -> None:
    await write(database, ROWS)
    reader = RequestReader(database, lambda: out_of_time(20))
    pages = await every_page(reader, FILTERS[name], 50)
    assert len(pages) > 3
    came_to = [each.searched_to for each in pages[:-1]]
    assert None not in came_to
    assert came_to == sorted(came_to, key=lambda each: -(each or 0))
    assert pages[-1].searched_to is None


async def test_rows_are_read_as_they_were_written_with_the_labels_of_their_keys(
    database: Database,
) -> None:
    store = AccountStore(database)
    await store.create_account("ann@example.org", "team")
    key, _ = await store.create_key("ann@example.org", label="laptop <b>")
    wanted = row("req_one", key_id=key.id, ttft_ms=None, streamed=False, estimated=True)
    await write(database, [wanted, row("req_two", key_id="key_gone")])
    found = await RequestReader(database).page(Filter(NOON), limit=50)
    assert found.rows == [row("req_two", key_id="key_gone"), wanted]
    assert found.labels == {key.id: "laptop <b>"}
    assert (await RequestReader(database).one("req_one")).rows == [wanted]
    assert (await RequestReader(database).one("req_one' OR 1=1 --")).rows == []


@pytest.mark.parametrize("older", ["x", "-5", "99999999999999999999999", "2026-13-45/7", "/", "٣"])
@pytest.mark.parametrize("account_id", [None, 1])
async def test_cursor_that_makes_no_sense_begins_at_the_newest(
    database: Database, older: str, account_id: int | None
) -> None:
    await write(database, ROWS)
    found = await RequestReader(database).page(
        Filter(SINCE, account_id=account_id), limit=5, older=older
    )
    newest = await RequestReader(database).page(Filter(SINCE, account_id=account_id), limit=5)
    assert found == newest


async def test_ledger_without_rows_has_no_requests(database: Database) -> None:
    reader = RequestReader(database)
    assert await reader.page(Filter(0.0), limit=5) == Found([])
    assert await reader.page(Filter(0.0, account_id=1), limit=5) == Found([])


async def test_rows_that_are_deleted_meanwhile_do_not_stop_a_search(database: Database) -> None:
    await write(database, ROWS)
    reader = RequestReader(database)
    first = await reader.page(FILTERS["all"], limit=50)
    await prune(database, MONDAY + timedelta(days=4))
    rest = await reader.page(FILTERS["all"], limit=1_000, older=first.older)
    kept = [each for each in reversed(ROWS) if each.day >= MONDAY + timedelta(days=4)]
    assert first.rows + rest.rows == kept


async def test_long_request_is_found_at_its_beginning_although_it_ended_later(
    database: Database,
) -> None:
    long = row("req_long", started_at=NOON, duration_ms=3_000_000)
    others = [row(f"req_{n}", started_at=NOON + n, duration_ms=1) for n in range(100)]
    await write(database, [*others, long])
    found = await RequestReader(database).page(Filter(NOON, NOON + 1), limit=5)
    assert [each.request_id for each in found.rows] == ["req_long", "req_0"]
    assert datetime.fromtimestamp(NOON, UTC).date() == MONDAY
