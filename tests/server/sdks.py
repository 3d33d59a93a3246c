"""The official Python SDKs as clients, and what went over the wire between them and us."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from tests.fakes.recordings import Figures

HI: list[Any] = [{"role": "user", "content": "Hi"}]
PAIRS = [
    (client, model, stream)
    for client in ("chat", "messages")
    for model in ("c-model", "m-model")
    for stream in (False, True)
]


def _marks(rows: list[tuple[str, str, bool]]) -> pytest.MarkDecorator:
    names = [f"{row[0]}-{row[1][0]}-{'stream' if row[2] else 'whole'}" for row in rows]
    return pytest.mark.parametrize(("client", "model", "stream"), rows, ids=names)


every_pair = _marks(PAIRS)
"""Every client with every upstream, whole and streamed."""

every_cross = _marks([row for row in PAIRS if row[0][0] != row[1][0]])
"""Each client with the upstream of the other protocol, whole and streamed."""


@dataclass(slots=True)
class Wire:
    """The HTTP of both clients.

    Attributes:
        sent: request bodies, byte for byte, in order.
        heads: the response headers, in order.
    """

    sent: list[bytes] = field(default_factory=list)
    heads: list[httpx2.Headers] = field(default_factory=list)

    async def request(self, request: httpx2.Request) -> None:
        """Note a request."""
        self.sent.append(await request.aread())

    async def response(self, response: httpx2.Response) -> None:
        """Note a response."""
        self.heads.append(response.headers)


@dataclass(slots=True)
class Heard:
    """One answer, in words that both clients share.

    Attributes:
        finish: the client protocol's own word.
        calls: id, name and arguments of each; arguments of a function as an object.
        raw: the SDK's own object.
    """

    model: str
    finish: str | None
    text: str = ""
    thoughts: str = ""
    refusal: str = ""
    calls: list[tuple[str, str, Any]] = field(default_factory=list)
    usage: Figures | None = None
    raw: Any = None


@dataclass(slots=True)
class Sdks:
    """One client of each vendor."""

    chat: openai.AsyncOpenAI
    messages: anthropic.AsyncAnthropic
    wire: Wire

    @property
    def head(self) -> httpx2.Headers:
        """The headers of the latest answer."""
        return self.wire.heads[-1]

    @property
    def dropped(self) -> list[str]:
        """What the latest answer says was left out."""
        named = self.head.get("x-kurol-dropped")
        return named.split(",") if named else []

    async def ask(self, client: str, model: str, *, stream: bool = False, **more: Any) -> Heard:
        """Ask by ``chat`` or ``messages`` and return the whole answer.

        Streams are put together by the SDK's own accumulator.
        """
        more = {"messages": HI, **more}
        if client == "chat":
            return await self._by_chat(model, stream, more)
        return await self._by_messages(model, stream, {"max_tokens": 1000, **more})

    async def _by_chat(self, model: str, stream: bool, more: Mapping[str, Any]) -> Heard:
        completions = self.chat.chat.completions
        if not stream:
            return _chat(await completions.create(model=model, **more))
        options = {"stream_options": {"include_usage": True}, **more}
        async with completions.stream(model=model, **options) as events:
            await events.until_done()
            # Not ``get_final_completion``: it refuses answers that were cut.
            return _chat(events.current_completion_snapshot)

    async def _by_messages(self, model: str, stream: bool, more: Mapping[str, Any]) -> Heard:
        if not stream:
            return _messages(await self.messages.messages.create(model=model, **more))
        async with self.messages.messages.stream(model=model, **more) as events:
            return _messages(await events.get_final_message())

    async def close(self) -> None:
        """Close both clients."""
        await self.chat.close()
        await self.messages.close()


def connected(base_url: str, key: str, *, max_retries: int = 0) -> Sdks:
    """Return clients of a gateway."""
    wire = Wire()
    # Without TLS settings: loading them would take longer than a test.
    http = httpx2.AsyncClient(
        verify=False,
        timeout=30,
        event_hooks={"request": [wire.request], "response": [wire.response]},
    )
    chat = openai.AsyncOpenAI(
        base_url=f"{base_url}/v1", api_key=key, max_retries=max_retries, http_client=http
    )
    messages = anthropic.AsyncAnthropic(
        base_url=base_url, api_key=key, max_retries=max_retries, http_client=http
    )
    return Sdks(chat, messages, wire)


def _chat(answer: Any) -> Heard:
    choice = answer.choices[0]
    said = choice.message
    heard = Heard(answer.model, choice.finish_reason, raw=answer)
    heard.text, heard.refusal = said.content or "", said.refusal or ""
    heard.thoughts = getattr(said, "reasoning_content", None) or ""
    for call in said.tool_calls or ():
        if call.type == "custom":
            # A dictionary: the SDK's accumulator of streams knows functions only.
            custom = call.to_dict()["custom"]
            heard.calls.append((call.id, custom["name"], custom["input"]))
        else:
            arguments = json.loads(call.function.arguments)
            heard.calls.append((call.id, call.function.name, arguments))
    if answer.usage is not None:
        asked, told = answer.usage.prompt_tokens_details, answer.usage.completion_tokens_details
        heard.usage = Figures(
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            asked.cached_tokens or 0,
            asked.cache_write_tokens or 0,
            told.reasoning_tokens or 0,
        )
    return heard


def _messages(answer: Any) -> Heard:
    heard = Heard(answer.model, answer.stop_reason, raw=answer)
    for block in answer.content:
        match block.type:
            case "text":
                heard.text += block.text
            case "thinking":
                heard.thoughts += block.thinking
            case "tool_use":
                heard.calls.append((block.id, block.name, block.input))
    if answer.stop_details is not None:
        heard.refusal = answer.stop_details.explanation or ""
    usage = answer.usage
    read, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
    thought = usage.output_tokens_details
    heard.usage = Figures(
        usage.input_tokens + read + written,
        usage.output_tokens,
        read,
        written,
        thought.thinking_tokens if thought is not None else 0,
    )
    return heard
