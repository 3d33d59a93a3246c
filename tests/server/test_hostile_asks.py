"""Requests that would lead us elsewhere, and credentials where they do not belong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from kurolproxy.ir import ProtocolName
from tests.conftest import PLANTED_KEY, Running, Starter
from tests.fakes.answers import SECRET
from tests.fakes.upstream import FakeUpstream
from tests.pairs.vendors import Turn, vendor
from tests.server.families import (
    FAMILIES,
    USAGE,
    ask,
    configuration,
    every_family,
    get,
    model_of,
    request,
)
from tests.server.test_hostile_bodies import sent
from tests.server.test_raw_http import talk


@pytest.fixture
async def running(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(vendor(Turn(words=("Hello.",), usage=USAGE)))
    return await start(configuration(fake.base_url))


@dataclass(slots=True)
class Canary:
    """A port that nobody may connect to."""

    url: str
    connections: int = 0


@pytest.fixture
async def canary() -> AsyncIterator[Canary]:
    async def sing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        writer.close()

    server = await asyncio.start_server(sing, "127.0.0.1", 0)
    found = Canary(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/x.png")
    async with server:
        yield found


def with_urls(family: ProtocolName, url: str) -> dict[str, Any]:
    """Return what a family can say with a URL in it: an image, a file, a document."""
    match family:
        case "openai-chat":
            parts = [
                {"type": "text", "text": f"look at {url}"},
                {"type": "image_url", "image_url": {"url": url}},
            ]
            return {"messages": [{"role": "user", "content": parts}]}
        case "openai-responses":
            parts = [
                {"type": "input_image", "image_url": url},
                {"type": "input_file", "file_url": url},
            ]
            return {"input": [{"role": "user", "content": parts}]}
        case "anthropic":
            parts = [
                {"type": "image", "source": {"type": "url", "url": url}},
                {"type": "document", "source": {"type": "url", "url": url}},
            ]
            return {"messages": [{"role": "user", "content": parts}]}
        case "gemini":
            named = {"mimeType": "image/png", "fileUri": url}
            return {"contents": [{"role": "user", "parts": [{"fileData": named}]}]}


@every_family
@pytest.mark.parametrize("upstream", FAMILIES)
async def test_urls_of_a_prompt_are_not_fetched(
    upstream: ProtocolName,
    family: ProtocolName,
    running: Running,
    canary: Canary,
    http: aiohttp.ClientSession,
) -> None:
    said = with_urls(family, canary.url)
    _, body = request(family, model_of(upstream))
    got = await ask(
        http,
        running,
        running.key,
        family,
        model=model_of(upstream),
        sent=json.dumps({**body, **said}).encode(),
    )
    # Chat has no files by URL: what cannot be said is refused, not fetched.
    files = upstream == "openai-chat" and family in ("openai-responses", "anthropic")
    assert got.status == (400 if files else 200)
    await asyncio.sleep(0.01)
    assert canary.connections == 0


@every_family
async def test_no_field_and_no_header_leads_a_request_elsewhere(
    family: ProtocolName,
    running: Running,
    fake: FakeUpstream,
    canary: Canary,
    http: aiohttp.ClientSession,
) -> None:
    host = canary.url.split("/")[2]
    body = sent(
        family,
        api_base=canary.url,
        base_url=canary.url,
        api_key="sk-other",
        user_config={"api_base": canary.url},
        custom_llm_provider=canary.url,
        extra_headers={"host": host},
    )
    headers = {
        "x-portkey-custom-host": canary.url,
        "x-forwarded-host": host,
        "x-forwarded-for": "127.0.0.1",
        "forwarded": f"host={host}",
        "x-original-url": canary.url,
        "x-base-url": canary.url,
        "helicone-target-url": canary.url,
        "cookie": "session=1",
        "host": host,
    }
    got = await ask(http, running, running.key, family, headers=headers, sent=body)
    assert got.status == 200
    assert canary.connections == 0
    for name in headers:
        assert name == "host" or fake.last.header(name) is None
    assert fake.last.header("host") == fake.base_url.removeprefix("http://")
    assert running.key not in str(fake.last.headers)


@every_family
async def test_different_credentials_are_taken_in_order_and_the_same_twice_is_a_400(
    family: ProtocolName, running: Running, http: aiohttp.ClientSession
) -> None:
    path, body = request(family, model_of(family))
    data = json.dumps(body)
    other = "sk-kurol-" + "x" * 43

    async def status(*headers: tuple[str, str]) -> int:
        said = [("content-type", "application/json"), *headers]
        async with http.post(running.base_url + path, data=data, headers=said) as got:
            return got.status

    good, bad = f"Bearer {running.key}", f"Bearer {other}"
    for name, value in (("authorization", good), ("x-api-key", running.key)):
        assert await status((name, value), (name, value)) == 400
    assert await status(("authorization", good), ("authorization", bad)) == 400
    assert await status(("authorization", good), ("x-api-key", other)) == 200
    assert await status(("authorization", bad), ("x-api-key", running.key)) == 401
    assert await status(("x-api-key", running.key), ("x-goog-api-key", other)) == 200


QUERY = [
    ("POST", "/v1/chat/completions", 401),
    ("POST", "/v1/responses", 401),
    ("POST", "/v1/messages", 401),
    ("POST", "/v1/messages/count_tokens", 401),
    ("GET", "/v1/usage", 401),
    ("GET", "/v1/models", 200),
    ("GET", "/v1beta/models", 200),
    ("GET", "/v1beta/models/m-gemini", 200),
    ("POST", "/v1beta/models/m-gemini:generateContent", 200),
    ("POST", "/v1/models/m-gemini:generateContent", 200),
]


async def test_key_in_the_query_counts_on_geminis_routes_and_is_logged_nowhere(
    running: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    _, body = request("gemini", "m-gemini")
    statuses = []
    for method, path, _ in QUERY:
        url = f"{running.base_url}{path}?key={running.key}"
        async with http.request(method, url, json=body if method == "POST" else None) as got:
            statuses.append((method, path, got.status))
            assert running.key not in await got.text()
    assert statuses == QUERY
    for evil in ("%0d%0aX-Evil:%201", "%00", "%ff", "%ed%a0%80", "<script>", "x" * 5_000):
        got = await talk(
            running,
            f"GET /v1/models?key={evil} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode(),
        )
        assert got.startswith(b"HTTP/1.1 401 ")
        assert b"x-evil" not in got.lower()
        assert b"script" not in got
    assert running.key not in running.lines()
    assert all(running.key not in each.path for each in fake.requests)


async def test_metrics_stand_on_a_listener_of_this_machine_alone(
    start: Starter, fake: FakeUpstream, running: Running, http: aiohttp.ClientSession
) -> None:
    address = running.gateway.metrics_address
    assert address is not None
    assert address.host == "127.0.0.1"
    for path in ("/metrics", "/metrics/", "//metrics", "/v1/metrics"):
        assert (await get(http, running, path, {})).status == 404
    headers = {"authorization": f"Bearer {running.key}"}
    assert (await get(http, running, "/metrics", headers)).status == 404
    async with http.get(f"http://{address}/metrics") as got:
        text = await got.text()
        assert got.status == 200
    for secret in (running.key, PLANTED_KEY, SECRET, "someone@example.org"):
        assert secret not in text
    async with http.get(f"http://{address}/v1/models", headers=headers) as got:
        assert got.status == 404
