"""Targets that offer several protocols: which one is spoken."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from tests.conftest import PLANTED_KEY, Running, Starter, toml
from tests.fakes.answers import frame, json_answer, stream_answer
from tests.fakes.upstream import FakeUpstream, SeenRequest

TOOL = {"name": "get", "parameters": {"type": "object", "properties": {}}}
CHAT_TOOLS = [{"type": "function", "function": TOOL}]
ANTHROPIC_TOOLS = [{"name": "get", "input_schema": TOOL["parameters"]}]
PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "gemini": "/v1beta/models/several:generateContent",
}
ASKED: dict[str, dict[str, Any]] = {
    "chat": {"messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"input": "Hi"},
    "messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9_000},
    "gemini": {"contents": [{"parts": [{"text": "Hi"}]}]},
}
ANSWERS: dict[str, Any] = {
    "/v1/chat/completions": {
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello"},
                "finish_reason": "stop",
            }
        ]
    },
    "/v1/responses": {
        "object": "response",
        "status": "completed",
        "output": [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Hello", "annotations": []}],
            }
        ],
    },
    "/v1/messages": {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "Hello"}],
        "stop_reason": "end_turn",
    },
}


def several(fake: FakeUpstream, protocols: str, model: str = "") -> str:
    return (
        toml(fake.base_url)
        + f"""
[[upstreams]]
name = "several"
base_url = "{fake.base_url}"
protocols = [{protocols}]
api_keys = ["{PLANTED_KEY}"]

[[models]]
id = "several"
targets = [{{ upstream = "several", model = "plain" }}]
{model}
"""
    )


def answering(fake: FakeUpstream) -> None:
    def answer(seen: SeenRequest) -> Any:
        return json_answer(ANSWERS[seen.path.partition("?")[0]])

    fake.always(answer)


async def ask(
    http: aiohttp.ClientSession, gateway: Running, client: str, **more: Any
) -> tuple[int, str]:
    body = {**ASKED[client], **more}
    if client != "gemini":
        body["model"] = "several"
    headers = {"authorization": f"Bearer {gateway.key}"}
    async with http.post(gateway.base_url + PATHS[client], json=body, headers=headers) as got:
        return got.status, await got.text()


ALL = '"anthropic", "openai-chat", "openai-responses"'
TAKEN = [
    ("chat", "/v1/chat/completions"),
    ("responses", "/v1/responses"),
    ("messages", "/v1/messages"),
    ("gemini", "/v1/messages"),
]


@pytest.mark.parametrize(("client", "path"), TAKEN)
async def test_own_protocol_is_spoken_where_it_is_offered_else_the_first(
    client: str, path: str, fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(several(fake, ALL))
    answering(fake)
    status, text = await ask(http, gateway, client)
    assert (status, "Hello" in text) == (200, True)
    assert fake.last.path == path


@pytest.mark.parametrize("client", list(PATHS))
async def test_model_that_exists_on_one_protocol_only_is_reached_from_all(
    client: str, fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(several(fake, ALL, 'protocols = ["openai-responses"]'))
    answering(fake)
    status, text = await ask(http, gateway, client)
    assert (status, "Hello" in text) == (200, True)
    assert fake.last.path == "/v1/responses"


@pytest.mark.parametrize(
    ("client", "more", "path"),
    [
        ("chat", {"tools": CHAT_TOOLS, "reasoning_effort": "high"}, "/v1/responses"),
        ("chat", {"tools": CHAT_TOOLS}, "/v1/responses"),
        ("chat", {"tools": CHAT_TOOLS, "reasoning_effort": "none"}, "/v1/chat/completions"),
        ("chat", {"reasoning_effort": "high"}, "/v1/chat/completions"),
        ("chat", {"functions": [TOOL]}, "/v1/responses"),
        ("messages", {"tools": ANTHROPIC_TOOLS}, "/v1/responses"),
        ("messages", {}, "/v1/chat/completions"),
        ("responses", {}, "/v1/responses"),
    ],
)
async def test_tools_of_a_thinking_model_take_the_protocol_that_allows_them(
    client: str,
    more: dict[str, Any],
    path: str,
    fake: FakeUpstream,
    start: Starter,
    http: aiohttp.ClientSession,
) -> None:
    text = several(
        fake, '"openai-chat", "openai-responses"', 'tools_with_reasoning = "openai-responses"'
    )
    gateway = await start(text)
    answering(fake)
    status, _ = await ask(http, gateway, client, **more)
    assert (status, fake.last.path) == (200, path)


async def test_stop_text_is_cut_here_where_the_protocol_cannot_say_it(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(several(fake, '"openai-responses"'))
    answering(fake)
    status, text = await ask(http, gateway, "messages", stop_sequences=["lo"])
    assert status == 200
    assert '"text":"Hel"' in text
    assert '"stop_reason":"stop_sequence","stop_sequence":"lo"' in text
    assert "stop" not in fake.last.json


async def test_upstream_is_left_when_a_stop_text_was_met(
    fake: FakeUpstream, start: Starter, http: aiohttp.ClientSession
) -> None:
    gateway = await start(several(fake, '"openai-responses"'))
    item = {"id": "msg_1", "type": "message", "role": "assistant", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **where, "part": part},
        {"type": "response.output_text.delta", **where, "delta": "one two three"},
    ]
    frames = [frame(each, each["type"]) for each in events]
    # The model would go on for ever.
    fake.always(stream_answer([*frames, fake.hold()]))
    body = {**ASKED["messages"], "model": "several", "stop_sequences": ["two"], "stream": True}
    headers = {"authorization": f"Bearer {gateway.key}"}
    url = gateway.base_url + PATHS["messages"]
    async with http.post(url, json=body, headers=headers) as got:
        said = await got.text()
    assert '"stop_reason":"stop_sequence","stop_sequence":"two"' in said
    assert "message_stop" in said
    assert "three" not in said
    await fake.client_gone(2.0)
