"""The rate-limit headers of the caller's own dialect, on everything that a key may ask."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from kurolproxy.errors import TooManyFailures
from kurolproxy.ir import ProtocolName
from kurolproxy.server.headers import error_headers
from tests.conftest import Running, Starter
from tests.fakes.answers import Answer, failure, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.pairs.vendors import Turn, begun, frames, vendor
from tests.server.families import (
    LIMIT_HEADERS,
    USAGE,
    Got,
    Hands,
    ask,
    both_ways,
    configuration,
    every_family,
    get,
    model_of,
    plan,
    received,
    request,
)

PLANS = "".join(
    (
        plan("both", requests_per_minute=60, daily_tokens=100_000, models=["m-*"]),
        plan("requests", requests_per_minute=60),
        plan("tokens", daily_tokens=100_000),
    )
)
TURN = Turn(words=("Hello",), usage=USAGE)
OTHERS: Mapping[str, str] = {
    "x-ratelimit-limit-requests": "4711",
    "x-ratelimit-reset-tokens": "4711ms",
    "x-ratelimit-remaining-tokens": "4711",
    "anthropic-ratelimit-requests-limit": "4711",
    "anthropic-ratelimit-input-tokens-remaining": "4711",
    "anthropic-ratelimit-tokens-reset": "2000-01-01T00:00:00Z",
    "retry-after-ms": "4711",
}


@pytest.fixture
async def limited(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(answered)
    return await start(configuration(fake.base_url, PLANS))


def answered(seen: SeenRequest) -> Answer:
    """Answer a call, or count a prompt, with rate limits of the vendor's own."""
    if "count" in seen.path or seen.path.endswith("/input_tokens"):
        counted = {"input_tokens": 9, "totalTokens": 9, "object": "response.input_tokens"}
        return json_answer(counted, headers=OTHERS)
    answer = vendor(TURN)(seen)
    assert isinstance(answer, Answer)
    return replace(answer, headers={**answer.headers, **OTHERS})


def openai_limits(requests: int, tokens: int) -> dict[str, str]:
    """Return OpenAI's headers at noon, for a bucket of 60 and a day of 100,000."""
    return {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": str(requests),
        "x-ratelimit-reset-requests": f"{60 - requests}s",
        "x-ratelimit-limit-tokens": "100000",
        "x-ratelimit-remaining-tokens": str(tokens),
        "x-ratelimit-reset-tokens": "12h0m0s",
    }


def anthropic_limits(requests: int, tokens: int) -> dict[str, str]:
    """Return Anthropic's headers at noon, for the same."""
    return {
        "anthropic-ratelimit-requests-limit": "60",
        "anthropic-ratelimit-requests-remaining": str(requests),
        "anthropic-ratelimit-requests-reset": f"2031-05-06T12:00:{60 - requests:02}Z",
        "anthropic-ratelimit-tokens-limit": "100000",
        "anthropic-ratelimit-tokens-remaining": str(tokens),
        "anthropic-ratelimit-tokens-reset": "2031-05-07T00:00:00Z",
    }


DIALECTS = {
    "openai-chat": openai_limits,
    "openai-responses": openai_limits,
    "anthropic": anthropic_limits,
    "gemini": lambda requests, tokens: {},
}


@every_family
async def test_whole_answer_says_what_is_left_behind_it(
    family: ProtocolName, limited: Running, http: aiohttp.ClientSession
) -> None:
    Hands(limited)
    key = await limited.new_key("both")
    for number in (1, 2):
        got = await ask(http, limited, key, family)
        assert got.status == 200
        assert got.limits == DIALECTS[family](60 - number, 100_000 - number * 42)
        assert got.headers["cache-control"] == "no-cache"


@every_family
async def test_stream_says_what_is_left_while_it_holds_tokens(
    family: ProtocolName, limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    Hands(limited)
    gate = fake.hold()
    told = frames(family, TURN)
    head = len(begun(family, TURN))
    fake.always(stream_answer([*told[:head], gate, *told[head:]], headers=OTHERS))
    key = await limited.new_key("both")
    running = asyncio.create_task(_stream(http, limited, key, family))
    await fake.received(1)
    daily = (await get(http, limited, "/v1/usage", _bearer(key))).json["daily_tokens"]
    gate.set()
    got = await running
    assert daily["reserved"] > 10
    assert got.limits == DIALECTS[family](59, 100_000 - daily["reserved"])
    assert got.headers["x-accel-buffering"] == "no"


async def _stream(
    http: aiohttp.ClientSession, running: Running, key: str, family: ProtocolName
) -> Got:
    return await ask(http, running, key, family, stream=True)


def _bearer(key: str, **more: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", **more}


# --- what costs no tokens -----------------------------------------------------------------

GETS: list[tuple[str, dict[str, str], str, int]] = [
    ("/v1/models", {}, "openai-chat", 200),
    ("/v1/models/", {}, "openai-chat", 200),
    ("/models", {}, "openai-chat", 200),
    ("/v1/models/m-chat", {}, "openai-chat", 200),
    ("/v1/models/nobody", {}, "openai-chat", 404),
    ("/v1/models", {"anthropic-version": "2023-06-01"}, "anthropic", 200),
    ("/v1/models?limit=none", {"anthropic-version": "2023-06-01"}, "anthropic", 400),
    (f"/v1/models?limit={'9' * 5_000}", {"anthropic-version": "2023-06-01"}, "anthropic", 400),
    ("/v1/models/m-chat", {"anthropic-version": "2023-06-01"}, "anthropic", 200),
    ("/v1/models/nobody", {"anthropic-version": "2023-06-01"}, "anthropic", 404),
    ("/v1/models", {"x-goog-api-key": "KEY"}, "gemini", 200),
    ("/v1/models/nobody", {"x-goog-api-key": "KEY"}, "gemini", 404),
    ("/v1beta/models", {}, "gemini", 200),
    ("/v1beta/models/m-chat", {}, "gemini", 200),
    ("/v1beta/models/nobody", {}, "gemini", 404),
    ("/v1/usage", {}, "openai-chat", 200),
]


@pytest.mark.parametrize(
    ("path", "headers", "dialect", "status"),
    GETS,
    ids=[f"{path} {dialect}" for path, _, dialect, _ in GETS],
)
async def test_what_is_only_read_says_what_is_left(
    path: str,
    headers: dict[str, str],
    dialect: str,
    status: int,
    limited: Running,
    http: aiohttp.ClientSession,
) -> None:
    Hands(limited)
    key = await limited.new_key("both")
    assert (await ask(http, limited, key, "openai-chat")).status == 200
    given = {name: key if value == "KEY" else value for name, value in headers.items()}
    got = await get(http, limited, path, _bearer(key, **given))
    assert got.status == status
    assert got.limits == DIALECTS[dialect](59, 100_000 - 42)
    assert got.headers["x-request-id"].startswith("req_")
    assert ("request-id" in got.headers) == (dialect == "anthropic")


COUNTS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/responses/input_tokens", {"model": "m-responses", "input": "x"}, "openai-responses"),
    (
        "/v1/messages/count_tokens",
        {"model": "m-messages", "messages": [{"role": "user", "content": "x"}]},
        "anthropic",
    ),
    (
        "/v1beta/models/m-gemini:countTokens",
        {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
        "gemini",
    ),
]


@pytest.mark.parametrize("works", [True, False], ids=["counted", "estimated"])
@pytest.mark.parametrize(("path", "body", "dialect"), COUNTS, ids=[each[2] for each in COUNTS])
async def test_counting_costs_a_request_and_no_tokens(
    path: str,
    body: dict[str, Any],
    dialect: str,
    works: bool,
    limited: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    Hands(limited)
    if not works:
        fake.always(failure(500))
    key = await limited.new_key("both")
    for number in (1, 2):
        url = limited.base_url + path
        async with http.post(url, json=body, headers=_bearer(key)) as answer:
            got = await received(answer)
        assert got.status == 200
        assert ("x-kurol-estimate" in got.headers) == (not works)
        # An estimate is an answer too: its request is not given back.
        assert got.limits == DIALECTS[dialect](60 - number, 100_000)


# --- errors behind the door ----------------------------------------------------------------

ERRORS: list[tuple[str, int, int, dict[str, Any]]] = [
    # (name, status, requests left, what is asked)
    ("malformed", 400, 60, {"sent": b"{"}),
    ("outside the plan", 403, 60, {"model": "x-other"}),
    ("unknown model", 404, 60, {"model": "nobody"}),
    ("refused by the upstream", 400, 59, {}),
    ("broken upstream", 502, 60, {}),
    ("too many tokens", 429, 60, {"cap": 200_000}),
]


@pytest.mark.parametrize(
    ("name", "status", "left", "more"), ERRORS, ids=[each[0] for each in ERRORS]
)
@every_family
@both_ways
async def test_error_of_a_known_key_says_what_is_left(
    name: str,
    status: int,
    left: int,
    more: dict[str, Any],
    family: ProtocolName,
    stream: bool,
    fake: FakeUpstream,
    start: Starter,
    http: aiohttp.ClientSession,
) -> None:
    other = """
[[models]]
id = "x-other"
targets = [{ upstream = "chat", model = "plain" }]
"""
    text = configuration(fake.base_url, PLANS) + other
    running = await start(text.replace("daily_tokens = 100000", "daily_tokens = 1000"))
    Hands(running)
    fake.always(failure(400 if "refused" in name else 500, protocol=family, headers=OTHERS))
    used = 0
    key = await running.new_key("both")
    if name == "too many tokens":
        fake.answer(_answered(family, stream))
        assert (await ask(http, running, key, family, stream=stream)).status == 200
        used, left = 42, 59
        more = {"cap": 10, "sent": _long(family, stream)}
    got = await ask(http, running, key, family, stream=stream, **more)
    assert got.status == status
    expected = DIALECTS[family](left, 1_000 - used)
    assert got.limits == {
        name: "1000" if value == "100000" else value for name, value in expected.items()
    }
    assert got.headers["x-request-id"].startswith("req_")


def _answered(family: ProtocolName, stream: bool) -> Answer:
    if stream:
        return stream_answer(frames(family, TURN))
    seen = SeenRequest("POST", _PATHS[family], (), b"{}", 0)
    answer = vendor(TURN)(seen)
    assert isinstance(answer, Answer)
    return answer


_PATHS = {
    "openai-chat": "/chat/completions",
    "openai-responses": "/responses",
    "anthropic": "/messages",
    "gemini": ":generateContent",
}


def _long(family: ProtocolName, stream: bool) -> bytes:
    """Return a prompt of over a thousand tokens."""
    _, body = request(family, model_of(family), stream=stream)
    return json.dumps(body).replace('"x"', json.dumps("x" * 6_000)).encode()


async def test_who_is_not_known_reads_no_limits(
    limited: Running, http: aiohttp.ClientSession
) -> None:
    for path in ("/v1/models", "/v1/usage", "/v1/nowhere"):
        got = await get(http, limited, path, _bearer("sk-kurol-wrong"))
        assert got.limits == {}
        assert got.headers["x-request-id"].startswith("req_")
    assert (await ask(http, limited, "sk-kurol-wrong", "anthropic")).limits == {}


def test_wrong_keys_of_one_address_wait_although_nothing_would_help() -> None:
    found = error_headers(TooManyFailures("wait", retry_after_s=60))
    assert found == [("x-should-retry", "false"), ("retry-after", "60")]


# --- which limit, and none -----------------------------------------------------------------


async def test_of_account_and_key_the_narrower_limit_is_shown(
    limited: Running, http: aiohttp.ClientSession
) -> None:
    Hands(limited)
    wide = await limited.new_key("both")
    narrow = await limited.new_key("both", requests_per_minute=10, daily_tokens=1_000)
    got = await ask(http, limited, narrow, "openai-chat")
    assert got.headers["x-ratelimit-limit-requests"] == "10"
    assert got.headers["x-ratelimit-remaining-requests"] == "9"
    assert got.headers["x-ratelimit-limit-tokens"] == "1000"
    assert got.headers["x-ratelimit-remaining-tokens"] == "958"
    # The account's other key comes nearer to the account's limit than this one to its own.
    for _ in range(52):
        assert (await ask(http, limited, wide, "openai-chat")).status == 200
    got = await ask(http, limited, narrow, "openai-chat")
    assert got.headers["x-ratelimit-limit-requests"] == "60"
    assert got.headers["x-ratelimit-remaining-requests"] == "6"
    assert got.headers["x-ratelimit-limit-tokens"] == "1000"
    assert got.headers["x-ratelimit-remaining-tokens"] == "916"


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("default", set()), ("requests", {"requests"}), ("tokens", {"tokens"})],
)
@every_family
@both_ways
async def test_what_is_unlimited_has_no_header_and_the_upstreams_do_not_pass(
    name: str,
    kinds: set[str],
    family: ProtocolName,
    stream: bool,
    limited: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    key = limited.key if name == "default" else await limited.new_key(name)
    fails = failure(500, protocol=family, headers=OTHERS)
    for status in (200, 502):
        got = await ask(http, limited, key, family, stream=stream)
        assert got.status == status
        told = kinds if family != "gemini" else set()
        assert {kind for kind in ("requests", "tokens") if kind in str(got.limits)} == told
        assert len(got.limits) == 3 * len(told)
        assert "4711" not in str(got.headers)
        assert "retry-after-ms" not in got.headers
        fake.always(fails)


# --- an id on everything -------------------------------------------------------------------

PROBES = [
    ("GET", "/"),
    ("HEAD", "/"),
    ("GET", "/api/hello"),
    ("HEAD", "/api/hello"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("POST", "/livez"),
    ("GET", "/nowhere"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize(("method", "path"), PROBES, ids=[" ".join(each) for each in PROBES])
async def test_every_answer_has_an_id_of_its_own(
    method: str, path: str, limited: Running, http: aiohttp.ClientSession
) -> None:
    ids = set()
    for _ in range(2):
        asked = http.request(method, limited.base_url + path, headers={"x-request-id": "mine"})
        async with asked as got:
            ids.add(got.headers["x-request-id"])
            assert not [name for name in got.headers if name.lower().startswith(LIMIT_HEADERS)]
    assert len(ids) == 2
    assert all(each.startswith("req_") for each in ids)


async def test_metrics_have_an_id_too(limited: Running, http: aiohttp.ClientSession) -> None:
    host, port = limited.gateway.metrics_address
    for path, status in (("/metrics", 200), ("/nowhere", 404)):
        async with http.get(f"http://{host}:{port}{path}") as got:
            assert got.status == status
            assert got.headers["x-request-id"].startswith("req_")
