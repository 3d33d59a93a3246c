"""Whose request it is behind proxies, by which name we are called, and who guesses keys."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from tests.conftest import Running, Starter, toml
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.families import FAMILIES, Hands, ask, configuration, every_family, metric
from tests.server.test_raw_http import post, talk

FORWARDED = [
    ("nothing", [], "127.0.0.1"),
    ("one", ["203.0.113.7"], "203.0.113.7"),
    ("the rightmost", ["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
    ("behind a trusted one", ["203.0.113.7, 10.1.2.3"], "203.0.113.7"),
    ("in two fields", ["203.0.113.7", "10.1.2.3"], "203.0.113.7"),
    ("all trusted", ["10.0.0.9, 10.1.2.3"], "10.0.0.9"),
    ("with a port", ["203.0.113.7:4711"], "203.0.113.7"),
    ("IPv6", ["2001:db8::7"], "2001:db8::7"),
    ("IPv6 with a port", ["[2001:db8::7]:4711"], "2001:db8::7"),
    ("IPv6 with a zone", ["fe80::7%25evil"], "fe80::7"),
    ("IPv4 in IPv6", ["::ffff:203.0.113.7"], "203.0.113.7"),
    ("trusted IPv4 in IPv6", ["203.0.113.7, ::ffff:10.1.2.3"], "203.0.113.7"),
    ("garbage", ["<script>"], "127.0.0.1"),
    ("garbage behind one", ["203.0.113.7, unknown"], "127.0.0.1"),
    ("garbage before one", ["unknown, 203.0.113.7"], "203.0.113.7"),
    ("garbage before a trusted one", ["203.0.113.7, -, 10.1.2.3"], "10.1.2.3"),
    ("commas", [",,, ,"], "127.0.0.1"),
    ("very many", [", ".join(["10.1.2.3"] * 800)], "10.1.2.3"),
]
PROXIES = 'trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8", "::1"]'


async def remote_of(running: Running, fields: list[str]) -> str:
    """Return the client's address as it is logged for one call."""
    lines = [f"X-Forwarded-For: {each}" for each in fields]
    got = await talk(running, post(running.key, b"{}", *lines, "Connection: close"))
    assert got.startswith(b"HTTP/1.1 400")
    remote: str = json.loads(running.lines().splitlines()[-1])["remote"]
    return remote


async def test_address_is_the_nearest_that_no_trusted_proxy_has(
    start: Starter, fake: FakeUpstream
) -> None:
    running = await start(toml(fake.base_url, server=PROXIES))
    seen = {name: await remote_of(running, fields) for name, fields, _ in FORWARDED}
    assert seen == {name: expected for name, _, expected in FORWARDED}


async def test_forwarded_address_of_a_stranger_does_not_count(
    start: Starter, fake: FakeUpstream, gateway: Running
) -> None:
    assert await remote_of(gateway, ["203.0.113.7"]) == "127.0.0.1"
    other = await start(toml(fake.base_url, server='trusted_proxies = ["10.0.0.0/8"]'))
    assert await remote_of(other, ["203.0.113.7"]) == "127.0.0.1"


async def test_refusals_before_a_call_are_logged_with_the_same_address(
    start: Starter, fake: FakeUpstream
) -> None:
    running = await start(toml(fake.base_url, server=PROXIES))
    request = b"GET /nothing HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.7\r\n"
    await talk(running, request + b"Connection: close\r\n\r\n")
    assert json.loads(running.lines())["remote"] == "203.0.113.7"


HOSTS = 'allowed_hosts = ["LLM.example.org", "port.example.org:8080", "[::1]"]'
NAMES = [
    ("/livez", "llm.example.org", 200),
    ("/livez", "llm.EXAMPLE.org", 200),
    ("/livez", "llm.example.org:8443", 200),
    ("/livez", "port.example.org:8080", 200),
    ("/livez", "[::1]:8080", 200),
    ("http://llm.example.org/livez", "llm.example.org", 200),
    ("/livez", "port.example.org", 421),
    ("/livez", "port.example.org:80", 421),
    ("/livez", "evil.example", 421),
    ("/livez", "llm.example.org.evil.example", 421),
    ("/livez", "evil.example:llm.example.org", 421),
    ("/livez", "llm.example.org:", 421),
    ("/livez", "llm.example.org@evil.example", 421),
    ("/livez", "<script>alert(1)</script>", 421),
    ("/livez", "", 421),
    ("http://evil.example/livez", "llm.example.org", 421),
    ("http://llm.example.org/livez", "evil.example", 421),
    ("/v1/messages", "evil.example", 421),
    ("/nothing", "evil.example", 421),
]


async def test_foreign_host_is_a_421_that_says_nothing(start: Starter, fake: FakeUpstream) -> None:
    running = await start(toml(fake.base_url, server=HOSTS))
    for path, host, status in NAMES:
        # Who was refused is not asked for more; who was served asks for the end himself.
        more = "Connection: close\r\n" if status == 200 else ""
        sent = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"
        got = await talk(running, sent.encode())
        head, _, body = got.partition(b"\r\n\r\n")
        assert (path, host, int(head.split(b" ")[1])) == (path, host, status)
        if status == 421:
            assert body == b"This host is not served here.\n"
            assert b"\r\ncontent-type: text/plain; charset=utf-8\r\n" in head
            assert b"\r\nx-should-retry: false\r\n" in head
            assert b"\r\nx-request-id: req_" in head
            assert b"evil" not in got
    refused = [name for name in NAMES if name[2] == 421]
    assert metric(running, "kurol_rejections_total", 'reason="misdirected"') == len(refused)
    assert all(json.loads(each)["status"] == 421 for each in running.lines().splitlines())


async def test_any_host_will_do_by_default_and_for_the_metrics(
    start: Starter, fake: FakeUpstream, gateway: Running, http: aiohttp.ClientSession
) -> None:
    async with http.get(gateway.base_url + "/livez", headers={"host": "evil.example"}) as got:
        assert got.status == 200
    running = await start(toml(fake.base_url, server=HOSTS))
    address = running.gateway.metrics_address
    async with http.get(f"http://{address}/metrics") as got:
        assert got.status == 200


LIMIT = 30
WRONG = "sk-kurol-" + "w" * 43


@pytest.fixture
async def behind(start: Starter, fake: FakeUpstream) -> Running:
    fake.always(chat_answer())
    return await start(configuration(fake.base_url, server=PROXIES))


async def test_wrong_keys_are_401_and_then_429_whatever_the_route(
    behind: Running, http: aiohttp.ClientSession
) -> None:
    statuses = []
    for each in range(300):
        family = FAMILIES[each % len(FAMILIES)]
        got = await ask(http, behind, f"{WRONG}{each}", family)
        statuses.append(got.status)
    assert statuses == [401] * LIMIT + [429] * (300 - LIMIT)
    # The same count for what has no model.
    for path in ("/v1/models", "/v1beta/models", "/v1/usage", "/v1/models/x"):
        async with http.get(behind.base_url + path, headers={"x-api-key": WRONG}) as other:
            assert other.status == 429
    assert metric(behind, "kurol_requests_total", 'outcome="too_many_failures"') == 270
    assert len(behind.gateway.state.damping) == 1


TYPES = {
    "openai-chat": {"type": "rate_limit_error", "code": "too_many_failures"},
    "openai-responses": {"type": "rate_limit_error", "code": "too_many_failures"},
    "anthropic": {"type": "rate_limit_error"},
    "gemini": {"code": 429, "status": "RESOURCE_EXHAUSTED"},
}


@every_family
async def test_429_of_a_wrong_key_says_that_waiting_is_all_that_helps(
    family: ProtocolName, behind: Running, http: aiohttp.ClientSession
) -> None:
    for _ in range(LIMIT):
        assert (await ask(http, behind, WRONG, family)).status == 401
    got = await ask(http, behind, WRONG, family)
    assert got.advice == ("60", "false")
    assert TYPES[family].items() <= got.json["error"].items()
    assert WRONG not in got.body.decode()
    assert WRONG not in behind.lines()


async def test_right_key_no_key_and_other_addresses_are_served_as_before(
    behind: Running, http: aiohttp.ClientSession
) -> None:
    async def status(key: str, **headers: str) -> int:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return (await ask(http, behind, key, "openai-chat", headers=named)).status

    for _ in range(LIMIT + 1):
        await status(WRONG)
    assert await status(WRONG) == 429
    assert await status(behind.key) == 200
    assert await status("") == 401
    assert await status(WRONG, x_forwarded_for="203.0.113.7") == 401
    assert await status(WRONG, x_forwarded_for="203.0.113.7, 127.0.0.1") == 401


async def test_count_begins_anew_after_a_minute(
    behind: Running, http: aiohttp.ClientSession
) -> None:
    hands = Hands(behind)
    for _ in range(LIMIT):
        await ask(http, behind, WRONG, "anthropic")
    assert (await ask(http, behind, WRONG, "anthropic")).status == 429
    hands.move(60)
    assert (await ask(http, behind, WRONG, "anthropic")).status == 401


async def test_stranger_cannot_dodge_the_count_with_a_forwarded_address(
    gateway: Running, http: aiohttp.ClientSession
) -> None:
    async def guess(each: int) -> int:
        headers = {"x-forwarded-for": f"203.0.113.{each}", "x-api-key": f"{WRONG}{each}"}
        async with http.get(gateway.base_url + "/v1/models", headers=headers) as got:
            return got.status

    statuses = await asyncio.gather(*(guess(each) for each in range(100)))
    assert sorted(statuses) == [401] * LIMIT + [429] * (100 - LIMIT)


async def test_token_of_the_metrics_is_no_easier_to_guess(
    start: Starter, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    text = toml(fake.base_url).replace("[metrics]", '[metrics]\ntoken = "scrape"')
    text += "\n[limits]\nfailed_logins_per_minute = 2\n"
    running = await start(text)

    async def status(token: str) -> int:
        headers = {"authorization": f"Bearer {token}"}
        async with http.get(running.base_url + "/metrics", headers=headers) as got:
            return got.status

    statuses = [await status(each) for each in ("a", "b", "c", "", "scrape")]
    assert statuses == [401, 401, 429, 401, 200]
