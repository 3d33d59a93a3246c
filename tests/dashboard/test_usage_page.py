"""Usage: the table, its sums, what it may have cost, the file, and what is asked wrongly."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from kurolproxy.dashboard.usage_lines import asked, cost_of, hours_of
from kurolproxy.policy.catalog import Price
from kurolproxy.storage.account_usage import Counts
from kurolproxy.storage.reports import UsageReader
from kurolproxy.storage.retention import prune
from kurolproxy.storage.rows import UsageRow
from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import Browser, LogIn, Page
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.storage.usage_rows import row, write

TODAY = datetime.now(UTC).date()
MORE = """
[[models]]
id = "priced"
targets = [{ upstream = "chat", model = "plain" }]
price = { prompt = 2, completion = 10, cache_read = 0.5 }
"""


@pytest.fixture
async def priced(fake: FakeUpstream, start: Starter) -> Running:
    """Return a gateway with a model that has a price."""
    return await start(toml(fake.base_url, extra=MORE))


def at(day: date, hour: int = 0) -> float:
    """Return an hour of a day in Unix seconds."""
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp()


async def used(running: Running, browser: Browser, *, key_id: str = "playground") -> None:
    """Write some usage of who is logged in, and some of somebody else."""
    assert browser.account is not None
    mine: dict[str, Any] = {"account_id": browser.account.id, "key_id": key_id}
    tokens = {"prompt": 1_000, "completion": 100, "cache_read": 400, "charged": 1_100}
    yesterday, long_ago = TODAY - timedelta(days=1), TODAY - timedelta(days=40)
    rows: list[UsageRow] = [
        row("1", day=TODAY, started_at=at(TODAY), model="priced", **mine, **tokens),
        row("2", day=TODAY, started_at=at(TODAY), model="m-model", **mine, **tokens),
        row("3", day=yesterday, started_at=at(yesterday, 5), model="priced", **mine, **tokens),
        row("4", day=long_ago, started_at=at(long_ago), model="priced", **mine, **tokens),
        row("5", day=TODAY, started_at=at(TODAY), account_id=99, key_id="of-ben", charged=77_777),
    ]
    await write(running.gateway.database, rows)


def table_of(page: Page) -> list[list[str]]:
    """Return the cells of the table, row by row."""
    rows = re.findall(r"<tr data-name.*?</tr>", page.text, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", each, re.DOTALL) for each in rows]
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in each] for each in cells]


def numbers(cells: Sequence[str]) -> list[int]:
    """Return the counts of a row: requests, prompt, cached, completion, reasoning, counted."""
    return [int(each.replace("\u2009", "")) for each in cells[1:7]]


async def file_of(browser: Browser, query: str) -> list[dict[str, str]]:
    """Return the lines of the file."""
    page = await browser.get(f"/dashboard/usage.csv?{query}")
    assert page.status == 200
    assert page.headers["content-type"] == "text/csv; charset=utf-8"
    assert str(page.headers["content-disposition"]).startswith("attachment;")
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["x-content-type-options"] == "nosniff"
    return list(csv.DictReader(io.StringIO(page.text)))


async def test_days_of_the_period_are_there_with_their_sums_and_costs(
    priced: Running, log_in: LogIn
) -> None:
    browser = await log_in(priced)
    await used(priced, browser)
    page = await browser.get("/dashboard/usage?period=7")
    rows = table_of(page)
    assert [each[0] for each in rows] == [
        (TODAY - timedelta(days=number)).isoformat() for number in range(7)
    ]
    assert numbers(rows[0]) == [2, 2_000, 800, 200, 16, 2_200]
    assert numbers(rows[1]) == [1, 1_000, 400, 100, 8, 1_100]
    assert numbers(rows[2]) == [0] * 6
    # 595 plain, 400 cached, 5 written tokens of prompt, and 100 of completion, of one model.
    assert [each[7] for each in rows[:3]] == ["0.0024+", "0.0024", "–"]
    assert "3\u2009300" in page.text
    assert "77\u2009777" not in page.text


PERIODS = [({"period": "1"}, 1), ({"period": "90"}, 90), ({}, 30), ({"period": "x", "by": "x"}, 30)]


@pytest.mark.parametrize(("query", "days"), PERIODS)
def test_period_has_so_many_days_up_to_today(query: dict[str, str], days: int) -> None:
    found = asked(query, TODAY, str)
    assert (len(found.days), found.days[-1], found.by, found.wrong) == (days, TODAY, "day", "")


@pytest.mark.parametrize("by", ["day", "hour", "key", "model"])
async def test_table_file_and_report_of_the_ledger_agree(
    priced: Running, log_in: LogIn, by: Any
) -> None:
    browser = await log_in(priced)
    assert browser.account is not None
    key, _ = await priced.gateway.accounts.create_key(browser.account.id, label="laptop")
    await used(priced, browser, key_id=key.id)
    query = f"by={by}&from={TODAY - timedelta(days=2)}&to={TODAY}"
    rows = table_of(await browser.get(f"/dashboard/usage?{query}"))
    lines = await file_of(browser, query)
    columns = ("requests", "prompt", "cache_read", "completion", "reasoning", "charged")
    assert [numbers(each) for each in rows] == [
        [int(line[name]) for name in columns] for line in lines
    ]
    names = {"key": "label"}.get(by, by)
    shown = [line[names].replace("T", " ").replace("Z", "") for line in lines]
    assert [each[0] for each in rows] == shown
    report = await UsageReader(priced.gateway.database).report(
        by, since=TODAY - timedelta(days=2), until=TODAY, account_id=browser.account.id
    )
    place = {"key": "key"}.get(by, by)
    wanted = {line[place]: [line[name] for name in columns] for line in report}
    found = {
        line[place]: [int(line[name]) for name in columns]
        for line in lines
        if line["requests"] != "0"
    }
    assert found == wanted != {}


async def test_file_gives_spreadsheets_no_formula(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    assert browser.account is not None
    labels = ['=HYPERLINK("http://x")', "+1", "-1", "@x", "plain"]
    for number, label in enumerate(labels):
        key, _ = await gateway.gateway.accounts.create_key(browser.account.id, label=label)
        mine = {"account_id": browser.account.id, "key_id": key.id, "charged": 100 - number}
        await write(gateway.gateway.database, [row(str(number), day=TODAY, **mine)])
    lines = await file_of(browser, "by=key")
    assert [each["label"] for each in lines] == [
        "'" + '=HYPERLINK("http://x")',
        "'+1",
        "'-1",
        "'@x",
        "plain",
    ]


async def test_request_that_just_ended_is_in_the_figures(
    fake: FakeUpstream, gateway: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(prompt=31, completion=11))
    browser = await log_in(gateway)
    assert browser.account is not None
    key, secret = await gateway.gateway.accounts.create_key(browser.account.id, label="laptop")
    body = {"model": "c-model", "messages": [{"role": "user", "content": "hi"}]}
    for _ in range(5):
        headers = {"authorization": f"Bearer {secret}"}
        url = f"{gateway.base_url}/v1/chat/completions"
        async with http.post(url, json=body, headers=headers) as answer:
            assert answer.status == 200
            await answer.read()
    page = await browser.get("/dashboard/usage?by=key&period=1")
    (line,) = table_of(page)
    assert line[0] == "laptop"
    assert numbers(line)[:2] == [5, 155]
    assert f'href="/dashboard/keys/{key.id}"' in page.text


async def test_calls_of_the_playground_are_called_so(priced: Running, log_in: LogIn) -> None:
    browser = await log_in(priced)
    await used(priced, browser)
    rows = table_of(await browser.get("/dashboard/usage?by=key"))
    assert [each[0] for each in rows] == ["Playground"]


async def test_hours_are_those_of_the_last_days_and_says_so(priced: Running, log_in: LogIn) -> None:
    browser = await log_in(priced)
    await used(priced, browser)
    page = await browser.get("/dashboard/usage?by=hour&period=30")
    rows = table_of(page)
    first = TODAY - timedelta(days=2)
    assert f"from {first} on" in page.text
    assert rows[-1][0] == f"{first} 00:00"
    assert 48 < len(rows) <= 72
    hours = {each[0]: numbers(each)[0] for each in rows}
    assert hours[f"{TODAY} 00:00"] == 2
    assert hours[f"{TODAY - timedelta(days=1)} 05:00"] == 1
    assert "not kept" not in page.text


async def test_hours_that_are_not_kept_are_told(priced: Running, log_in: LogIn) -> None:
    browser = await log_in(priced)
    await used(priced, browser)
    await prune(priced.gateway.database, TODAY)
    page = await browser.get("/dashboard/usage?by=hour&period=7")
    assert f"Hours before {TODAY} are not kept any more" in page.text
    assert sum(numbers(each)[0] for each in table_of(page)) == 2


WRONG = [
    ("from=tomorrow&to=2026-01-01", "These are no days"),
    ("from=2026-01-02&to=2026-01-01", "The first day comes after the last one"),
    ("from=2024-01-01&to=2026-01-01", "at most 366 days"),
    ("from=0001-01-01&to=9999-12-31", "at most 366 days"),
    ("from=%3Cscript%3E&to=%22%3E", "These are no days"),
]


async def test_days_that_make_no_sense_are_told(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    for query, told in WRONG:
        for path in ("/dashboard/usage", "/dashboard/usage.csv"):
            page = await browser.get(f"{path}?{query}")
            assert page.status == 422
            assert told in page.text
            assert "<script>" not in page.text


async def test_days_at_the_ends_of_time_have_no_usage(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    for day in ("0001-01-01", "9999-12-31"):
        for by in ("day", "hour", "key", "model"):
            page = await browser.get(f"/dashboard/usage?by={by}&from={day}&to={day}")
            assert page.status == 200
            assert "chart-tokens" not in page.text


async def test_hostile_label_and_model_are_text(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    assert browser.account is not None
    for number, text in enumerate(("<img src=x onerror=alert(1)>", '"><script>alert(1)</script>')):
        key, _ = await gateway.gateway.accounts.create_key(browser.account.id, label=text)
        mine = {"account_id": browser.account.id, "key_id": key.id, "model": text}
        await write(gateway.gateway.database, [row(str(number), day=TODAY, **mine)])
    for by in ("key", "model"):
        page = await browser.get(f"/dashboard/usage?by={by}")
        assert len(table_of(page)) == 2
        assert "&lt;img src=x onerror=alert(1)&gt;" in page.text
        assert "<img src=x" not in page.text
        assert "<script>" not in page.text


async def test_usage_of_an_account_is_nobody_elses(priced: Running, log_in: LogIn) -> None:
    await used(priced, await log_in(priced))
    ben = await log_in(priced, "ben@example.org", role="admin")
    for by in ("day", "hour", "key", "model"):
        page = await ben.get(f"/dashboard/usage?by={by}&account_id=1&email=ann@example.org")
        assert sum(numbers(each)[0] for each in table_of(page)) == 0
        assert all(line["requests"] == "0" for line in await file_of(ben, f"by={by}"))


COSTS = [
    (Price(2, 10, 0.5, 2.5), 0.6 * 2 + 0.3 * 0.5 + 0.1 * 2.5 + 0.05 * 10),
    (Price(2, 10), 1.0 * 2 + 0.05 * 10),
    (Price(2, 10, 0.0, 0.0), 0.6 * 2 + 0.05 * 10),
    (Price(), 0.0),
]


@pytest.mark.parametrize(("price", "dollars"), COSTS)
def test_cached_tokens_cost_what_they_cost(price: Price, dollars: float) -> None:
    counts = Counts(1, 1_000_000, 50_000, 300_000, 100_000)
    assert cost_of(counts, price) == pytest.approx(dollars)


def test_more_cached_than_prompt_tokens_cost_nothing_twice() -> None:
    counts = Counts(prompt=100, cache_read=1_000_000)
    assert cost_of(counts, Price(1_000, 0, 1)) == pytest.approx(1.0)


def test_hours_of_today_end_with_this_one() -> None:
    day = date(2026, 3, 2)
    found = hours_of([day, day + timedelta(days=1)], at(day, 23) + 7_199)
    assert (found[0], found[-1], len(found)) == ("2026-03-02T00:00Z", "2026-03-03T00:00Z", 25)


def test_links_ask_for_the_same_but_for_one_thing() -> None:
    found = asked({"from": "2026-03-01", "to": "2026-03-02", "by": "key"}, TODAY, str)
    assert found.query(by="day") == {"by": "day", "from": "2026-03-01", "to": "2026-03-02"}
    assert found.query(period="7") == {"by": "key", "period": "7"}
    usual = asked({}, TODAY, str)
    assert usual.query() == {"by": "day", "period": "30"}
