"""The live feed over real sockets: what arrives, how soon, at whom, and when it ends."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from kurolproxy.dashboard import feeds
from kurolproxy.dashboard.feeds import PERIOD_S, QUIET_S, SWEEP_S, TooManyViewers
from kurolproxy.live import OF_ACCOUNT
from kurolproxy.storage.changes import AccountChange
from tests.conftest import Running, Starter, new_key, toml
from tests.dashboard.conftest import Browser, LogIn
from tests.dashboard.watching import ALL, OWN, Heard, watching
from tests.fakes.answers import chat_answer, frame, stream_answer
from tests.fakes.upstream import FakeUpstream

ANN = "ann@example.org"
BOB = "bob@example.org"
LIMITED = """
daily_tokens = 1_000_000
requests_per_minute = 6_000
"""


async def call(
    running: Running,
    http: aiohttp.ClientSession,
    key: str,
    *,
    stream: bool = False,
    agent: str = "curl/8.5.0",
) -> bytes:
    """Make a call and return its whole answer."""
    body = {"model": "c-model", "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    headers = {"authorization": f"Bearer {key}", "user-agent": agent}
    url = f"{running.base_url}/v1/chat/completions"
    async with http.post(url, json=body, headers=headers) as answer:
        assert answer.status == 200
        return await answer.read()


def watch(browser: Browser, path: str = OWN, **headers: str) -> Any:
    """Open the stream of a browser."""
    return watching(browser.session, browser.base_url, browser.token, path, **headers)


def last(running: Running, browser: Browser) -> int:
    """Return the number of the last call of a browser's account."""
    assert browser.account is not None
    return running.gateway.live.last(browser.account.id)


def piece(text: str) -> bytes:
    """Return one piece of a Chat stream."""
    return frame(
        {"id": "1", "model": "plain", "choices": [{"index": 0, "delta": {"content": text}}]}
    )


STOP = frame(
    {"id": "1", "model": "plain", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
)
END = [
    STOP,
    frame(
        {
            "id": "1",
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 99, "total_tokens": 106},
        }
    ),
    frame("[DONE]"),
]


# --- what arrives -----------------------------------------------------------------------


async def test_stream_begins_with_how_things_stand(
    fake: FakeUpstream, start: Starter, log_in: LogIn
) -> None:
    running = await start(toml(fake.base_url, extra=LIMITED))
    browser = await log_in(running)
    async with watch(browser) as heard:
        await heard.until(lambda: bool(heard.updates))
    assert heard.status == 200
    assert heard.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert heard.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in heard.headers["content-security-policy"]
    day = running.gateway.state.clock.today()
    assert abs(heard.last.pop("now") - running.gateway.state.clock.unix()) < 60
    assert heard.last.pop("resets_at").endswith("T00:00:00Z")
    assert heard.last == {
        "seq": 0,
        "day": day.isoformat(),
        "used": 0,
        "reserved": 0,
        "limit": 1_000_000,
        "rpm_limit": 6_000,
        "rpm_left": 6_000,
        "running": [],
        "running_total": 0,
        "finished": [],
        "missed": 0,
    }


async def test_finished_request_arrives_at_once(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer(5, 3))
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default", label="laptop")
    delays = []
    loop = asyncio.get_running_loop()
    async with watch(browser) as heard:
        for number in range(1, 4):
            await asyncio.sleep(PERIOD_S + 0.05)
            began = loop.time()
            await call(gateway, http, key)
            await heard.until(lambda number=number: len(heard.finished) == number)
            delays.append(loop.time() - began)
        used = heard.last["used"]
    assert max(delays) < 10.0
    # One for the beginning; of a call as short as these its end alone is told.
    assert len(heard.updates) < 1 + 2 * 3
    print(f"call made to row seen: {max(delays) * 1e3:.0f} ms at most")
    row = heard.finished[0]
    assert heard.updates[-1][0] == str(heard.last["seq"])
    assert row.pop("seq") == heard.last["seq"] - 2
    assert row.pop("id").startswith("req_")
    assert row.pop("key") in {each.id for each in await gateway.gateway.accounts.list_keys(ANN)}
    assert abs(row.pop("at") - gateway.gateway.state.clock.unix()) < 60
    assert 0 <= row.pop("ms") < 10_000
    assert row == {
        "model": "c-model",
        "endpoint": "/v1/chat/completions",
        "client": "curl",
        "key_label": "laptop",
        "status": 200,
        "outcome": "ok",
        "prompt": 5,
        "completion": 3,
        "cache_read": 0,
        "charged": 8,
        "ttft_ms": None,
        "streamed": False,
    }
    assert used == 24


async def test_tokens_of_a_running_stream_grow_before_it_ends(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    enough = asyncio.Event()
    slowly = [step for _ in range(8) for step in (piece("many words " * 20), 0.25)]
    fake.answer(stream_answer([*slowly, enough, *END]))
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    async with watch(browser) as heard:
        asked = asyncio.create_task(call(gateway, http, key, stream=True, agent="claude-cli/2.0"))
        await heard.until(lambda: len({each["completion"] for each in heard.running}) >= 3)
        assert heard.finished == []
        assert heard.last["reserved"] == 0
        enough.set()
        await asked
        await heard.until(lambda: len(heard.finished) == 1)
        await heard.until(lambda: not heard.last["running"])
    seen = [each["completion"] for each in heard.running]
    assert seen == sorted(seen)
    first = heard.running[0]
    assert (first["model"], first["client"]) == ("c-model", "claude-code")
    assert first["endpoint"] == "/v1/chat/completions"
    assert first["prompt"] > 0
    assert heard.running[-1]["id"] == heard.finished[0]["id"]
    assert (heard.finished[0]["prompt"], heard.finished[0]["completion"]) == (7, 99)


async def test_failed_call_is_told_with_its_outcome(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    async with watch(browser) as heard:
        with pytest.raises(AssertionError):
            await call(gateway, http, key)
        await heard.until(lambda: len(heard.finished) == 1)
        await heard.until(lambda: not heard.last["running"])
    row = heard.finished[0]
    assert (row["status"], row["outcome"], row["charged"]) == (502, "upstream_error", 0)


async def test_never_more_than_two_updates_a_second_and_no_call_is_lost(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    count = 300

    async def client() -> None:
        for _ in range(count // 10):
            await call(gateway, http, key)

    async with watch(browser) as heard:
        await asyncio.gather(*(client() for _ in range(10)))
        await heard.until(lambda: heard.last["seq"] == last(gateway, browser))
        seen = len(heard.finished) + sum(update["missed"] for _, _, update in heard.updates)
    assert seen == count
    times = [at for _, at, _ in heard.updates]
    # The reader shares the loop with all of it: what matters is the mean.
    assert len(times) - 1 <= (times[-1] - times[0]) / PERIOD_S + 1
    assert all(len(update["finished"]) <= OF_ACCOUNT for _, _, update in heard.updates)


async def test_who_has_just_come_is_told_no_oftener(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    async with watch(browser), watch(browser) as heard:
        await heard.until(lambda: bool(heard.updates))
        await call(gateway, http, key)
        await heard.until(lambda: len(heard.updates) == 2)
    (_, first, _), (_, second, _) = heard.updates
    assert second - first > PERIOD_S / 2
    assert len(heard.finished) == 1


# --- whose calls they are (faults 70) ----------------------------------------------------


async def test_calls_of_other_accounts_never_appear(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    enough = asyncio.Event()
    fake.answer(stream_answer([piece("hi"), enough, *END]))
    fake.always(chat_answer())
    ann, bob = await log_in(gateway, ANN), await log_in(gateway, BOB)
    admin = await log_in(gateway, "root@example.org", role="admin")
    key = await new_key(gateway.gateway, BOB, "default")
    async with watch(ann) as hers, watch(bob) as his, watch(admin, ALL) as everybodys:
        asked = asyncio.create_task(call(gateway, http, key, stream=True))
        await his.until(lambda: bool(his.running))
        await everybodys.until(lambda: bool(everybodys.running))
        for _ in range(3):
            await call(gateway, http, key)
        enough.set()
        await asked
        await his.until(lambda: len(his.finished) == 4)
        await everybodys.until(lambda: len(everybodys.finished) == 4)
        await asyncio.sleep(PERIOD_S)
        polled = json.loads((await ann.get(f"{OWN}.json")).text)
    assert hers.finished == hers.running == []
    assert [update["seq"] for _, _, update in hers.updates] == [0]
    assert (polled["finished"], polled["running"], polled["seq"]) == ([], [], 0)
    assert {each["account"] for each in everybodys.finished} == {BOB}
    assert {each["account"] for each in everybodys.running} == {BOB}
    assert {each["upstream"] for each in everybodys.finished} == {"chat"}
    assert all("account" not in each and "upstream" not in each for each in his.finished)


@pytest.mark.parametrize("path", [ALL, f"{ALL}.json"])
async def test_feed_of_all_accounts_is_for_admins(
    gateway: Running, log_in: LogIn, path: str
) -> None:
    page = await (await log_in(gateway)).get(path)
    assert page.status == 403


@pytest.mark.parametrize("path", [OWN, f"{OWN}.json", ALL, f"{ALL}.json"])
async def test_strangers_and_keys_see_no_feed(
    gateway: Running, anonymous: Callable[[Running], Browser], path: str
) -> None:
    key = await new_key(gateway.gateway, ANN, "default")
    for headers in ({}, {"authorization": f"Bearer {key}"}):
        page = await anonymous(gateway).get(path, **headers)
        assert page.status == 303


async def test_key_that_was_made_up_as_an_id_shows_everything_that_is_kept(
    gateway: Running, log_in: LogIn
) -> None:
    browser = await log_in(gateway)
    for number in ("9" * 16, "9" * 300, "-1", "x", "٣", ""):
        page = await browser.get(f"{OWN}.json?after={number}")
        assert page.status == 200
        assert json.loads(page.text)["finished"] == []


# --- coming back ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["header", "query", "polling"])
async def test_who_comes_back_is_told_what_ended_meanwhile(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession, way: str
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    for _ in range(3):
        await call(gateway, http, key)
    first = json.loads((await browser.get(f"{OWN}.json")).text)
    assert len(first["finished"]) == 3
    known = str(first["seq"])
    for _ in range(2):
        await call(gateway, http, key)
    if way == "polling":
        update = json.loads((await browser.get(f"{OWN}.json?after={known}")).text)
    else:
        query = f"?after={known}" if way == "query" else ""
        headers = {"last-event-id": known} if way == "header" else {}
        async with watch(browser, OWN + query, **headers) as heard:
            await heard.until(lambda: bool(heard.updates))
        update = heard.last
    assert [each["seq"] for each in update["finished"]] == [int(known) + 1, int(known) + 2]
    assert (update["missed"], update["seq"]) == (0, int(known) + 2)


async def test_who_was_away_for_too_long_hears_how_much_was_missed(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    await call(gateway, http, key)
    known = json.loads((await browser.get(f"{OWN}.json")).text)["seq"]
    for _ in range(OF_ACCOUNT + 7):
        await call(gateway, http, key)
    update = json.loads((await browser.get(f"{OWN}.json?after={known}")).text)
    assert (len(update["finished"]), update["missed"]) == (OF_ACCOUNT, 7)


async def test_asking_now_and_then_keeps_no_session_awake(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    sessions = gateway.gateway.sessions
    (session,) = sessions.all()
    sessions.put(replace(session, seen_at=session.seen_at - 100.0))
    (asleep,) = sessions.all()
    assert (await browser.get(f"{OWN}.json")).status == 200
    async with watch(browser) as heard:
        await heard.until(lambda: bool(heard.updates))
    assert list(sessions.all()) == [asleep]


# --- when it ends ---------------------------------------------------------------------------


async def _log_out(running: Running, _: Browser) -> None:
    sessions = running.gateway.sessions
    for each in list(sessions.all()):
        sessions.remove(each)


async def _fall_asleep(running: Running, _: Browser) -> None:
    sessions = running.gateway.sessions
    for each in list(sessions.all()):
        sessions.put(replace(each, seen_at=0.0))


async def _disable(running: Running, browser: Browser) -> None:
    assert browser.account is not None
    await running.gateway.accounts.disable(browser.account.email)


async def _demote(running: Running, browser: Browser) -> None:
    accounts = running.gateway.accounts
    assert browser.account is not None
    await accounts.change(browser.account.email, AccountChange(role="user"))


async def _delete(running: Running, browser: Browser) -> None:
    assert browser.account is not None
    await running.gateway.accounts.delete(browser.account.email)


async def _switch_off(running: Running, _: Browser) -> None:
    # What a reload does.
    config = running.gateway.config
    running.gateway.config = replace(config, dashboard=replace(config.dashboard, enabled=False))


async def another_admin(running: Running) -> None:
    """See to it that an admin may go."""
    await running.gateway.accounts.create_account("another@example.org", "default", role="admin")


ENDS: list[tuple[str, Callable[[Running, Browser], Awaitable[None]], str]] = [
    ("logout", _log_out, OWN),
    ("idle", _fall_asleep, OWN),
    ("disabled", _disable, OWN),
    ("deleted", _delete, OWN),
    ("demoted", _demote, ALL),
    ("switched off", _switch_off, OWN),
]


@pytest.mark.parametrize(("end", "path"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS])
async def test_stream_ends_when_its_viewer_may_not_look_any_more(
    gateway: Running,
    log_in: LogIn,
    end: Callable[[Running, Browser], Awaitable[None]],
    path: str,
) -> None:
    await another_admin(gateway)
    # Who logs out is not found by the sweep: it is told.
    gateway.gateway.feeds.sweep_s = 60.0 if end is _log_out else 0.1
    browser = await log_in(gateway, role="admin")
    async with watch(browser, path) as heard:
        await heard.until(lambda: bool(heard.updates))
        await end(gateway, browser)
        await heard.until(lambda: heard.ended)
    assert (await browser.get(f"{path}.json")).status in (303, 403, 404)


def test_feeds_are_swept_and_give_signs_of_life_often_enough() -> None:
    assert (PERIOD_S, SWEEP_S, QUIET_S) == (0.5, 2.0, 15.0)


async def test_demoted_admin_goes_on_to_see_his_own_calls(gateway: Running, log_in: LogIn) -> None:
    await another_admin(gateway)
    gateway.gateway.feeds.sweep_s = 0.1
    browser = await log_in(gateway, role="admin")
    async with watch(browser, ALL) as everybodys, watch(browser) as own:
        await own.until(lambda: bool(own.updates))
        await gateway.gateway.accounts.change(ANN, AccountChange(role="user"))
        await everybodys.until(lambda: everybodys.ended)
        assert not own.ended


async def test_nothing_is_told_between_a_logout_and_the_end(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    async with watch(browser) as heard:
        await heard.until(lambda: bool(heard.updates))
        await _fall_asleep(gateway, browser)
        await call(gateway, http, key)
        await heard.until(lambda: heard.ended)
    assert heard.finished == []


async def test_viewers_do_not_hold_up_the_end_of_the_gateway(
    fake: FakeUpstream, start: Starter, log_in: LogIn
) -> None:
    running = await start(toml(fake.base_url))
    gateway, loop = running.gateway, asyncio.get_running_loop()
    browser = await log_in(running)
    async with watch(browser) as heard:
        await heard.until(lambda: bool(heard.updates))
        assert gateway.status()["requests_in_flight"] == 0
        began = loop.time()
        await gateway.leave(asyncio.Event())
        took_s = loop.time() - began
        await heard.until(lambda: heard.ended)
    # What a connection gets that does not end by itself is 2 s.
    print(f"left with a viewer in {took_s * 1e3:.0f} ms")
    assert took_s < 1.5


# --- how many, and how slow -------------------------------------------------------------------


async def test_too_many_streams_of_an_account_are_refused_and_may_ask_instead(
    gateway: Running, log_in: LogIn
) -> None:
    browser, other = await log_in(gateway, ANN), await log_in(gateway, BOB)
    async with AsyncExitStack() as stack:
        heard = [await stack.enter_async_context(watch(browser)) for _ in range(20)]
        for each in heard:
            await each.until(lambda each=each: bool(each.updates))
        async with asyncio.timeout(10.0):
            refused = await browser.get(OWN)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert (await browser.get(f"{OWN}.json")).status == 200
        async with watch(other) as his:
            await his.until(lambda: bool(his.updates))
    await heard[0].until(lambda: not len(gateway.gateway.feeds))
    async with watch(browser) as again:
        await again.until(lambda: bool(again.updates))


async def test_who_leaves_is_forgotten_with_his_feed(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    watched = gateway.gateway.feeds
    async with watch(browser) as heard:
        await heard.until(lambda: bool(heard.updates))
        assert len(watched) == 1
    await heard.until(lambda: not len(watched))
    assert watched._feeds == {}
    assert watched._sweeping is None
    assert gateway.gateway.live._watchers == {}
    assert gateway.gateway.sessions._watchers == {}


async def test_nobody_enters_a_gateway_that_leaves(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    gateway.gateway.feeds.close()
    async with asyncio.timeout(10.0):
        assert (await browser.get(OWN)).status == 503
    with pytest.raises(TooManyViewers):
        gateway.gateway.feeds.check_room(1)


@asynccontextmanager
async def narrow(running: Running, browser: Browser) -> AsyncIterator[tuple[socket.socket, Any]]:
    """Watch with a socket that takes little, and yield it with the gateway's end of it."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        # What the kernel holds on both sides is not to be filled first.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2_048)
        client.setblocking(False)
        await loop.sock_connect(client, running.gateway.addresses[0])
        await loop.sock_sendall(client, raw(browser, "1.0"))
        assert (await loop.sock_recv(client, 4_096)).startswith(b"HTTP/1.0 200")
        (transport,) = [
            each.transport
            for each in running.gateway.connections()
            if each.transport is not None
            and each.transport.get_extra_info("peername") == client.getsockname()
        ]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_048)
        yield client, transport


async def test_who_does_not_read_holds_little_and_then_sees_the_newest_state(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    browser = await log_in(gateway)
    key = await new_key(gateway.gateway, ANN, "default")
    loop = asyncio.get_running_loop()
    updates: list[dict[str, Any]] = []
    async with narrow(gateway, browser) as (client, transport):
        most = 0
        for _ in range(5):
            for _ in range(OF_ACCOUNT):
                await call(gateway, http, key)
            await asyncio.sleep(PERIOD_S)
            most = max(most, transport.get_write_buffer_size())
        assert 0 < most < 16_384 + 400 * OF_ACCOUNT
        rest = b""
        async with asyncio.timeout(10.0):
            while not updates or updates[-1]["seq"] != last(gateway, browser):
                rest += await loop.sock_recv(client, 65_536)
                *events, rest = rest.split(b"\n\n")
                told = [each.partition(b"data: ")[2] for each in events]
                updates += [json.loads(each) for each in told if each]
    seen = sum(len(each["finished"]) + each["missed"] for each in updates)
    assert seen == 5 * OF_ACCOUNT
    assert any(each["missed"] for each in updates)
    assert updates[-1]["used"] == 2 * 5 * OF_ACCOUNT


async def test_who_takes_nothing_for_too_long_is_hung_up_on(
    fake: FakeUpstream, start: Starter, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    limits = "[limits]\nstalled_reader_timeout_s = 1\n"
    running = await start(toml(fake.base_url).replace("[metrics]", f"{limits}[metrics]", 1))
    browser = await log_in(running)
    key = await new_key(running.gateway, ANN, "default")
    async with narrow(running, browser):
        for _ in range(3):
            for _ in range(OF_ACCOUNT):
                await call(running, http, key)
            await asyncio.sleep(PERIOD_S)
        async with asyncio.timeout(20.0):
            while len(running.gateway.feeds):  # noqa: ASYNC110  # there is no event for it
                await asyncio.sleep(0.05)


async def test_who_is_quiet_hears_signs_of_life(
    gateway: Running, log_in: LogIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "QUIET_S", 0.2)
    gateway.gateway.feeds.sweep_s = 0.1
    async with watch(await log_in(gateway)) as heard:
        await heard.until(lambda: heard.comments >= 2)
    assert len(heard.updates) == 1


def raw(browser: Browser, version: str) -> bytes:
    """Return a request of the stream as bytes."""
    lines = [f"GET {OWN} HTTP/{version}", "host: localhost", f"cookie: kurol={browser.token}"]
    return "\r\n".join([*lines, "", ""]).encode()


async def test_head_says_what_there_is_and_ends(gateway: Running, log_in: LogIn) -> None:
    browser = await log_in(gateway)
    headers = {"cookie": f"kurol={browser.token}"}
    async with browser.session.head(gateway.base_url + OWN, headers=headers) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
    assert len(gateway.gateway.feeds) == 0


# --- what it costs ----------------------------------------------------------------------------


async def traced(running: Running, said: list[str]) -> None:
    """Have every statement of the gateway's connections noted."""
    database = running.gateway.database
    for connection in (database._writer, database._reader):
        await connection.set_trace_callback(said.append)
    for lane in (database._bulk, database._reports):
        await lane.run(lambda db: db.set_trace_callback(said.append))


IMPORT = (
    "BEGIN",
    "COMMIT",
    "PRAGMA wal_checkpoint",
    "SELECT request_id FROM usage",
    "INSERT INTO usage ",
    "INSERT INTO usage_daily",
    "INSERT INTO usage_hourly",
)


async def test_no_statement_but_the_import_runs_while_100_watch_1000_calls(
    gateway: Running, fake: FakeUpstream, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    fake.always(chat_answer())
    viewers = [await log_in(gateway, f"{number}@example.org") for number in range(10)]
    keys = [
        await new_key(gateway.gateway, f"{number}@example.org", "default") for number in range(10)
    ]
    said: list[str] = []
    await traced(gateway, said)
    async with AsyncExitStack() as stack:
        heard: list[Heard] = []
        wide = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar()
            )
        )
        for number in range(100):
            who = viewers[number % 10]
            heard.append(await stack.enter_async_context(watching(wide, who.base_url, who.token)))

        async def client(key: str) -> None:
            for _ in range(100):
                await call(gateway, http, key)

        await asyncio.gather(*map(client, keys))
        for number, each in enumerate(heard):
            seq = last(gateway, viewers[number % 10])
            await each.until(lambda each=each, seq=seq: each.last["seq"] == seq)
        assert await gateway.gateway.state.usage.flush()
    others = {each for each in said if not each.startswith(IMPORT)}
    assert others == set()
    assert sum(each.startswith("INSERT INTO usage ") for each in said) >= 20
    for each in heard:
        assert (
            sum(len(update["finished"]) + update["missed"] for _, _, update in each.updates) == 100
        )
