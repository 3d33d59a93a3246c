"""Counting tokens: asked of an upstream that can, else estimated, never charged."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import aiohttp
import anthropic
import pytest

from kurolproxy.ir import ProtocolName
from kurolproxy.policy.estimate import body_tokens
from tests.conftest import PLANTED_KEY, Running, Starter, toml
from tests.fakes.answers import Answer, bytes_answer, failure, json_answer
from tests.fakes.upstream import FakeUpstream

UPSTREAMS: dict[ProtocolName, tuple[str, str]] = {
    "openai-chat": ("h-model", "gpt"),
    "openai-responses": ("r-model", "gpt"),
    "anthropic": ("a-model", "claude"),
    "gemini": ("g-model", "gemini"),
}
ANSWERS: dict[ProtocolName, Any] = {
    "openai-responses": {"object": "response.input_tokens", "input_tokens": 321},
    "anthropic": {"input_tokens": 321},
    "gemini": {"totalTokens": 321},
}
PATHS = {
    "openai-responses": "/v1/responses/input_tokens",
    "anthropic": "/v1/messages/count_tokens",
    "gemini": "/v1beta/models/plain:countTokens",
}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
BODIES: dict[str, dict[str, Any]] = {
    "responses": {
        "instructions": "Be short.",
        "input": "How many?",
        "tools": [{"type": "function", "name": "get", "parameters": SCHEMA, "strict": False}],
    },
    "messages": {
        "system": "Be short.",
        "messages": [{"role": "user", "content": "How many?"}],
        "tools": [{"name": "get", "input_schema": SCHEMA}],
    },
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be short."}]},
        "contents": [{"role": "user", "parts": [{"text": "How many?"}]}],
        "tools": [{"functionDeclarations": [{"name": "get", "parametersJsonSchema": SCHEMA}]}],
    },
}
FIELDS = {"responses": "input_tokens", "messages": "input_tokens", "gemini": "totalTokens"}


def config(fake: FakeUpstream, plan: str = "") -> str:
    text = toml(fake.base_url, extra=plan)
    for protocol, (model, family) in UPSTREAMS.items():
        text += f"""
[[upstreams]]
name = "{model}"
base_url = "{fake.base_url}"
protocols = ["{protocol}"]
api_keys = ["{PLANTED_KEY}"]

[[models]]
id = "{model}"
targets = [{{ upstream = "{model}", model = "plain", reasoning_family = "{family}" }}]
"""
    return text


def asking(client: str, model: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of a counting call."""
    if client == "gemini":
        return f"/v1beta/models/{model}:countTokens", BODIES["gemini"]
    path = PATHS["openai-responses" if client == "responses" else "anthropic"]
    return path, {"model": model, **BODIES[client]}


async def counted(
    http: aiohttp.ClientSession, gateway: Running, client: str, model: str, **more: Any
) -> tuple[int, Any, Any]:
    path, body = asking(client, model)
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + path, json=body | more, headers=headers) as got:
        return got.status, await got.json(), got.headers


@pytest.mark.parametrize("client", list(BODIES))
@pytest.mark.parametrize("upstream", list(ANSWERS))
async def test_upstream_that_can_count_is_asked(
    client: str,
    upstream: ProtocolName,
    fake: FakeUpstream,
    start: Starter,
    http: aiohttp.ClientSession,
) -> None:
    gateway = await start(config(fake))
    fake.always(json_answer(ANSWERS[upstream]))
    status, got, headers = await counted(http, gateway, client, UPSTREAMS[upstream][0])
    assert (status, got[FIELDS[client]]) == (200, 321)
    assert "x-kurol-estimate" not in headers
    seen = fake.last
    assert seen.path.partition("?")[0] == PATHS[upstream]
    sent = json.dumps(seen.json)
    # What is counted is there, and nothing that the counting call does not take.
    assert all(word in sent for word in ("Be short.", "How many?", "get"))
    top = set(seen.json.get("generateContentRequest", seen.json))
    assert not top & {"max_tokens", "max_output_tokens", "stream", "store", "temperature"}
    assert gateway.key not in sent


@pytest.mark.parametrize("client", list(BODIES))
async def test_upstream_that_cannot_count_leaves_the_estimate(
    client: str, fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(config(fake))
    status, got, headers = await counted(http, gateway, client, "h-model")
    _, body = asking(client, "h-model")
    assert (status, headers["x-kurol-estimate"]) == (200, "true")
    # The tools are counted: they alone are estimated at five hundred.
    assert got[FIELDS[client]] == body_tokens(json.dumps(body).encode()) > 500
    assert not fake.requests


FAILING: list[tuple[str, Answer]] = [
    ("an error", failure(500)),
    ("no such route", failure(404)),
    ("no number", json_answer({"input_tokens": "many"})),
    ("no object", json_answer([321])),
    ("no JSON", bytes_answer(b"<html>")),
]


@pytest.mark.parametrize("answer", [row[1] for row in FAILING], ids=[row[0] for row in FAILING])
async def test_upstream_that_fails_to_count_leaves_the_estimate(
    answer: Answer, fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(config(fake))
    fake.always(answer)
    status, got, headers = await counted(http, gateway, "messages", "a-model")
    assert (status, headers["x-kurol-estimate"]) == (200, "true")
    assert got["input_tokens"] > 500


async def test_upstream_that_is_silent_leaves_the_estimate_after_a_while(
    fake: FakeUpstream,
    start: Starter,
    http: aiohttp.ClientSession,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kurolproxy.server.counting._PATIENCE_S", 0.2)
    gateway = await start(config(fake))
    fake.always(replace(json_answer({"input_tokens": 1}), hold=fake.hold()))
    status, _, headers = await counted(http, gateway, "messages", "a-model")
    assert (status, headers["x-kurol-estimate"]) == (200, "true")
    await fake.client_gone()


async def test_counting_takes_a_request_and_no_tokens(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    plan = '[[plans]]\nname = "two"\nmodels = ["*"]\nrequests_per_minute = 2\ndaily_tokens = 9\n'
    gateway = await start(config(fake, plan))
    gateway.key = await gateway.new_key("two")
    fake.always(json_answer({"input_tokens": 5_000_000}))
    found = [await counted(http, gateway, "messages", "a-model") for _ in range(3)]
    assert [status for status, _, _ in found] == [200, 200, 429]
    async with http.get(f"{gateway.base_url}/v1/usage", headers={"x-api-key": gateway.key}) as got:
        usage = await got.json()
    assert (usage["daily_tokens"]["used"], usage["daily_tokens"]["reserved"]) == (0, 0)
    await gateway.gateway.state.usage.flush()
    assert gateway.gateway.state.usage.pending == 0
    lines = [json.loads(line) for line in gateway.lines().splitlines()]
    logged = [line for line in lines if line["event"] == "request"]
    assert [line["outcome"] for line in logged] == ["ok", "ok", "rate_limited"]
    assert logged[0]["endpoint"] == "/v1/messages/count_tokens"


@pytest.mark.parametrize(
    ("client", "more", "status"),
    [
        ("messages", {"messages": 7}, 400),
        ("gemini", {"contents": 7}, 400),
        ("responses", {"previous_response_id": "resp_1"}, 400),
    ],
)
async def test_prompt_that_cannot_be_said_is_refused(
    client: str,
    more: dict[str, Any],
    status: int,
    gateway: Running,
    http: aiohttp.ClientSession,
    start: Starter,
    fake: FakeUpstream,
) -> None:
    gateway = await start(config(fake))
    # Each is translated: the upstream speaks another protocol.
    model = "g-model" if client != "gemini" else "a-model"
    got, body, _ = await counted(http, gateway, client, model, **more)
    assert (got, "error" in body) == (status, True)


async def test_strangers_and_foreign_models_are_refused(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(config(fake))
    status, _, _ = await counted(http, gateway, "messages", "nobody")
    assert status == 404
    gateway.key = "sk-kurol-wrong"
    for client in BODIES:
        status, _, _ = await counted(http, gateway, client, "a-model")
        assert status == 401


async def test_anthropic_sdk_counts(fake: FakeUpstream, start: Starter) -> None:
    gateway = await start(config(fake))
    fake.always(json_answer(ANSWERS["gemini"]))
    async with anthropic.AsyncAnthropic(base_url=gateway.base_url, api_key=gateway.key) as client:
        found = await client.messages.count_tokens(
            model="g-model",
            messages=[{"role": "user", "content": "Hi"}],
            thinking={"type": "enabled", "budget_tokens": 20_000},
        )
    assert found.input_tokens == 321


async def test_client_that_leaves_while_an_upstream_counts_is_no_fault(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(config(fake))
    fake.always(replace(json_answer({"input_tokens": 1}), hold=fake.hold()))
    task = asyncio.create_task(counted(http, gateway, "messages", "a-model"))
    await fake.received()
    task.cancel()
    await fake.client_gone()
    async with asyncio.timeout(5):
        while '"client_gone"' not in gateway.lines():  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.01)
    assert gateway.gateway.state.admission.running == 0
