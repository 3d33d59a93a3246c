"""Responses, read by the OpenAI SDK."""

from __future__ import annotations

from typing import Any

import openai

from tests.fakes.recordings import Call, Figures, normal_json
from tests.server.seen import PROMPT, Seen


async def read_responses(
    sdk: openai.AsyncOpenAI,
    model: str,
    seen: Seen,
    *,
    stream: bool,
    strict: bool = False,
    **more: Any,
) -> None:
    """Ask and read the answer.

    Args:
        strict: let the SDK put the stream together, which raises ``RuntimeError`` when the
            events contradict each other.
    """
    # Reasoning is shown to a Responses client only when it asked for a summary of it.
    more = {"model": model, "input": PROMPT, "reasoning": {"summary": "auto"}, **more}
    if not stream:
        _whole(await sdk.responses.create(**more), seen)
    elif strict:
        async with sdk.responses.stream(**more) as events:
            async for event in events:
                _event(event, seen)
    else:
        async for event in await sdk.responses.create(stream=True, **more):
            _event(event, seen)


def _event(event: Any, seen: Seen) -> None:
    match event.type:
        case "response.output_text.delta":
            seen.text += event.delta
        case "response.refusal.delta":
            seen.refusal += event.delta
        case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
            seen.reasoning += event.delta
        case "response.output_item.done":
            _call(event.item, seen)
        case "response.completed" | "response.incomplete" | "response.failed":
            seen.final = Seen()
            _whole(event.response, seen.final)
            seen.finish, seen.usage = seen.final.finish, seen.final.usage


def _whole(answer: Any, seen: Seen) -> None:
    for item in answer.output:
        if item.type == "message":
            for part in item.content:
                seen.text += getattr(part, "text", "")
                seen.refusal += getattr(part, "refusal", "")
        elif item.type == "reasoning":
            seen.reasoning += "".join(part.text for part in (*item.summary, *(item.content or ())))
        _call(item, seen)
    details = answer.incomplete_details
    seen.finish = f"{answer.status}/{details.reason}" if details else answer.status
    if answer.usage is not None:
        seen.usage = _usage(answer.usage)


def _call(item: Any, seen: Seen) -> None:
    if item.type == "function_call":
        seen.calls.append(Call(item.name, normal_json(item.arguments)))
    elif item.type == "custom_tool_call":
        seen.calls.append(Call(item.name, normal_json(item.input)))


def _usage(usage: Any) -> Figures:
    read, made = usage.input_tokens_details, usage.output_tokens_details
    return Figures(
        usage.input_tokens,
        usage.output_tokens,
        (read and read.cached_tokens) or 0,
        (read and getattr(read, "cache_write_tokens", 0)) or 0,
        (made and made.reasoning_tokens) or 0,
    )
