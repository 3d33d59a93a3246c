"""The list of requests: what is in it, how it is filtered, and what is never in it."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest

from kurolproxy.storage.rows import UsageRow
from kurolproxy.storage.usage import import_rows
from tests.conftest import Running
from tests.dashboard.conftest import Browser, LogIn, Page
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.storage.usage_rows import row

LIST = "/dashboard/admin/requests"
PROMPT = "the very words of a prompt"
HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
async def root(gateway: Running, log_in: LogIn) -> Browser:
    return await log_in(gateway, "root@example.org", role="admin")


async def call(http: aiohttp.ClientSession, running: Running, model: str = "c-model") -> str:
    """Ask a model; return the id of the request."""
    body = {"model": model, "messages": [{"role": "user", "content": PROMPT}]}
    headers = {"authorization": f"Bearer {running.key}"}
    url = f"{running.base_url}/v1/chat/completions"
    async with http.post(url, json=body, headers=headers) as answer:
        await answer.read()
        return answer.headers["x-request-id"]


async def write(running: Running, *rows: UsageRow) -> None:
    await import_rows(running.gateway.database, rows)


def recent(number: int, **fields: Any) -> UsageRow:
    """Return a row of so many minutes ago."""
    at = datetime.now(UTC) - timedelta(minutes=number)
    return row(f"req_{number:06d}", day=at.date(), started_at=at.timestamp(), **fields)


def ids(page: Page) -> list[str]:
    """Return the requests that a page lists, in its order."""
    return re.findall(r'<tr id="([^"]+)"', page.text)


async def test_request_is_listed_and_shown_at_once_without_its_words(
    gateway: Running, root: Browser, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(prompt=20, completion=3))
    id_ = await call(http, gateway)
    listed = await root.get(LIST)
    assert ids(listed) == [id_]
    one = await root.get(f"{LIST}/{id_}")
    for page in (listed, one):
        assert "someone@example.org" in page.text
        assert "c-model" in page.text
        assert PROMPT not in page.text
        assert gateway.key not in page.text
    columns = re.findall(r"<dt>([^<]+)</dt>", one.text)
    assert len(set(columns)) >= len(UsageRow._fields) - 2


async def test_usage_that_nobody_reported_is_not_called_reported(
    gateway: Running, root: Browser
) -> None:
    await write(gateway, recent(2, status=502, prompt=0, completion=0), recent(1))
    none, reported = [(await root.get(f"{LIST}/req_{each:06d}")).text for each in (2, 1)]
    assert "<dt>Usage</dt><dd>none was reported</dd>" in none
    assert "<dt>Usage</dt><dd>as the upstream reported it</dd>" in reported


async def test_request_is_looked_up_by_its_id(gateway: Running, root: Browser) -> None:
    at = datetime.now(UTC) - timedelta(days=300)
    await write(gateway, row("req_old", day=at.date(), started_at=at.timestamp()))
    assert ids(await root.get(LIST)) == []
    found = await root.get(f"{LIST}?id=req_old")
    assert (found.status, found.headers["location"]) == (303, f"{LIST}/req_old")
    assert (await root.get(f"{LIST}/req_old")).status == 200
    missing = await root.get(f"{LIST}?id=req_none")
    assert missing.status == 404
    assert "no request of this id" in missing.text
    assert 'value="req_none"' in missing.text
    assert (await root.get(f"{LIST}/req_none")).status == 404


FILTERS = [
    ("model=claude", [2]),
    ("upstream=lab", [3]),
    ("protocol=gemini", [4]),
    ("result=failed", [5, 6]),
    ("result=5xx", [6]),
    ("result=4xx", [5]),
    ("result=gone", [5]),
    ("result=ok", [1, 2, 3, 4]),
    ("account=999", [1]),
    ("account=root@EXAMPLE.org", [2, 3, 4, 5, 6]),
    ("account=root@example.org&model=claude", [2]),
    ("model=none", []),
    ("result=nonsense", [1, 2, 3, 4, 5, 6]),
    ("key=key_other", [4]),
    ("key=playground", [3]),
]


async def test_each_filter_finds_its_requests(gateway: Running, root: Browser) -> None:
    assert root.account is not None
    own = root.account.id
    await write(
        gateway,
        recent(6, account_id=own, status=502, outcome="upstream_error"),
        recent(5, account_id=own, status=499, outcome="client_gone"),
        recent(4, account_id=own, client_protocol="gemini", key_id="key_other"),
        recent(3, account_id=own, upstream="lab", key_id="playground"),
        recent(2, account_id=own, model="claude"),
        recent(1, account_id=999),
    )
    pages = {query: await root.get(f"{LIST}?{query}") for query, _ in FILTERS}
    assert {each.status for each in pages.values()} == {200}
    assert {query: ids(page) for query, page in pages.items()} == {
        query: [f"req_{number:06d}" for number in found] for query, found in FILTERS
    }


async def test_filter_by_key_finds_its_account_first(
    gateway: Running, root: Browser, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    id_ = await call(http, gateway)
    [key] = await gateway.gateway.accounts.list_keys("someone@example.org")
    await write(gateway, recent(1))
    assert ids(await root.get(f"{LIST}?key={key.id}")) == [id_]


async def test_filter_by_time_takes_moments_in_utc(gateway: Running, root: Browser) -> None:
    await write(gateway, *(recent(number * 60) for number in (50, 40, 30, 20, 10)))
    since, until = (
        (datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M")
        for hours in (45, 15)
    )
    page = await root.get(f"{LIST}?from={since}&to={until}")
    assert ids(page) == [f"req_{hours * 60:06d}" for hours in (20, 30, 40)]
    assert f'value="{since}"' in page.text


WRONG = [
    ("from=yesterday", "This is no date"),
    ("to=2026-13-45", "This is no date"),
    ("from=0001-01-01", "This is no date"),
    ("account=nobody@example.org", "There is no account of this email"),
]


async def test_filter_that_makes_no_sense_is_told_at_its_field(root: Browser) -> None:
    for query, words in WRONG:
        page = await root.get(f"{LIST}?{query}")
        assert page.status == 422, query
        assert words in page.text
        assert f'value="{query.partition("=")[2]}"' in page.text


async def test_list_goes_on_with_older_requests(gateway: Running, root: Browser) -> None:
    await write(gateway, *(recent(number) for number in range(120, 0, -1)))
    found, path, pages = [], LIST, 0
    while path:
        page = await root.get(path)
        found += ids(page)
        pages += 1
        older = re.findall(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(older[0]) if older else ""
    assert found == [f"req_{number:06d}" for number in range(1, 121)]
    assert pages == 3


async def test_only_the_newest_list_is_live(gateway: Running, root: Browser) -> None:
    assert 'data-live="/dashboard/admin/live"' in (await root.get(LIST)).text
    for query in ("model=x", "older=5"):
        assert 'data-live="/dashboard/admin/live"' not in (await root.get(f"{LIST}?{query}")).text


async def test_requests_of_who_was_deleted_are_still_there(gateway: Running, root: Browser) -> None:
    await write(gateway, recent(1, account_id=4_711))
    page = await root.get(LIST)
    assert "deleted, no. 4711" in page.text
    assert "/dashboard/admin/accounts/4711" not in page.text


async def test_hostile_names_are_text(gateway: Running, root: Browser) -> None:
    await gateway.gateway.accounts.create_key("someone@example.org", label=HOSTILE)
    keys = await gateway.gateway.accounts.list_keys("someone@example.org")
    [key] = [each for each in keys if each.label == HOSTILE]
    hostile = recent(1, key_id=key.id, model=HOSTILE, upstream=HOSTILE, outcome=HOSTILE)
    await write(gateway, hostile)
    for path in (LIST, f"{LIST}/req_000001", f"{LIST}?model={HOSTILE}", f"{LIST}?older={HOSTILE}"):
        page = await root.get(path)
        assert page.status == 200
        assert "<img" not in page.text
        assert html.escape(HOSTILE) in page.text
