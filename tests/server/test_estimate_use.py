"""What the vendor's own tools may read is held back while a call runs, and never charged unseen."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from kurolproxy.policy.estimate import completion_tokens
from tests.conftest import Running, Starter, soon, toml
from tests.fakes.answers import Answer, frame, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream

PLAN = '[[plans]]\nname = "day"\nmodels = ["*"]\ndaily_tokens = 1_000_000\n'
HOSTED = 20_000
CAP = 100
WORDS = "nothing at all"

ASKED: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "c-model",
        "messages": [{"role": "user", "content": "What is new?"}],
        "max_completion_tokens": CAP,
        "web_search_options": {},
    },
    "/v1/messages": {
        "model": "m-model",
        "messages": [{"role": "user", "content": "What is new?"}],
        "max_tokens": CAP,
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    },
}
SAID: Mapping[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "plain",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": WORDS},
                "finish_reason": "stop",
            }
        ],
    },
    "/v1/messages": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "plain",
        "content": [{"type": "text", "text": WORDS}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
    },
}
COUNTED = {
    "/v1/chat/completions": {"prompt_tokens": 9_000, "completion_tokens": 3, "total_tokens": 9_003},
    "/v1/messages": {"input_tokens": 9_000, "output_tokens": 3},
}
every_path = pytest.mark.parametrize("path", list(ASKED))


@pytest.fixture
async def limited(fake: FakeUpstream, start: Starter) -> Running:
    running = await start(toml(fake.base_url, extra=PLAN))
    running.key = await running.new_key("day")
    return running


def body_of(path: str, **more: Any) -> bytes:
    return json.dumps(ASKED[path] | more).encode()


def prompt_of(body: bytes) -> range:
    """Return what a prompt may be estimated at: the tokens of its words, and its syntax."""
    tools = 500 * (b'"tools"' in body)
    return range(1 + tools, len(body) + tools)


async def call(
    http: aiohttp.ClientSession, gateway: Running, path: str, body: bytes
) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {gateway.key}", "content-type": "application/json"}
    async with http.post(gateway.base_url + path, data=body, headers=headers) as got:
        return got.status, await got.read()


async def tokens(http: aiohttp.ClientSession, gateway: Running) -> tuple[int, int]:
    """Return the tokens used and reserved today."""
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.get(f"{gateway.base_url}/v1/usage", headers=headers) as got:
        daily = (await got.json())["daily_tokens"]
    return daily["used"], daily["reserved"]


@every_path
async def test_hosted_tool_is_held_back_while_the_call_runs(
    path: str, limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    gate = fake.hold()
    fake.always(replace(json_answer(SAID[path] | {"usage": COUNTED[path]}), hold=gate))
    body = body_of(path)
    running = asyncio.create_task(call(http, limited, path, body))
    await fake.received()
    used, reserved = await tokens(http, limited)
    assert used == 0
    assert reserved - HOSTED - CAP in prompt_of(body)
    gate.set()
    assert (await running)[0] == 200
    assert await tokens(http, limited) == (9_003, 0)


@every_path
async def test_answer_without_usage_is_charged_without_the_hosted_tool(
    path: str, limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(json_answer(SAID[path]))
    body = body_of(path)
    assert (await call(http, limited, path, body))[0] == 200
    used, reserved = await tokens(http, limited)
    assert reserved == 0
    assert used - completion_tokens(len(WORDS)) in prompt_of(body)


async def test_client_that_leaves_is_charged_without_the_hosted_tool(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    path = "/v1/chat/completions"
    fake.always(replace(json_answer(SAID[path]), hold=fake.hold()))
    body = body_of(path)
    running = asyncio.create_task(call(http, limited, path, body))
    await fake.received()
    running.cancel()
    await fake.client_gone()
    await soon(lambda: limited.gateway.state.admission.running == 0)
    used, reserved = await tokens(http, limited)
    assert reserved == 0
    assert used in prompt_of(body)
    assert await booked(limited) == [("client_gone", 1)]


async def test_stream_that_breaks_off_is_charged_without_the_hosted_tool(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    path = "/v1/chat/completions"
    fake.always(broken())
    body = body_of(path, stream=True)
    _, said = await call(http, limited, path, body)
    assert WORDS.encode() in said
    used, reserved = await tokens(http, limited)
    assert reserved == 0
    assert used - completion_tokens(len(WORDS)) in prompt_of(body)
    assert await booked(limited) == [("upstream_error", 1)]


def broken() -> Answer:
    """Say some words, and break off in the middle."""
    choice = {"index": 0, "delta": {"role": "assistant", "content": WORDS}, "finish_reason": None}
    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "plain"}
    return stream_answer([frame(head | {"choices": [choice]})], end="close")


async def booked(gateway: Running) -> list[tuple[str, int]]:
    """Return outcome and mark of every row of the ledger."""
    await gateway.gateway.state.usage.flush()
    rows = await gateway.gateway.database.read("SELECT outcome, estimated FROM usage")
    return [(row["outcome"], row["estimated"]) for row in rows]


async def test_hosted_tool_is_no_part_of_a_counted_prompt(
    limited: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    asked = ASKED["/v1/messages"] | {"model": "c-model"}
    del asked["max_tokens"]
    status, got = await call(http, limited, "/v1/messages/count_tokens", json.dumps(asked).encode())
    assert status == 200
    assert json.loads(got)["input_tokens"] in prompt_of(json.dumps(asked).encode())
