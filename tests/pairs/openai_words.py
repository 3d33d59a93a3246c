"""One ask in the words of the OpenAI SDK, Chat and Responses, and what the SDK returns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai

from tests.fakes.recordings import Figures
from tests.pairs.asks import (
    Ask,
    Back,
    Call,
    Ending,
    Heard,
    Part,
    Pdf,
    Picture,
    Result,
    Said,
    Tool,
    Use,
    Words,
)

_MARK: dict[str, Any] = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_ENDINGS: dict[str | None, Ending] = {
    "stop": "stop",
    "tool_calls": "calls",
    "length": "length",
    "content_filter": "filter",
}


def _mark(words: Words) -> dict[str, Any]:
    return _MARK if words.cache else {}


def _data_url(mime: str, data: str) -> str:
    return f"data:{mime};base64,{data}"


# --- Chat -------------------------------------------------------------------------------


def chat_arguments(ask: Ask, *, stream: bool) -> dict[str, Any]:
    """Return the arguments of ``chat.completions.create``."""
    out: dict[str, Any] = {"messages": list(_chat_messages(ask)), "max_completion_tokens": ask.cap}
    if stream:
        out["stream_options"] = {"include_usage": True}
    if ask.tools:
        out["tools"] = [{"type": "function", "function": _function(each)} for each in ask.tools]
    if ask.choice in ("auto", "required", "none"):
        out["tool_choice"] = ask.choice
    elif ask.choice:
        out["tool_choice"] = {"type": "function", "function": {"name": ask.choice}}
    if ask.schema is not None:
        form = {"name": "answer", "schema": ask.schema, "strict": True}
        out["response_format"] = {"type": "json_schema", "json_schema": form}
    if ask.effort:
        out["reasoning_effort"] = ask.effort
    if ask.stop:
        out["stop"] = list(ask.stop)
    return {**out, **ask.extra}


def _function(tool: Tool) -> dict[str, Any]:
    return {"name": tool.name, "description": tool.description, "parameters": tool.schema}


def _chat_messages(ask: Ask) -> Iterator[Any]:
    if ask.system is not None:
        content = [{"type": "text", "text": ask.system.text, **_mark(ask.system)}]
        yield {"role": "system", "content": content}
    for turn in ask.turns:
        match turn:
            case Back(native=message):
                yield message
            case Result():
                content = [_chat_part(part) for part in turn.parts]
                yield {"role": "tool", "tool_call_id": turn.id, "content": content}
            case Said(role="user"):
                yield {"role": "user", "content": [_chat_part(part) for part in turn.parts]}
            case Said():
                yield _chat_said(turn)


def _chat_part(part: Part) -> dict[str, Any]:
    match part:
        case Words():
            return {"type": "text", "text": part.text, **_mark(part)}
        case Picture():
            return {"type": "image_url", "image_url": {"url": _data_url(part.mime, part.data)}}
        case Pdf():
            data = _data_url("application/pdf", part.data)
            return {"type": "file", "file": {"filename": part.name, "file_data": data}}
    raise TypeError(part)


def _chat_said(turn: Said) -> dict[str, Any]:
    words = [each.text for each in turn.parts if isinstance(each, Words)]
    calls = [
        {
            "id": each.id,
            "type": "function",
            "function": {"name": each.name, "arguments": json.dumps(each.arguments)},
        }
        for each in turn.parts
        if isinstance(each, Use)
    ]
    out: dict[str, Any] = {"role": "assistant", "content": "".join(words) or None}
    return {**out, "tool_calls": calls} if calls else out


async def ask_chat(
    client: openai.AsyncOpenAI, model: str, ask: Ask, *, stream: bool, heard: Heard
) -> None:
    """Ask Chat; the SDK's own accumulator puts a stream together."""
    arguments = chat_arguments(ask, stream=stream)
    completions = client.chat.completions
    if not stream:
        _hear_chat(heard, await completions.create(model=model, **arguments))
        return
    async with completions.stream(model=model, **arguments) as events:
        async for event in events:
            if event.type == "content.delta":
                heard.pieces.append(event.delta)
            elif event.type == "tool_calls.function.arguments.delta" and event.arguments_delta:
                heard.argument_pieces.append(event.arguments_delta)
            elif event.type == "refusal.delta":
                heard.refusal += event.delta
        heard.refusal = ""
        # Not ``get_final_completion``: it refuses answers that were cut.
        _hear_chat(heard, events.current_completion_snapshot)


def _hear_chat(heard: Heard, answer: Any) -> None:
    choice = answer.choices[0]
    said = choice.message
    heard.raw, heard.model = answer, answer.model
    heard.ending = _ENDINGS.get(choice.finish_reason, "unknown")
    heard.text, heard.refusal = said.content or "", said.refusal or ""
    heard.thoughts = getattr(said, "reasoning_content", None) or ""
    for call in said.tool_calls or ():
        arguments = json.loads(call.function.arguments or "{}")
        heard.calls.append(Call(call.id, call.function.name, arguments))
    heard.native = _chat_native(said.to_dict())
    if answer.usage is not None:
        asked, told = answer.usage.prompt_tokens_details, answer.usage.completion_tokens_details
        heard.usage = Figures(
            answer.usage.prompt_tokens,
            answer.usage.completion_tokens,
            (asked and asked.cached_tokens) or 0,
            (asked and asked.cache_write_tokens) or 0,
            (told and told.reasoning_tokens) or 0,
        )


def _chat_native(message: dict[str, Any]) -> dict[str, Any]:
    """Return the message as clients that keep its unknown fields put it into a history."""
    kept = ("role", "content", "reasoning_content", "refusal", "tool_calls")
    out = {name: message[name] for name in kept if message.get(name) is not None}
    for call in out.get("tool_calls", ()):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    return out


# --- Responses --------------------------------------------------------------------------


def responses_arguments(ask: Ask) -> dict[str, Any]:
    """Return the arguments of ``responses.create``."""
    out: dict[str, Any] = {"input": list(_items(ask)), "max_output_tokens": ask.cap, "store": False}
    if ask.tools:
        out["tools"] = [{"type": "function", "strict": False, **_function(t)} for t in ask.tools]
    if ask.choice in ("auto", "required", "none"):
        out["tool_choice"] = ask.choice
    elif ask.choice:
        out["tool_choice"] = {"type": "function", "name": ask.choice}
    if ask.schema is not None:
        form = {"type": "json_schema", "name": "answer", "schema": ask.schema, "strict": True}
        out["text"] = {"format": form}
    if ask.effort:
        out["reasoning"] = {"effort": ask.effort, "summary": "auto"}
        out["include"] = ["reasoning.encrypted_content"]
    if ask.stop:
        raise ValueError("the protocol has no stop texts")
    return {**out, **ask.extra}


def _items(ask: Ask) -> Iterator[Any]:
    if ask.system is not None:
        content = [{"type": "input_text", "text": ask.system.text, **_mark(ask.system)}]
        yield {"type": "message", "role": "system", "content": content}
    for turn in ask.turns:
        match turn:
            case Back(native=items):
                yield from items
            case Result():
                output = [_item_part(part) for part in turn.parts]
                yield {"type": "function_call_output", "call_id": turn.id, "output": output}
            case Said(role="user"):
                content = [_item_part(part) for part in turn.parts]
                yield {"type": "message", "role": "user", "content": content}
            case Said():
                yield from map(_said_item, turn.parts)


def _item_part(part: Part) -> dict[str, Any]:
    match part:
        case Words():
            return {"type": "input_text", "text": part.text, **_mark(part)}
        case Picture():
            url = _data_url(part.mime, part.data)
            return {"type": "input_image", "image_url": url, "detail": "auto"}
        case Pdf():
            data = _data_url("application/pdf", part.data)
            return {"type": "input_file", "filename": part.name, "file_data": data}
    raise TypeError(part)


def _said_item(part: Part) -> dict[str, Any]:
    match part:
        case Words():
            return {"role": "assistant", "content": part.text}
        case Use():
            arguments = json.dumps(part.arguments)
            call = {"call_id": part.id, "name": part.name, "arguments": arguments}
            return {"type": "function_call", **call}
    raise TypeError(part)


async def ask_responses(
    client: openai.AsyncOpenAI, model: str, ask: Ask, *, stream: bool, heard: Heard
) -> None:
    """Ask Responses; the SDK's own accumulator puts a stream together."""
    arguments = responses_arguments(ask)
    if not stream:
        _hear_responses(heard, await client.responses.create(model=model, **arguments))
        return
    async with client.responses.stream(model=model, **arguments) as events:
        async for event in events:
            if event.type == "response.output_text.delta":
                heard.pieces.append(event.delta)
            elif event.type == "response.function_call_arguments.delta":
                heard.argument_pieces.append(event.delta)
            elif event.type in ("response.completed", "response.incomplete"):
                # Not ``get_final_response``: it refuses answers that were cut.
                _hear_responses(heard, event.response)


def _hear_responses(heard: Heard, answer: Any) -> None:
    heard.raw, heard.model = answer, answer.model
    heard.native = list(answer.output)
    for item in answer.output:
        match item.type:
            case "message":
                for part in item.content:
                    heard.text += part.text if part.type == "output_text" else ""
                    heard.refusal += part.refusal if part.type == "refusal" else ""
            case "reasoning":
                heard.thoughts += "".join(each.text for each in item.summary)
                heard.thoughts += "".join(each.text for each in item.content or ())
            case "function_call":
                arguments = json.loads(item.arguments or "{}")
                heard.calls.append(Call(item.call_id, item.name, arguments))
    heard.ending = _responses_ending(answer, heard)
    if answer.usage is not None:
        usage = answer.usage
        heard.usage = Figures(
            usage.input_tokens,
            usage.output_tokens,
            usage.input_tokens_details.cached_tokens,
            usage.input_tokens_details.cache_write_tokens,
            usage.output_tokens_details.reasoning_tokens,
        )


def _responses_ending(answer: Any, heard: Heard) -> Ending:
    if answer.status == "completed":
        return "calls" if heard.calls else "stop"
    reason = answer.incomplete_details and answer.incomplete_details.reason
    endings: dict[str | None, Ending] = {"max_output_tokens": "length", "content_filter": "filter"}
    return endings.get(reason, "unknown")
