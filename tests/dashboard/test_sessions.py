"""My sessions: seen, ended, over restarts and over time; and my password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kurolproxy.app import Gateway, Surroundings
from kurolproxy.config.load import parse
from kurolproxy.dashboard.devices import device_of
from kurolproxy.policy.sessions import IDLE_S, LONGEST_S
from kurolproxy.server.state import Clock
from kurolproxy.storage.people import People
from tests.conftest import Running, Starter, cheap, toml
from tests.dashboard.conftest import (
    PASSWORD,
    Browser,
    LogIn,
    account_with_password,
    log_in_by_password,
)
from tests.fakes.upstream import FakeUpstream

Anonymous = Callable[[Running], Browser]
SECURITY = "/dashboard/account/security"
NEW = "another horse battery"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


async def logged_in(running: Running, anonymous: Anonymous, agent: str = FIREFOX) -> Browser:
    """Return somebody who logged in by his password."""
    browser = anonymous(running)
    await browser.get("/dashboard/login")
    fields = {"email": "ann@example.org", "password": PASSWORD}
    page = await browser.post("/dashboard/login", fields, **{"user-agent": agent})
    assert page.status == 303
    return browser


# --- the list -----------------------------------------------------------------------------


async def test_page_shows_my_sessions_and_nobody_elses(
    gateway: Running, anonymous: Anonymous, log_in: LogIn
) -> None:
    await account_with_password(gateway)
    mine = await logged_in(gateway, anonymous)
    await logged_in(gateway, anonymous, '<img src=x onerror="alert(1)">')
    other = await log_in(gateway, "ben@example.org")
    page = await mine.get(SECURITY)
    assert "Firefox on Linux" in page.text
    assert "&lt;img src=x onerror=" in page.text
    assert "<img" not in page.text
    assert page.text.count("session_") == 2
    assert page.text.count("this one") == 1
    assert page.text.count("127.0.0.1") == 2
    (theirs,) = gateway.gateway.sessions.of(other.account.id)  # type: ignore[union-attr]
    assert theirs.id not in page.text


def session_of(running: Running, browser: Browser) -> str:
    """Return the id of a browser's session."""
    sessions = running.gateway.sessions
    found = sessions.find(browser.token, running.gateway.state.clock.unix())
    assert found is not None
    return found.id


async def test_one_session_is_ended_and_the_others_stay(
    gateway: Running, anonymous: Anonymous
) -> None:
    await account_with_password(gateway)
    here, there, third = [await logged_in(gateway, anonymous) for _ in range(3)]
    page = await here.post(f"{SECURITY}/end", {"id": session_of(gateway, there)})
    assert (page.status, page.headers["location"]) == (303, f"{SECURITY}?done=one")
    statuses = [(await each.get(SECURITY)).status for each in (here, there, third)]
    assert statuses == [200, 303, 200]
    assert len(await gateway.gateway.database.read("SELECT 1 FROM sessions")) == 2


async def test_ending_this_session_logs_out(gateway: Running, anonymous: Anonymous) -> None:
    await account_with_password(gateway)
    here = await logged_in(gateway, anonymous)
    page = await here.post(f"{SECURITY}/end", {"id": session_of(gateway, here)})
    assert (page.status, page.headers["location"]) == (303, "/dashboard/login")
    assert here.token == ""


async def test_all_others_are_ended_at_once(gateway: Running, anonymous: Anonymous) -> None:
    await account_with_password(gateway)
    here, there, third = [await logged_in(gateway, anonymous) for _ in range(3)]
    await here.post(f"{SECURITY}/end-others")
    statuses = [(await each.get(SECURITY)).status for each in (here, there, third)]
    assert statuses == [200, 303, 303]


async def test_foreign_session_is_as_unknown_as_none(
    gateway: Running, anonymous: Anonymous, log_in: LogIn
) -> None:
    await account_with_password(gateway)
    here, other = await logged_in(gateway, anonymous), await log_in(gateway, "ben@example.org")
    for wanted in (session_of(gateway, other), "none", ""):
        assert (await here.post(f"{SECURITY}/end", {"id": wanted})).status == 404
    assert (await other.get(SECURITY)).status == 200


# --- the password -------------------------------------------------------------------------


async def test_password_is_changed_by_who_knows_it(gateway: Running, anonymous: Anonymous) -> None:
    await account_with_password(gateway)
    here, there = await logged_in(gateway, anonymous), await logged_in(gateway, anonymous)
    before = here.token
    page = await here.post(f"{SECURITY}/password", {"current": PASSWORD, "password": NEW})
    assert (page.status, page.headers["location"]) == (303, f"{SECURITY}?done=password")
    # This browser stays, with another token; all others have to log in again.
    assert here.token not in ("", before)
    assert "Your password was changed" in (await here.get(f"{SECURITY}?done=password")).text
    assert (await there.get(SECURITY)).status == 303
    here.token, now = before, here.token
    assert (await here.get(SECURITY)).status == 303
    here.token = now
    assert (await log_in_by_password(anonymous(gateway))).status == 422
    assert (await log_in_by_password(anonymous(gateway), password=NEW)).status == 303
    actions = [each.action for each in await gateway.gateway.accounts.list_audit()]
    assert "account.set-password" in actions


REFUSED = [
    ({"current": "not the password", "password": NEW}, "not your password"),
    ({"current": "", "password": NEW}, "not your password"),
    ({"password": NEW}, "not your password"),
    ({"current": PASSWORD, "password": "short"}, "at least 8 characters"),
    ({"current": PASSWORD}, "at least 8 characters"),
]


async def test_password_is_not_changed_otherwise(gateway: Running, anonymous: Anonymous) -> None:
    await account_with_password(gateway)
    here, there = await logged_in(gateway, anonymous), await logged_in(gateway, anonymous)
    for fields, text in REFUSED:
        page = await here.post(f"{SECURITY}/password", fields)
        assert page.status == 422, fields
        assert text in page.text, fields
        assert PASSWORD not in page.text
    assert (await there.get(SECURITY)).status == 200
    assert (await log_in_by_password(anonymous(gateway))).status == 303


async def test_guessing_the_current_password_is_damped(
    start: Starter, fake: FakeUpstream, anonymous: Anonymous
) -> None:
    extra = "[limits]\nfailed_logins_per_minute = 3"
    running = await start(toml(fake.base_url, extra=extra))
    await account_with_password(running)
    here = await logged_in(running, anonymous)
    fields = {"current": "not the password", "password": NEW}
    statuses = [(await here.post(f"{SECURITY}/password", fields)).status for _ in range(5)]
    assert statuses == [422] * 3 + [429] * 2
    assert (await log_in_by_password(anonymous(running))).status == 429


async def test_account_without_a_password_gets_one(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    assert "Current password" not in (await browser.get(SECURITY)).text
    assert (await browser.post(f"{SECURITY}/password", {"password": PASSWORD})).status == 303
    assert "Current password" in (await browser.get(SECURITY)).text


@pytest.mark.parametrize("verb", ["users.disable", "users.delete", "users.reset_password"])
async def test_session_ends_with_what_it_stands_on_and_who_watches_it_is_told(
    gateway: Running, anonymous: Anonymous, verb: str
) -> None:
    account = await account_with_password(gateway)
    browser = await logged_in(gateway, anonymous)
    (session,) = gateway.gateway.sessions.of(account.id)
    told: list[str] = []
    gateway.gateway.sessions.watch(session, lambda: told.append("ended"))
    args: dict[str, Any] = {"account_id": account.id}
    if verb == "users.reset_password":
        args["password_hash"] = "hash"
    await People(gateway.gateway.accounts, list).call(verb, args)
    assert told == ["ended"]
    assert (await browser.get(SECURITY)).status == 303


async def test_live_stream_ends_with_its_session(
    gateway: Running, anonymous: Anonymous, http: aiohttp.ClientSession
) -> None:
    await account_with_password(gateway)
    here, there = await logged_in(gateway, anonymous), await logged_in(gateway, anonymous)
    headers = {"cookie": f"kurol={there.token}"}
    async with http.get(f"{gateway.base_url}/dashboard/live", headers=headers) as stream:
        assert stream.status == 200
        assert stream.content_type == "text/event-stream"
        await here.post(f"{SECURITY}/end-others")
        async with asyncio.timeout(10):
            await stream.content.read()
    assert (await here.get(SECURITY)).status == 200


# --- time ---------------------------------------------------------------------------------


class Moving:
    """A clock whose seconds since 1970 a test moves on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self.clock = Clock(unix=lambda: time.time() + self.ahead_s)


Launch = Callable[[], Awaitable[Running]]


@pytest.fixture
def clock() -> Moving:
    return Moving()


@pytest.fixture
async def launch(tmp_path: Path, fake: FakeUpstream, clock: Moving) -> AsyncIterator[Launch]:
    """Yield a function that starts the gateway of one state directory, again and again."""
    text = toml(fake.base_url).replace('state_dir = "state"', f'state_dir = "{tmp_path / "s"}"')
    async with AsyncExitStack() as stack:
        log = stack.enter_context((tmp_path / "log").open("wb"))
        last: list[Gateway] = []

        async def run() -> Running:
            while last:
                await last.pop().stop()
            gateway = Gateway(
                parse(text, "test.toml", {}),
                log_fd=log.fileno(),
                clock=clock.clock,
                around=Surroundings(passwords=cheap),
            )
            await gateway.start()
            last.append(gateway)
            host, port = gateway.addresses[0]
            return Running(gateway, f"http://{host}:{port}", "", tmp_path / "log")

        yield run
        while last:
            await last.pop().stop()


async def moved(running: Running, browser: Browser) -> int:
    """Return how a page answers a browser whose gateway may have another port now."""
    browser.base_url = running.base_url
    return (await browser.get(SECURITY)).status


async def test_session_outlives_a_restart_and_its_end_does_too(
    launch: Launch, anonymous: Anonymous
) -> None:
    running = await launch()
    await account_with_password(running)
    here, there = await logged_in(running, anonymous), await logged_in(running, anonymous)
    await here.post(f"{SECURITY}/end-others")
    running = await launch()
    assert [await moved(running, each) for each in (here, there)] == [200, 303]
    assert "Firefox on Linux" in (await here.get(SECURITY)).text


async def test_session_ends_twelve_hours_after_its_last_page(
    launch: Launch, anonymous: Anonymous, clock: Moving
) -> None:
    running = await launch()
    await account_with_password(running)
    used, idle = await logged_in(running, anonymous), await logged_in(running, anonymous)
    clock.ahead_s = IDLE_S - 60
    assert await moved(running, used) == 200
    clock.ahead_s = IDLE_S + 60
    assert [await moved(running, each) for each in (used, idle)] == [200, 303]
    # When it was used is known after a restart, too.
    clock.ahead_s = 2 * IDLE_S
    running = await launch()
    assert await moved(running, used) == 200


async def test_no_session_lasts_longer_than_thirty_days(
    launch: Launch, anonymous: Anonymous, clock: Moving
) -> None:
    running = await launch()
    await account_with_password(running)
    browser = await logged_in(running, anonymous)
    step = IDLE_S - 60
    while clock.ahead_s + step < LONGEST_S:
        clock.ahead_s += step
        assert await moved(running, browser) == 200
    clock.ahead_s = LONGEST_S
    assert await moved(running, browser) == 303


async def test_what_a_page_asks_by_itself_does_not_prolong_a_session(
    launch: Launch, anonymous: Anonymous, clock: Moving
) -> None:
    running = await launch()
    account = await account_with_password(running)
    browser = await logged_in(running, anonymous)
    (before,) = running.gateway.sessions.of(account.id)
    clock.ahead_s = 600
    assert (await browser.get("/dashboard/live.json")).status == 200
    assert running.gateway.sessions.of(account.id) == [before]
    await browser.get(SECURITY)
    (after,) = running.gateway.sessions.of(account.id)
    assert after.seen_at >= before.seen_at + 600


async def test_pages_write_nothing_about_the_session(
    gateway: Running, anonymous: Anonymous
) -> None:
    await account_with_password(gateway)
    browser = await logged_in(gateway, anonymous)
    (before,) = await gateway.gateway.database.read("SELECT seen_at FROM sessions")
    for _ in range(3):
        await browser.get(SECURITY)
    (after,) = await gateway.gateway.database.read("SELECT seen_at FROM sessions")
    assert after["seen_at"] == before["seen_at"]


# --- names of browsers --------------------------------------------------------------------

MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko)"
WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = [
    (FIREFOX, ("Firefox", "Linux")),
    (f"{MAC} Version/26.0 Safari/605.1.15", ("Safari", "macOS")),
    (f"{WINDOWS} Chrome/140.0.0.0 Safari/537.36", ("Chrome", "Windows")),
    (f"{WINDOWS} Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0", ("Edge", "Windows")),
    (
        "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 Chrome/140.0 Mobile Safari/537.36",
        ("Chrome", "Android"),
    ),
    ("Mozilla/5.0 (iPhone; CPU iPhone OS 26_0 like Mac OS X) Safari/604.1", ("Safari", "iPhone")),
    ("curl/8.5.0", ("curl/8.5.0", "")),
    ("x" * 200, ("x" * 60, "")),
    ("", ("", "")),
]


@pytest.mark.parametrize(("agent", "expected"), AGENTS)
def test_browser_is_called_what_people_call_it(agent: str, expected: tuple[str, str]) -> None:
    assert device_of(agent) == expected
