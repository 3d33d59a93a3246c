"""The playground: calls by a session, in the place of a key, at all four endpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from kurolproxy.dashboard.guard import csrf_of
from kurolproxy.demo.vendor import DemoVendor
from kurolproxy.policy.keys import SESSION_KEY_ID
from tests.conftest import Running, Starter, behind_demo, soon
from tests.dashboard.conftest import Browser, LogIn
from tests.fakes.answers import chat_answer
from tests.fakes.upstream import FakeUpstream

MESSAGES = [{"role": "user", "content": "Hello there"}]
_MODELS = {each: each for each in ("demo-echo", "demo-slow")}
_PLANS = """
[[plans]]
name = "default"
models = ["demo-echo"]
requests_per_minute = 20
[[plans]]
name = "tiny"
models = ["demo-*"]
requests_per_minute = 1
"""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How the playground calls one of the four.

    Attributes:
        end: what the last event of a stream holds.
    """

    name: str
    whole: str
    stream: str
    body: dict[str, Any]
    end: str

    def sent(self, *, stream: bool) -> tuple[str, dict[str, Any]]:
        """Return endpoint and body."""
        if self.name == "gemini":
            return (self.stream if stream else self.whole), self.body
        return self.whole, {**self.body, "stream": stream}


GEMINI = "/v1beta/models/demo-echo"
ENDPOINTS = (
    Endpoint(
        "openai-chat",
        "/v1/chat/completions",
        "/v1/chat/completions",
        {"model": "demo-echo", "messages": MESSAGES},
        "[DONE]",
    ),
    Endpoint(
        "openai-responses",
        "/v1/responses",
        "/v1/responses",
        {"model": "demo-echo", "input": "Hello there"},
        "response.completed",
    ),
    Endpoint(
        "anthropic",
        "/v1/messages",
        "/v1/messages",
        {"model": "demo-echo", "max_tokens": 500, "messages": MESSAGES},
        "message_stop",
    ),
    Endpoint(
        "gemini",
        f"{GEMINI}:generateContent",
        f"{GEMINI}:streamGenerateContent?alt=sse",
        {"contents": [{"role": "user", "parts": [{"text": "Hello there"}]}]},
        '"finishReason":"STOP"',
    ),
)
EVERY = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=[each.name for each in ENDPOINTS])
CHAT = ENDPOINTS[0]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str
    headers: aiohttp.typedefs.LooseHeaders

    def json(self) -> Any:
        return json.loads(self.text)


@pytest.fixture
async def demo(start: Starter) -> AsyncIterator[Running]:
    """Yield a gateway in front of the demo's vendor."""
    vendor = DemoVendor(api_key="vendor-key")
    await vendor.start()
    yield await start(behind_demo(vendor.base_url, _MODELS, _PLANS))
    await vendor.stop()


async def call(
    browser: Browser,
    target: str,
    body: dict[str, Any] | bytes | AsyncIterator[bytes],
    **headers: str,
) -> Answer:
    """Send what the script of the page sends."""
    given = {
        "cookie": f"kurol={browser.token}",
        "origin": browser.base_url,
        "x-csrf-token": csrf_of(browser.token),
        "content-type": "application/json",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    url = f"{browser.base_url}/dashboard/playground/call?endpoint={quote(target, safe='')}"
    data = json.dumps(body).encode() if isinstance(body, dict) else body
    async with browser.session.post(url, data=data, headers=given) as answer:
        return Answer(answer.status, await answer.text(), answer.headers)


# --- answers ----------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_call_is_answered_counted_and_booked_as_the_playgrounds(
    endpoint: Endpoint, stream: bool, demo: Running, log_in: LogIn
) -> None:
    ann = await log_in(demo)
    assert ann.account is not None
    answer = await call(ann, *endpoint.sent(stream=stream))
    assert answer.status == 200, answer.text
    assert "Hello" in answer.text
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"
    if stream:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert endpoint.end in answer.text.rstrip().split("\n\n")[-1]
    else:
        answer.json()
    assert await demo.gateway.state.usage.flush()
    [row] = await rows_of(demo, ann.account.id)
    assert (row["key_id"], row["client_protocol"], row["status"]) == (
        SESSION_KEY_ID,
        endpoint.name,
        200,
    )
    assert row["charged"] == row["prompt"] + row["completion"] > 0
    assert demo.gateway.state.admission.reserved == 0


async def rows_of(running: Running, account_id: int) -> list[dict[str, Any]]:
    """Return the ledger's rows of an account."""
    names = ("key_id", "client_protocol", "status", "charged", "prompt", "completion")
    text = f"SELECT {', '.join(names)} FROM usage WHERE account_id = ?"
    found = await running.gateway.database.read(text, (account_id,))
    return [dict(zip(names, row, strict=True)) for row in found]


# --- refusals ---------------------------------------------------------------------------


@EVERY
async def test_model_outside_of_the_plan_is_refused_in_the_endpoints_own_words(
    endpoint: Endpoint, demo: Running, log_in: LogIn
) -> None:
    target, body = endpoint.sent(stream=False)
    foreign = {**body, "model": "demo-slow"} if "model" in body else body
    ann = await log_in(demo)
    answer = await call(ann, target.replace("demo-echo", "demo-slow"), foreign)
    assert answer.status == 403
    assert "not in the plan 'default'" in answer.json()["error"]["message"]


@EVERY
async def test_limit_of_the_plan_is_told_with_the_time_to_wait(
    endpoint: Endpoint, demo: Running, log_in: LogIn
) -> None:
    ann = await log_in(demo, plan="tiny")
    target, body = endpoint.sent(stream=True)
    assert (await call(ann, target, body)).status == 200
    answer = await call(ann, target, body)
    assert answer.status == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert "1 per minute" in answer.json()["error"]["message"]


async def test_session_and_keys_of_an_account_share_its_limits(
    demo: Running, log_in: LogIn, http: aiohttp.ClientSession
) -> None:
    ann = await log_in(demo, plan="tiny")
    assert ann.account is not None
    _, secret = await demo.gateway.accounts.create_key(ann.account.email)
    assert (await call(ann, CHAT.whole, CHAT.body)).status == 200
    headers = {"authorization": f"Bearer {secret}"}
    url = demo.base_url + CHAT.whole
    async with http.post(url, json=CHAT.body, headers=headers) as answer:
        assert answer.status == 429


@pytest.mark.parametrize(
    "target",
    [
        "",
        "/v1/models",
        "/v1/messages/count_tokens",
        "/v1beta/models/demo-echo:countTokens",
        "/v1beta/models/demo-echo",
        "/dashboard/keys",
        "/metrics",
        "http://127.0.0.1:1/v1/chat/completions",
    ],
)
async def test_nothing_but_the_four_endpoints_is_called(
    target: str, demo: Running, log_in: LogIn
) -> None:
    answer = await call(await log_in(demo), target, CHAT.body)
    assert answer.status == 404


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"x_csrf_token": "f" * 64}, 403),
        ({"x_csrf_token": ""}, 403),
        ({"origin": "https://evil.example"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"cookie": "kurol=nobody"}, 401),
    ],
)
async def test_call_of_another_site_or_of_nobody_is_refused(
    wrong: dict[str, str], status: int, demo: Running, log_in: LogIn
) -> None:
    ann = await log_in(demo)
    assert ann.account is not None
    answer = await call(ann, CHAT.whole, CHAT.body, **wrong)
    assert answer.status == status
    assert await demo.gateway.state.usage.flush()
    assert await rows_of(demo, ann.account.id) == []


async def test_account_that_was_disabled_calls_nothing(demo: Running, log_in: LogIn) -> None:
    ann = await log_in(demo)
    assert ann.account is not None
    await demo.gateway.accounts.disable(ann.account.email)
    assert (await call(ann, CHAT.whole, CHAT.body)).status == 401


async def test_call_that_waits_for_its_answer_ends_with_its_session_and_no_other(
    fake: FakeUpstream, gateway: Running, log_in: LogIn
) -> None:
    ann, ben = await log_in(gateway), await log_in(gateway, "ben@example.org")
    assert ann.account is not None
    gate = fake.hold_each(chat_answer())
    body = {"model": "c-model", "messages": MESSAGES}
    of_ann = asyncio.create_task(call(ann, CHAT.whole, body))
    of_ben = asyncio.create_task(call(ben, CHAT.whole, body))
    await fake.received(2)
    await gateway.gateway.logins.end_all(ann.account.id)
    with pytest.raises(aiohttp.ClientError):
        await asyncio.wait_for(of_ann, 5)
    gate.set()
    assert (await of_ben).status == 200
    assert gateway.gateway.state.admission.reserved == 0
    assert await gateway.gateway.state.usage.flush()
    assert [row["status"] for row in await rows_of(gateway, ann.account.id)] == [499]


async def test_call_whose_session_ended_while_its_body_came_is_never_made(
    fake: FakeUpstream, gateway: Running, log_in: LogIn
) -> None:
    ann = await log_in(gateway)
    assert ann.account is not None
    ended = asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield b" "
        await ended.wait()
        yield json.dumps({"model": "c-model", "messages": MESSAGES}).encode()

    sent = asyncio.create_task(call(ann, CHAT.whole, body()))
    await soon(lambda: len(gateway.gateway.state.deadlines) == 1)
    await gateway.gateway.logins.end_all(ann.account.id)
    ended.set()
    with pytest.raises(aiohttp.ClientError):
        await sent
    assert fake.requests == []


async def test_broken_body_is_an_error_in_the_endpoints_form(demo: Running, log_in: LogIn) -> None:
    ann = await log_in(demo)
    answer = await call(ann, "/v1/messages", b"{")
    assert answer.status == 400
    assert answer.json()["type"] == "error"


# --- keys and sessions stay apart -------------------------------------------------------


@EVERY
async def test_no_endpoint_for_keys_takes_a_session(
    endpoint: Endpoint, demo: Running, log_in: LogIn
) -> None:
    ann = await log_in(demo)
    target, body = endpoint.sent(stream=False)
    headers = {
        "cookie": f"kurol={ann.token}",
        "origin": ann.base_url,
        "x-csrf-token": csrf_of(ann.token),
    }
    async with ann.session.post(ann.base_url + target, json=body, headers=headers) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-goog-api-key"])
async def test_playground_takes_no_key(
    name: str, demo: Running, http: aiohttp.ClientSession
) -> None:
    key = f"Bearer {demo.key}" if name == "authorization" else demo.key
    headers = {name: key, "origin": demo.base_url}
    url = f"{demo.base_url}/dashboard/playground/call?endpoint={CHAT.whole}"
    async with http.post(url, json=CHAT.body, headers=headers) as answer:
        assert answer.status in {401, 403}
        assert "chat.completion" not in await answer.text()


# --- the page ---------------------------------------------------------------------------


async def test_page_offers_the_models_of_the_plan_and_what_the_address_names(
    demo: Running, log_in: LogIn
) -> None:
    page = await (await log_in(demo)).get("/dashboard/playground?model=demo-slow&endpoint=gemini")
    assert page.status == 200
    assert '<option value="demo-echo" selected>' in page.text
    assert "demo-slow" not in page.text
    assert '<option value="gemini" selected>' in page.text
    bob = await log_in(demo, "bob@example.org", plan="tiny")
    page = await bob.get("/dashboard/playground?model=demo-slow")
    assert '<option value="demo-slow" selected>' in page.text
