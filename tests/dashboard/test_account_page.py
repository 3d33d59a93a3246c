"""The account: who it is, what it may, where it stands, and the look of the pages."""

from __future__ import annotations

import html

import aiohttp
import pytest

from tests.conftest import Running, Starter, toml
from tests.dashboard.conftest import Browser, LogIn
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream

PLAN = """
requests_per_minute = 60
daily_tokens = 100_000
concurrent_requests = 4
max_output_tokens = 2_000
cached_tokens_weight = 0.1
"""
HOSTILE = ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "javascript:alert(1)"]


async def name_of(running: Running, browser: Browser) -> str:
    """Return the name of who is logged in, as the database has it."""
    assert browser.account is not None
    return (await running.gateway.accounts.get_account(browser.account.id)).name


async def test_plan_and_standing_are_told_in_words(
    fake: FakeUpstream, start: Starter, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(prompt=1_000, completion=234))
    running = await start(toml(fake.base_url, extra=PLAN))
    browser = await log_in(running)
    assert browser.account is not None
    _, secret = await running.gateway.accounts.create_key(browser.account.id)
    body = {"model": "c-model", "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {secret}"}
    url = f"{running.base_url}/v1/chat/completions"
    async with http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200
    page = await browser.get("/dashboard/account")
    for text in (
        "ann@example.org",
        "60 a minute",
        "100\u2009000 a UTC day",
        "2\u2009000 tokens",
        "each counts as 0.1",
        "1\u2009234 of 100\u2009000",
        "98\u2009766",
        "59 of 60",
        'href="/dashboard/account/security"',
    ):
        assert text in page.text, text


async def test_account_without_limits_or_plan_is_told_so(gateway: Running, log_in: LogIn) -> None:
    page = await (await log_in(gateway)).get("/dashboard/account")
    assert page.text.count("no limit") == 4
    lost = await (await log_in(gateway, "ben@example.org", plan="gone")).get("/dashboard/account")
    assert lost.status == 200
    assert "Your plan is not in the configuration any more" in lost.text


async def test_name_is_changed(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    answer = await browser.post("/dashboard/account/name", {"name": " Ann B. "})
    assert answer.status == 303
    page = await browser.get(str(answer.headers["location"]))
    assert 'value="Ann B."' in page.text
    assert "Your name was changed." in page.text
    last = (await gateway.gateway.accounts.list_audit(limit=1))[0]
    assert (last.actor, last.action, last.subject) == (
        "ann@example.org",
        "account.rename",
        "ann@example.org",
    )


async def test_name_of_several_lines_is_told_at_its_field(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    page = await browser.post("/dashboard/account/name", {"name": "a\u0007b"})
    assert page.status == 422
    assert "must be one line" in page.text
    assert 'value="a\u0007b"' in page.text
    assert await name_of(gateway, browser) == ""


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_name_is_text(gateway: Running, log_in: LogIn, name: str) -> None:
    browser = await log_in(gateway)
    await browser.post("/dashboard/account/name", {"name": name})
    page = await browser.get("/dashboard/account")
    assert html.escape(name).replace("&quot;", "&#34;") in page.text
    assert "<img src=x" not in page.text
    assert "<script>" not in page.text
    assert 'href="javascript' not in page.text


async def test_fields_that_the_form_has_not_change_nothing(gateway: Running, log_in: LogIn) -> None:
    ann, ben = await log_in(gateway), await log_in(gateway, "ben@example.org")
    assert ann.account is not None
    fields = {
        "name": "Ben",
        "account_id": str(ann.account.id),
        "email": "ann@example.org",
        "role": "admin",
        "plan": "other",
        "active": "false",
    }
    assert (await ben.post("/dashboard/account/name", fields)).status == 303
    assert await name_of(gateway, ann) == ""
    assert ben.account is not None
    found = await gateway.gateway.accounts.get_account(ben.account.id)
    assert (found.name, found.role, found.plan, found.active) == ("Ben", "user", "default", True)


THEMES = [
    ("dark", "kurol-theme=dark;", ' data-theme="dark"'),
    ("light", "kurol-theme=light;", ' data-theme="light"'),
    ("", 'kurol-theme="";', ""),
    ("<script>", 'kurol-theme="";', ""),
]


@pytest.mark.parametrize(("theme", "cookie", "attribute"), THEMES)
async def test_theme_is_remembered_by_the_browser(
    gateway: Running,
    log_in: LogIn,
    http: aiohttp.ClientSession,
    theme: str,
    cookie: str,
    attribute: str,
) -> None:
    browser = await log_in(gateway)
    answer = await browser.post("/dashboard/account/theme", {"theme": theme})
    assert answer.status == 303
    assert str(answer.headers["set-cookie"]).startswith(cookie)
    assert "SameSite=Strict" in str(answer.headers["set-cookie"])
    cookies = f"kurol={browser.token}; kurol-theme={theme}"
    url = f"{gateway.base_url}/dashboard/account"
    async with http.get(url, headers={"cookie": cookies}) as page:
        assert page.status == 200
        assert f'<html lang="en"{attribute}>' in await page.text()
