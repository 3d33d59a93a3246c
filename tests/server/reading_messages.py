"""Messages, read by the Anthropic SDK."""

from __future__ import annotations

import json
from typing import Any

import anthropic

from tests.fakes.recordings import Call, Figures, normal_json
from tests.server.seen import PROMPT, Seen


async def read_messages(
    sdk: anthropic.AsyncAnthropic, model: str, seen: Seen, *, stream: bool, **more: Any
) -> None:
    """Ask and read the answer."""
    # Reasoning is shown to a Messages client only when it asked for it.
    thinking = {"type": "adaptive"}
    more = {"messages": PROMPT, "max_tokens": 50_000, "thinking": thinking, **more}
    if stream:
        await _stream(sdk, model, seen, more)
    else:
        _whole(await sdk.beta.messages.create(model=model, **more), seen)


async def _stream(
    sdk: anthropic.AsyncAnthropic, model: str, seen: Seen, more: dict[str, Any]
) -> None:
    # The raw events: the SDK's accumulator parses arguments that may be cut off.
    stream = await sdk.beta.messages.create(model=model, stream=True, **more)
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
                _delta(event, blocks, seen)
            case "message_delta":
                figures.update(event.usage.model_dump(exclude_none=True))
                seen.finish = event.delta.stop_reason
                details = event.delta.stop_details
                seen.refusal += (details and details.explanation) or ""
    seen.calls = [Call(name, normal_json(text)) for name, text in blocks.values()]
    seen.usage = _usage(figures)


def _delta(event: Any, blocks: dict[int, list[str]], seen: Seen) -> None:
    delta = event.delta
    if delta.type == "text_delta":
        seen.text += delta.text
    elif delta.type == "thinking_delta":
        seen.reasoning += delta.thinking
    elif delta.type == "input_json_delta" and event.index in blocks:
        blocks[event.index][1] += delta.partial_json


def _whole(answer: Any, seen: Seen) -> None:
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
    seen.usage = _usage(answer.usage.model_dump(exclude_none=True))


def _usage(figures: dict[str, Any]) -> Figures:
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
