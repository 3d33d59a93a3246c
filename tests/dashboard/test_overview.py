"""The overview as it is loaded: from memory, and behind a restart from the ledger."""

from __future__ import annotations

import re

import aiohttp

from kurolproxy.dashboard.pages.overview import SHOWN
from tests.conftest import Running, Starter, new_key, toml
from tests.dashboard.conftest import Browser, LogIn
from tests.dashboard.test_stream import ANN, BOB, LIMITED, call, traced
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream

PATH = "/dashboard/"


def rows(text: str, table: str = "last") -> list[dict[str, str]]:
    """Return the fields of each row of a table of the page."""
    section = text.partition(f'id="{table}"')[2].partition("</table>")[0]
    return [
        {name: value.strip() for name, value in re.findall(r'data-f="(\w+)"[^>]*>([^<]*)<', each)}
        for each in re.findall(r"<tr data-id=.*?</tr>", section, re.DOTALL)
    ]


def figures(text: str) -> dict[str, str]:
    """Return the figures of the page, without what stands between their digits."""
    found = re.findall(r'data-v="(\w+)">([^<]*)<', text)
    return {name: value.replace("\u2009", "") for name, value in found}


async def shown(browser: Browser) -> str:
    """Return the page."""
    page = await browser.get(PATH)
    assert page.status == 200
    return page.text


def hidden(text: str, name: str) -> bool:
    """Return whether a part of the page is not shown."""
    tag = re.search(f'<section[^>]*id="{name}"[^>]*>', text)
    assert tag is not None
    return tag[0].endswith(" hidden>")


async def test_fresh_account_sees_three_steps_and_no_empty_tables(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    text = await shown(browser)
    assert [hidden(text, each) for each in ("steps", "running", "last")] == [False, True, True]
    assert 'class="button primary" href="/dashboard/keys"' in text
    await new_key(gateway.gateway, ANN, "default")
    text = await shown(browser)
    assert "done" in text
    assert 'class="button primary" href="/dashboard/connect"' in text


async def test_page_shows_last_calls_and_where_the_account_stands(
    fake: FakeUpstream, start: Starter, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    running = await start(toml(fake.base_url, extra=LIMITED))
    fake.answer(chat_answer(12_345, 67))
    browser = await log_in(running)
    key = await new_key(running.gateway, ANN, "default", label="laptop")
    await call(running, http, key)
    text = await shown(browser)
    assert [hidden(text, each) for each in ("steps", "running", "last")] == [True, True, False]
    (row,) = rows(text)
    assert re.fullmatch(r"\d\d-\d\d \d\d:\d\d:\d\d", row.pop("at"))
    assert row.pop("took").endswith("s")
    assert row == {
        "model": "c-model",
        "client": "curl",
        "endpoint": "/v1/chat/completions",
        "key": "laptop",
        "prompt": "12\u2009345",
        "completion": "67",
        "status": "200",
        "outcome": "",
    }
    found = figures(text)
    assert found.pop("resets_at").endswith("00:00")
    assert int(found.pop("rpm_left")) >= 5_999
    assert found == {
        "used": "12412",
        "limit": "1000000",
        "left": "987588",
        "reserved": "0",
        "rpm_limit": "6000",
        "running_total": "0",
    }


async def test_page_without_limits_says_so(gateway: Running, log_in: LogIn) -> None:
    text = await shown(await log_in(gateway))
    assert (figures(text)["left"], figures(text)["rpm_left"]) == ("–", "–")
    assert len(re.findall(r'data-unless="\w+">no limit', text)) == 3


async def test_page_shows_the_newest_first_and_only_so_many(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    for number in range(SHOWN + 3):
        fake.answer(chat_answer(number + 1, 1))
        await call(gateway, http, key)
    prompts = [int(each["prompt"]) for each in rows(await shown(browser))]
    assert prompts == list(range(SHOWN + 3, 3, -1))


async def test_page_goes_on_where_its_stream_begins(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    assert 'data-live="/dashboard/live" data-after="0"' in await shown(browser)
    await call(gateway, http, key)
    assert browser.account is not None
    last = gateway.gateway.live.last(browser.account.id)
    assert f'data-live="/dashboard/live" data-after="{last}"' in await shown(browser)


async def test_names_are_shown_as_text(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default", label="<img src=x onerror=alert(1)>")
    await call(gateway, http, key)
    text = await shown(browser)
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text


async def test_calls_come_from_memory_without_a_statement(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    await call(gateway, http, key)
    assert await gateway.gateway.state.usage.flush()
    said: list[str] = []
    await traced(gateway, said)
    assert len(rows(await shown(browser))) == 1
    assert said == []


async def test_calls_come_from_the_ledger_behind_a_restart(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(7, 2))
    browser = await log_in(gateway)
    mine = await new_key(gateway.gateway, ANN, "default", label="laptop")
    his = await new_key(gateway.gateway, BOB, "default", label="secret of bob")
    for key in (mine, mine, his):
        await call(gateway, http, key)
    assert await gateway.gateway.state.usage.flush()
    # What a restart leaves of what is in memory.
    gateway.gateway.live.__init__()  # type: ignore[misc]
    text = await shown(browser)
    assert [(each["key"], each["prompt"], each["client"]) for each in rows(text)] == [
        ("laptop", "7", "–")
    ] * 2
    assert "bob" not in text
