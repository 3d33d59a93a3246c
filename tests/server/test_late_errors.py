"""Errors behind an open head, before any of the answer was shown: well formed for each client."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import anthropic
import openai
import pytest

from tests.conftest import Running, Starter, toml
from tests.fakes.answers import Answer, frame, stream_answer
from tests.fakes.upstream import FakeUpstream
from tests.server.test_stream_life import begin

FAST = "keepalive_interval_s = 0.3"
TOLD = r"broke off|in the middle"
HEAD = {"id": "r", "object": "response", "status": "in_progress", "model": "plain", "output": []}
CREATED = frame(
    {"type": "response.created", "sequence_number": 0, "response": HEAD}, "response.created"
)


def broken(fake: FakeUpstream, first: list[bytes]) -> Answer:
    """Begin an answer, fall silent until signs of life are due, and break off."""
    return stream_answer([*first, 0.8], end="close")


@pytest.fixture
async def silent(fake: FakeUpstream, start: Starter) -> Running:
    text = toml(fake.base_url, server=FAST)
    text += f"""
[[upstreams]]
name = "responses"
base_url = "{fake.base_url}"
protocols = ["openai-responses"]

[[models]]
id = "r-model"
targets = [{{ upstream = "responses", model = "plain" }}]
"""
    return await start(text)


BEGINNINGS = {"c-model": begin("c-model"), "m-model": begin("m-model"), "r-model": [CREATED]}
upstreams = pytest.mark.parametrize("model", list(BEGINNINGS))


@upstreams
async def test_chat_client_is_told(model: str, silent: Running, fake: FakeUpstream) -> None:
    fake.always(broken(fake, BEGINNINGS[model]))
    base = f"{silent.base_url}/v1"
    async with openai.AsyncOpenAI(base_url=base, api_key=silent.key, max_retries=0) as client:
        stream = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": "Hi"}], stream=True
        )
        with pytest.raises(openai.APIError, match=TOLD):
            async for _ in stream:
                pass


@upstreams
async def test_responses_client_is_told(model: str, silent: Running, fake: FakeUpstream) -> None:
    fake.always(broken(fake, BEGINNINGS[model]))
    base = f"{silent.base_url}/v1"
    async with (
        openai.AsyncOpenAI(base_url=base, api_key=silent.key, max_retries=0) as client,
        client.responses.stream(model=model, input="Hi") as stream,
    ):
        with pytest.raises(openai.APIError, match=TOLD):
            await stream.get_final_response()


@upstreams
async def test_messages_client_is_told(model: str, silent: Running, fake: FakeUpstream) -> None:
    fake.always(broken(fake, BEGINNINGS[model]))
    async with anthropic.AsyncAnthropic(
        base_url=silent.base_url, api_key=silent.key, max_retries=0
    ) as client:
        with pytest.raises(anthropic.APIError, match=TOLD):
            async with client.messages.stream(
                model=model, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            ) as stream:
                await stream.get_final_message()


@upstreams
@pytest.mark.parametrize("query", ["", "?alt=sse"])
async def test_gemini_client_is_told(
    query: str, model: str, silent: Running, fake: FakeUpstream, http: aiohttp.ClientSession
) -> None:
    fake.always(broken(fake, BEGINNINGS[model]))
    url = f"{silent.base_url}/v1beta/models/{model}:streamGenerateContent{query}"
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    async with http.post(url, json=body, headers={"x-goog-api-key": silent.key}) as got:
        assert got.status == 200
        said = await got.read()
    elements: list[Any]
    if query:
        # Nothing but data lines, and white space between them.
        assert all(line.startswith(b"data: {") for line in said.split(b"\n") if line)
        elements = [json.loads(line[6:]) for line in said.split(b"\n") if line]
    else:
        elements = json.loads(said)
    assert elements[-1]["error"]["code"] == 502
