"""What a refused or failed call says of a repetition, and what the official SDKs make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as google_errors
from google.genai import types

from kurolproxy.ir import ProtocolName
from tests.conftest import Running, Starter
from tests.fakes.answers import Answer, failure, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest
from tests.pairs.vendors import Turn, late, vendor
from tests.server.families import (
    FAMILIES,
    USAGE,
    Got,
    Hands,
    ask,
    both_ways,
    configuration,
    every_family,
    metric,
    model_of,
    plan,
)

PLANS = "".join(
    (
        plan("minute", requests_per_minute=7),
        plan("sixty", requests_per_minute=60),
        plan("single", concurrent_requests=1),
        plan("day", daily_tokens=1_000),
        plan("other", models=["nothing"]),
    )
)
TURN = Turn(words=("Hello",), usage=USAGE)
# One of these tests spends a whole day of the plan ``day``.
DAY = Turn(words=("Hello",), usage=USAGE._replace(prompt=990, completion=10))


@pytest.fixture
async def limited(fake: FakeUpstream, start: Starter) -> Running:
    fake.always(vendor(TURN))
    return await start(configuration(fake.base_url, PLANS, model="answer_timeout_s = 0.2\n"
                                     "first_content_timeout_s = 0.2"))  # fmt: skip


@dataclass(frozen=True, slots=True)
class World:
    """What a case can use."""

    http: aiohttp.ClientSession
    running: Running
    fake: FakeUpstream
    family: ProtocolName
    stream: bool

    async def ask(self, key: str, **more: Any) -> Got:
        return await ask(self.http, self.running, key, self.family, stream=self.stream, **more)


# --- the cases: each brings about one error and returns it --------------------------------


async def malformed(world: World) -> Got:
    return await world.ask(world.running.key, sent=b"{")


async def wrong_key(world: World) -> Got:
    return await world.ask("sk-kurol-wrong")


async def outside_the_plan(world: World) -> Got:
    return await world.ask(await world.running.new_key("other"))


async def unknown_model(world: World) -> Got:
    return await world.ask(world.running.key, model="nobody")


async def too_fast(world: World) -> Got:
    clock = Hands(world.running)
    key = await world.running.new_key("minute")
    for _ in range(7):
        assert (await world.ask(key)).status == 200
    # The next one is free after 60/7 = 8.57 s, of which 3 go by.
    clock.move(3)
    return await world.ask(key)


async def too_fast_by_a_hair(world: World) -> Got:
    clock = Hands(world.running)
    key = await world.running.new_key("minute")
    for _ in range(7):
        await world.ask(key)
    clock.move(8.57)
    return await world.ask(key)


async def two_at_once(world: World) -> Got:
    return await _beside(world, "single", 10)


async def held(world: World) -> Got:
    return await _beside(world, "day", 900)


async def _beside(world: World, plan_name: str, cap: int) -> Got:
    """Ask while another call of the account runs."""
    gate = world.fake.hold()

    async def waiting(seen: SeenRequest) -> Answer:
        await gate.wait()
        return _answered(vendor(TURN)(seen))

    world.fake.always(waiting)
    key = await world.running.new_key(plan_name)
    first = asyncio.create_task(world.ask(key, cap=cap))
    await world.fake.received(1)
    got = await world.ask(key, cap=cap)
    gate.set()
    await first
    return got


def _answered(answer: Answer | Awaitable[Answer]) -> Answer:
    assert isinstance(answer, Answer)
    return answer


async def day_is_used_up(world: World) -> Got:
    Hands(world.running)
    world.fake.always(vendor(DAY))
    key = await world.running.new_key("day")
    assert (await world.ask(key)).status == 200
    return await world.ask(key)


async def draining(world: World) -> Got:
    world.running.gateway.state.draining = True
    return await world.ask(world.running.key)


def upstream_says(status: int, retry_after: str | None = None) -> Callable[[World], Awaitable[Got]]:
    async def case(world: World) -> Got:
        world.fake.always(failure(status, protocol=world.family, retry_after=retry_after))
        return await world.ask(world.running.key)

    return case


async def silent_upstream(world: World) -> Got:
    gate = world.fake.hold()
    world.fake.always(stream_answer([gate]))
    return await world.ask(world.running.key)


async def upstream_talks_nonsense(world: World) -> Got:
    world.fake.always(json_answer({"what": "is this"}))
    return await world.ask(world.running.key)


# Case -> status, kind, (retry-after, x-should-retry).
ONCE, SOON = (None, "false"), ("1", None)
CASES: list[tuple[Callable[[World], Awaitable[Got]], int, str, tuple[str | None, str | None]]] = [
    (malformed, 400, "bad_request", ONCE),
    (wrong_key, 401, "unauthenticated", ONCE),
    (outside_the_plan, 403, "plan_forbidden", ONCE),
    (unknown_model, 404, "model_not_found", ONCE),
    (too_fast, 429, "rate_limited", ("6", None)),
    (too_fast_by_a_hair, 429, "rate_limited", SOON),
    (two_at_once, 429, "concurrency_limited", SOON),
    (held, 429, "rate_limited", ("5", None)),
    (day_is_used_up, 429, "quota_exceeded", ONCE),
    (upstream_says(400), 400, "bad_request", ONCE),
    (upstream_says(413), 413, "too_large", ONCE),
    (upstream_says(422), 400, "bad_request", ONCE),
    (upstream_says(401), 502, "upstream_error", ONCE),
    (upstream_says(402), 502, "upstream_error", ONCE),
    (upstream_says(403), 502, "upstream_error", ONCE),
    (upstream_says(404), 502, "upstream_error", ONCE),
    (upstream_says(429), 502, "upstream_error", SOON),
    (upstream_says(429, "7"), 502, "upstream_error", ("7", None)),
    (upstream_says(429, "0.2"), 502, "upstream_error", SOON),
    (upstream_says(429, "60"), 502, "upstream_error", ("60", None)),
    (upstream_says(429, "61"), 502, "upstream_error", ONCE),
    (upstream_says(500), 502, "upstream_error", SOON),
    (upstream_says(503, "9"), 502, "upstream_error", ("9", None)),
    (upstream_talks_nonsense, 502, "upstream_error", SOON),
    (draining, 503, "overloaded", SOON),
    (silent_upstream, 504, "upstream_timeout", SOON),
]
NAMES = [
    "malformed", "wrong key", "outside the plan", "unknown model", "too fast",
    "too fast by a hair", "two at once", "held", "day used up", "upstream 400",
    "upstream 413", "upstream 422", "upstream 401", "upstream 402", "upstream 403",
    "upstream 404", "upstream 429", "upstream 429 in 7 s", "upstream 429 in 0.2 s",
    "upstream 429 in 60 s", "upstream 429 in 61 s", "upstream 500", "upstream 503 in 9 s",
    "nonsense", "draining", "silent upstream",
]  # fmt: skip

# Kind -> (OpenAI's type, code, param), Anthropic's type, Gemini's status.
WORDS: dict[str, tuple[tuple[str, str | None, str | None], str, str]] = {
    "bad_request": (
        ("invalid_request_error", None, None),
        "invalid_request_error",
        "INVALID_ARGUMENT",
    ),
    "too_large": (
        ("invalid_request_error", "request_too_large", None),
        "request_too_large",
        "INVALID_ARGUMENT",
    ),
    "unauthenticated": (
        ("invalid_request_error", "invalid_api_key", None),
        "authentication_error",
        "UNAUTHENTICATED",
    ),
    "plan_forbidden": (
        ("permission_error", "model_not_allowed", "model"),
        "permission_error",
        "PERMISSION_DENIED",
    ),
    "model_not_found": (
        ("invalid_request_error", "model_not_found", "model"),
        "not_found_error",
        "NOT_FOUND",
    ),
    "rate_limited": (
        ("rate_limit_error", "rate_limit_exceeded", None),
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    "concurrency_limited": (
        ("rate_limit_error", "concurrency_limit_exceeded", None),
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    "quota_exceeded": (
        ("insufficient_quota", "insufficient_quota", None),
        "rate_limit_error",
        "RESOURCE_EXHAUSTED",
    ),
    "upstream_error": (("server_error", "upstream_error", None), "api_error", "UNAVAILABLE"),
    "upstream_timeout": (
        ("server_error", "upstream_timeout", None),
        "timeout_error",
        "DEADLINE_EXCEEDED",
    ),
    "overloaded": (("server_error", "overloaded", None), "overloaded_error", "UNAVAILABLE"),
}


def check_words(family: ProtocolName, kind: str, got: Got) -> str:
    """Check the body of an error, member by member, and return its message."""
    openai_words, anthropic_type, gemini_status = WORDS[kind]
    body = got.json
    error = body["error"]
    message = error.pop("message")
    if family == "anthropic":
        assert body.pop("request_id") == got.headers["request-id"] == got.headers["x-request-id"]
        assert body == {"type": "error", "error": {"type": anthropic_type}}
    elif family == "gemini":
        details = error.pop("details", None)
        assert body == {"error": {"code": got.status, "status": gemini_status}}
        if kind == "quota_exceeded":
            (failed,) = details
            assert failed["@type"] == "type.googleapis.com/google.rpc.QuotaFailure"
            (violation,) = failed["violations"]
            assert "PerDay" in violation["quotaId"]
            assert violation["description"] == message
        else:
            assert details is None
    else:
        type_, code, param = openai_words
        assert body == {"error": {"type": type_, "code": code, "param": param}}
    assert message
    return str(message)


@pytest.mark.parametrize(("case", "status", "kind", "advice"), CASES, ids=NAMES)
@every_family
@both_ways
async def test_error_says_whether_and_when_to_ask_again(
    case: Callable[[World], Awaitable[Got]],
    status: int,
    kind: str,
    advice: tuple[str | None, str | None],
    family: ProtocolName,
    stream: bool,
    limited: Running,
    fake: FakeUpstream,
    http: aiohttp.ClientSession,
) -> None:
    got = await case(World(http, limited, fake, family, stream))
    assert (got.status, got.advice) == (status, advice)
    assert got.headers["content-type"] == "application/json"
    message = check_words(family, kind, got)
    if case is day_is_used_up:
        assert "2031-05-07 00:00 UTC" in message
        assert message.endswith("ops@example.org")
    if case is held:
        assert "running requests hold the rest" in message.lower()
    if case is outside_the_plan:
        assert message.endswith("ops@example.org")
    if case is too_fast:
        assert "6 s" in message


@every_family
async def test_error_behind_the_first_content_has_no_status_of_its_own(
    family: ProtocolName, limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(stream_answer(late(family, TURN, "broke")))
    got = await ask(http, limited, limited.key, family, stream=True)
    assert (got.status, got.advice) == (200, (None, None))
    assert b"broke" in got.body
    assert b"[DONE]" not in got.body
    assert b"message_stop" not in got.body


# --- the official SDKs, with the retries that they make by default ------------------------


class Sdks:
    """One client of each vendor with its defaults; a reply may move the gateway's clock."""

    def __init__(self, running: Running, key: str, clock: Hands) -> None:
        self._clock = clock
        # Without TLS settings: loading them would take longer than a test.
        self._http = httpx2.AsyncClient(
            verify=False, timeout=30, event_hooks={"response": [self._replied]}
        )
        self._unused = httpx2.Client(verify=False)
        self._openai = openai.AsyncOpenAI(
            base_url=f"{running.base_url}/v1", api_key=key, http_client=self._http
        )
        self._anthropic = anthropic.AsyncAnthropic(
            base_url=running.base_url, api_key=key, http_client=self._http
        )
        options = types.HttpOptions(
            base_url=running.base_url, httpx_client=self._unused, httpx_async_client=self._http
        )
        self._google = genai.Client(api_key=key, http_options=options)

    async def _replied(self, response: httpx2.Response) -> None:
        self._clock.move(float(response.headers.get("retry-after", 0)))

    async def ask(self, family: ProtocolName, *, stream: bool) -> None:
        """Ask once and read the whole answer."""
        model, said = model_of(family), [{"role": "user", "content": "x"}]
        sdk: Any
        if family == "gemini":
            sdk = self._google.aio.models
            asked = {"model": model, "contents": "x"}
            if not stream:
                await sdk.generate_content(**asked)
                return
            answer = await sdk.generate_content_stream(**asked)
        else:
            sdk, more = {
                "openai-chat": (self._openai.chat.completions, {"messages": said}),
                "openai-responses": (self._openai.responses, {"input": said}),
                "anthropic": (self._anthropic.messages, {"messages": said, "max_tokens": 10}),
            }[family]
            answer = await sdk.create(model=model, stream=stream, **more)
        if stream:
            async for _ in answer:
                pass

    async def close(self) -> None:
        """Close all of them."""
        self._unused.close()
        await self._http.aclose()


@pytest.fixture
async def connect() -> AsyncIterator[Callable[..., Sdks]]:
    """Yield a function that makes clients of a gateway."""
    made: list[Sdks] = []

    def make(running: Running, key: str, clock: Hands) -> Sdks:
        made.append(Sdks(running, key, clock))
        return made[-1]

    yield make
    for each in made:
        await each.close()


RAISED = {
    "openai-chat": openai.RateLimitError,
    "openai-responses": openai.RateLimitError,
    "anthropic": anthropic.RateLimitError,
    "gemini": google_errors.ClientError,
}


def ended(running: Running, outcome: str) -> int:
    """Return how many calls ended so, as the gateway counts them."""
    return int(metric(running, "kurol_requests_total", f'outcome="{outcome}"'))


@every_family
@both_ways
async def test_sdk_waits_as_long_as_told_and_then_gets_its_answer(
    family: ProtocolName,
    stream: bool,
    limited: Running,
    connect: Callable[..., Sdks],
    http: aiohttp.ClientSession,
) -> None:
    clock = Hands(limited)
    key = await limited.new_key("sixty")
    for _ in range(60):
        assert (await ask(http, limited, key, "openai-chat")).status == 200
    sdks = connect(limited, key, clock)
    if family == "gemini":
        # Google's does not ask again unless it is told to.
        with pytest.raises(google_errors.ClientError):
            await sdks.ask(family, stream=stream)
        assert (ended(limited, "ok"), ended(limited, "rate_limited")) == (60, 1)
        return
    await sdks.ask(family, stream=stream)
    assert (ended(limited, "ok"), ended(limited, "rate_limited")) == (61, 1)


@every_family
@both_ways
async def test_sdk_asks_once_when_the_day_is_used_up(
    family: ProtocolName,
    stream: bool,
    limited: Running,
    fake: FakeUpstream,
    connect: Callable[..., Sdks],
    http: aiohttp.ClientSession,
) -> None:
    clock = Hands(limited)
    fake.always(vendor(DAY))
    key = await limited.new_key("day")
    assert (await ask(http, limited, key, family)).status == 200
    with pytest.raises(RAISED[family]) as caught:
        await connect(limited, key, clock).ask(family, stream=stream)
    assert "2031-05-07 00:00 UTC" in str(caught.value)
    assert (ended(limited, "ok"), ended(limited, "quota_exceeded")) == (1, 1)


@pytest.mark.parametrize("family", FAMILIES[:3])
async def test_sdk_gives_up_on_a_wrong_key_at_once(
    family: ProtocolName, limited: Running, connect: Callable[..., Sdks]
) -> None:
    sdks = connect(limited, "sk-kurol-wrong", Hands(limited))
    with pytest.raises((openai.AuthenticationError, anthropic.AuthenticationError)):
        await sdks.ask(family, stream=False)
    assert ended(limited, "unauthenticated") == 1
