"""Chat Completions, read by the OpenAI SDK."""

from __future__ import annotations

import json
from typing import Any

import openai

from tests.fakes.recordings import Call, Figures, normal_json
from tests.server.seen import PROMPT, Seen


async def read_chat(
    sdk: openai.AsyncOpenAI, model: str, seen: Seen, *, stream: bool, **more: Any
) -> None:
    """Ask and read the answer."""
    more = {"messages": PROMPT, **more}
    if stream:
        await _stream(sdk, model, seen, more)
    else:
        _whole(await sdk.chat.completions.create(model=model, **more), seen)


async def _stream(sdk: openai.AsyncOpenAI, model: str, seen: Seen, more: dict[str, Any]) -> None:
    calls: dict[int, list[str]] = {}
    stream = await sdk.chat.completions.create(
        model=model, stream=True, stream_options={"include_usage": True}, **more
    )
    async for chunk in stream:
        if chunk.usage is not None:
            seen.usage = _usage(chunk.usage)
        for choice in (each for each in chunk.choices or [] if each.index == 0):
            seen.finish = choice.finish_reason or seen.finish
            delta = choice.delta
            if delta is None:
                continue
            _said(delta, seen)
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


def _whole(answer: Any, seen: Seen) -> None:
    choice = answer.choices[0]
    seen.finish = choice.finish_reason
    # Azure's content filter leaves the message out.
    if choice.message is not None:
        _said(choice.message, seen)
    for call in (choice.message and choice.message.tool_calls) or []:
        if call.type == "custom":
            seen.calls.append(Call(call.custom.name, normal_json(call.custom.input)))
        else:
            arguments = call.function.arguments
            seen.calls.append(Call(call.function.name, normal_json(arguments)))
    if answer.usage is not None:
        seen.usage = _usage(answer.usage)


def _said(said: Any, seen: Seen) -> None:
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


def _usage(usage: Any) -> Figures:
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    cached = (prompt and prompt.cached_tokens) or getattr(usage, "prompt_cache_hit_tokens", 0)
    written = (prompt and getattr(prompt, "cache_write_tokens", 0)) or 0
    thought = (completion and completion.reasoning_tokens) or 0
    return Figures(usage.prompt_tokens, usage.completion_tokens, cached or 0, written, thought)
