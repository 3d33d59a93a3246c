"""The official SDKs as readers: what a client of each protocol sees of one answer."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai

from tests.fakes.recordings import Call, Figures, normal_json

PROMPT = [{"role": "user", "content": "x"}]


class Seen:
    """What one client saw.

    Attributes:
        finish: the client protocol's own word.
        error: the text of the error that ended the answer.
        status: of an error that came before the stream.
    """

    def __init__(self) -> None:
        self.text = ""
        self.reasoning = ""
        self.refusal = ""
        self.calls: list[Call] = []
        self.finish: str | None = None
        self.usage: Figures | None = None
        self.error: str | None = None
        self.status: int | None = None


async def by_chat(base_url: str, key: str, model: str, *, stream: bool, **more: Any) -> Seen:
    """Ask with the OpenAI SDK."""
    seen = Seen()
    more = {"messages": PROMPT, **more}
    async with openai.AsyncOpenAI(
        base_url=f"{base_url}/v1", api_key=key, max_retries=0, timeout=30
    ) as client:
        try:
            if stream:
                await _chat_stream(client, model, seen, more)
            else:
                answer = await client.chat.completions.create(model=model, **more)
                _chat_whole(answer, seen)
        except openai.APIStatusError as error:
            seen.error, seen.status = error.message, error.status_code
        except openai.APIError as error:
            seen.error = error.message
    return seen


async def _chat_stream(
    client: openai.AsyncOpenAI, model: str, seen: Seen, more: dict[str, Any]
) -> None:
    calls: dict[int, list[str]] = {}
    stream = await client.chat.completions.create(
        model=model, stream=True, stream_options={"include_usage": True}, **more
    )
    async for chunk in stream:
        if chunk.usage is not None:
            seen.usage = _chat_usage(chunk.usage)
        for choice in (each for each in chunk.choices or [] if each.index == 0):
            seen.finish = choice.finish_reason or seen.finish
            delta = choice.delta
            if delta is None:
                continue
            _chat_said(delta, seen)
            for position, call in enumerate(delta.tool_calls or []):
                index = call.index if call.index is not None else position
                slot = calls.setdefault(index, ["", ""])
                custom = getattr(call, "custom", None)
                function = call.function
                if function is not None:
                    slot[0] = function.name or slot[0]
                    slot[1] += _text(function.arguments)
                elif custom:
                    slot[0] = custom.get("name") or slot[0]
                    slot[1] += custom.get("input") or ""
    seen.calls = [Call(name, normal_json(arguments)) for name, arguments in calls.values()]


def _text(arguments: object) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments or {})


def _chat_whole(answer: Any, seen: Seen) -> None:
    choice = answer.choices[0]
    seen.finish = choice.finish_reason
    # Azure's content filter leaves the message out.
    if choice.message is not None:
        _chat_said(choice.message, seen)
    for call in (choice.message and choice.message.tool_calls) or []:
        if call.type == "custom":
            seen.calls.append(Call(call.custom.name, normal_json(call.custom.input)))
        else:
            arguments = call.function.arguments
            seen.calls.append(Call(call.function.name, normal_json(arguments)))
    if answer.usage is not None:
        seen.usage = _chat_usage(answer.usage)


def _chat_said(said: Any, seen: Seen) -> None:
    if isinstance(said.content, str):
        seen.text += said.content
    elif isinstance(said.content, list):  # Mistral, passed through as it is
        for part in said.content:
            _mistral(part, seen)
    thought = getattr(said, "reasoning_content", None) or getattr(said, "reasoning", None)
    if isinstance(thought, str):
        seen.reasoning += thought
    seen.refusal += said.refusal or ""


def _mistral(part: dict[str, Any], seen: Seen) -> None:
    if part.get("type") == "text":
        seen.text += part["text"]
    for inner in part.get("thinking") or []:
        seen.reasoning += inner.get("text", "")


def _chat_usage(usage: Any) -> Figures:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (prompt and prompt.cached_tokens) or getattr(usage, "prompt_cache_hit_tokens", 0)
    written = (prompt and getattr(prompt, "cache_write_tokens", 0)) or 0
    thought = (completion and completion.reasoning_tokens) or 0
    return Figures(usage.prompt_tokens, usage.completion_tokens, cached or 0, written, thought)


async def by_messages(base_url: str, key: str, model: str, *, stream: bool, **more: Any) -> Seen:
    """Ask with the Anthropic SDK."""
    seen = Seen()
    # Reasoning is shown to a Messages client only when it asked for it.
    thinking = {"type": "adaptive"}
    more = {"messages": PROMPT, "max_tokens": 50_000, "thinking": thinking, **more}
    async with anthropic.AsyncAnthropic(
        base_url=base_url, api_key=key, max_retries=0, timeout=30
    ) as client:
        try:
            if stream:
                await _messages_stream(client, model, seen, more)
            else:
                _messages_whole(await client.beta.messages.create(model=model, **more), seen)
        except anthropic.APIStatusError as error:
            body = error.body
            seen.error = body["error"]["message"] if isinstance(body, dict) else error.message
            seen.status = error.status_code
    return seen


async def _messages_stream(
    client: anthropic.AsyncAnthropic, model: str, seen: Seen, more: dict[str, Any]
) -> None:
    # The raw events: the SDK's accumulator parses arguments that may be cut off.
    stream = await client.beta.messages.create(model=model, stream=True, **more)
    blocks: dict[int, list[str]] = {}
    figures: dict[str, Any] = {}
    async for event in stream:
        match event.type:
            case "message_start":
                figures.update(event.message.usage.model_dump(exclude_none=True))
            case "content_block_start" if event.content_block.type == "tool_use":
                given = event.content_block.input
                blocks[event.index] = [
                    event.content_block.name,
                    json.dumps(given) if given else "",
                ]
            case "content_block_delta":
                _messages_delta(event, blocks, seen)
            case "message_delta":
                figures.update(event.usage.model_dump(exclude_none=True))
                seen.finish = event.delta.stop_reason
                details = event.delta.stop_details
                seen.refusal += (details and details.explanation) or ""
    seen.calls = [Call(name, normal_json(text)) for name, text in blocks.values()]
    seen.usage = _messages_usage(figures)


def _messages_delta(event: Any, blocks: dict[int, list[str]], seen: Seen) -> None:
    delta = event.delta
    if delta.type == "text_delta":
        seen.text += delta.text
    elif delta.type == "thinking_delta":
        seen.reasoning += delta.thinking
    elif delta.type == "input_json_delta" and event.index in blocks:
        blocks[event.index][1] += delta.partial_json


def _messages_whole(answer: Any, seen: Seen) -> None:
    for block in answer.content:
        if block.type == "text":
            seen.text += block.text
        elif block.type == "thinking":
            seen.reasoning += block.thinking
        elif block.type == "tool_use":
            seen.calls.append(Call(block.name, normal_json(json.dumps(block.input))))
    seen.finish = answer.stop_reason
    details = answer.stop_details
    seen.refusal += (details and details.explanation) or ""
    seen.usage = _messages_usage(answer.usage.model_dump(exclude_none=True))


def _messages_usage(figures: dict[str, Any]) -> Figures:
    read = figures.get("cache_read_input_tokens", 0)
    written = figures.get("cache_creation_input_tokens", 0)
    thought = figures.get("output_tokens_details") or {}
    return Figures(
        figures.get("input_tokens", 0) + read + written,
        figures.get("output_tokens", 0),
        read,
        written,
        thought.get("thinking_tokens") or 0,
    )
