"""One ask in the words of the Anthropic and the Google SDK, and what they return."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import anthropic
from google import genai
from google.genai import types

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
    Turn,
    Use,
    Words,
)

_CACHE: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}


# --- Messages ---------------------------------------------------------------------------


def messages_arguments(ask: Ask) -> dict[str, Any]:
    """Return the arguments of ``messages.create``."""
    out: dict[str, Any] = {"messages": list(_messages(ask)), "max_tokens": ask.cap}
    if ask.system is not None:
        out["system"] = [_block(ask.system)]
    if ask.tools:
        out["tools"] = [
            {"name": each.name, "description": each.description, "input_schema": each.schema}
            for each in ask.tools
        ]
    if ask.choice:
        words = {"auto": "auto", "required": "any", "none": "none"}
        word = words.get(ask.choice)
        out["tool_choice"] = {"type": word} if word else {"type": "tool", "name": ask.choice}
    config: dict[str, Any] = {}
    if ask.schema is not None:
        config["format"] = {"type": "json_schema", "schema": ask.schema}
    if ask.effort:
        out["thinking"] = {"type": "adaptive"}
        config["effort"] = ask.effort
    if config:
        out["output_config"] = config
    if ask.stop:
        out["stop_sequences"] = list(ask.stop)
    return {**out, **ask.extra}


def _messages(ask: Ask) -> Iterator[dict[str, Any]]:
    """Yield the messages; results that follow each other stand in one, as the vendor wants."""
    results: list[Any] = []
    for turn in ask.turns:
        if isinstance(turn, Result):
            content = [_block(part) for part in turn.parts]
            results.append({"type": "tool_result", "tool_use_id": turn.id, "content": content})
            continue
        own = [_block(part) for part in turn.parts] if isinstance(turn, Said) else turn.native
        if results and isinstance(turn, Said) and turn.role == "user":
            own, results = [*results, *own], []
        elif results:
            yield {"role": "user", "content": results}
            results = []
        role = turn.role if isinstance(turn, Said) else "assistant"
        yield {"role": role, "content": own}
    if results:
        yield {"role": "user", "content": results}


def _block(part: Part) -> dict[str, Any]:
    match part:
        case Words():
            return {"type": "text", "text": part.text, **(_CACHE if part.cache else {})}
        case Picture():
            source = {"type": "base64", "media_type": part.mime, "data": part.data}
            return {"type": "image", "source": source}
        case Pdf():
            source = {"type": "base64", "media_type": "application/pdf", "data": part.data}
            return {"type": "document", "source": source, "title": part.name}
        case Use():
            use = {"id": part.id, "name": part.name, "input": dict(part.arguments)}
            return {"type": "tool_use", **use}


async def ask_messages(
    client: anthropic.AsyncAnthropic, model: str, ask: Ask, *, stream: bool, heard: Heard
) -> None:
    """Ask Messages; the SDK's own accumulator puts a stream together."""
    arguments = messages_arguments(ask)
    if not stream:
        _hear_messages(heard, await client.messages.create(model=model, **arguments))
        return
    async with client.messages.stream(model=model, **arguments) as events:
        async for event in events:
            if event.type == "text":
                heard.pieces.append(event.text)
            elif event.type == "input_json" and event.partial_json:
                heard.argument_pieces.append(event.partial_json)
        _hear_messages(heard, await events.get_final_message())


_STOPS: dict[str | None, Ending] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "calls",
    "max_tokens": "length",
    "refusal": "filter",
}


def _hear_messages(heard: Heard, answer: Any) -> None:
    heard.raw, heard.model = answer, answer.model
    heard.ending = _STOPS.get(answer.stop_reason, "unknown")
    heard.native = list(answer.content)
    for block in answer.content:
        match block.type:
            case "text":
                heard.text += block.text
            case "thinking":
                heard.thoughts += block.thinking
            case "tool_use":
                heard.calls.append(Call(block.id, block.name, block.input))
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
        (thought and thought.thinking_tokens) or 0,
    )


# --- Gemini -----------------------------------------------------------------------------


def gemini_arguments(ask: Ask) -> dict[str, Any]:
    """Return the arguments of ``models.generate_content``."""
    config: dict[str, Any] = {"max_output_tokens": ask.cap}
    if ask.system is not None:
        config["system_instruction"] = ask.system.text
    if ask.tools:
        declared = [
            {
                "name": each.name,
                "description": each.description,
                "parameters_json_schema": each.schema,
            }
            for each in ask.tools
        ]
        config["tools"] = [{"function_declarations": declared}]
    if ask.choice:
        words = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
        calling: dict[str, Any] = {"mode": words.get(ask.choice, "ANY")}
        if ask.choice not in words:
            calling["allowed_function_names"] = [ask.choice]
        config["tool_config"] = {"function_calling_config": calling}
    if ask.schema is not None:
        config["response_mime_type"] = "application/json"
        config["response_json_schema"] = ask.schema
    if ask.effort:
        level = ask.effort.upper()
        config["thinking_config"] = {"include_thoughts": True, "thinking_level": level}
    if ask.stop:
        config["stop_sequences"] = list(ask.stop)
    config |= ask.extra
    return {"contents": list(_contents(ask.turns)), "config": config}


def _contents(turns: tuple[Turn, ...]) -> Iterator[Any]:
    for turn in turns:
        match turn:
            case Back(native=contents):
                yield from contents
            case Result():
                yield types.Content(role="user", parts=[_response(turn)])
            case Said():
                role = "user" if turn.role == "user" else "model"
                yield types.Content(role=role, parts=[_part(part) for part in turn.parts])


def _part(part: Part) -> types.Part:
    match part:
        case Words():
            return types.Part(text=part.text)
        case Picture():
            data = base64.b64decode(part.data)
            return types.Part(inline_data=types.Blob(mime_type=part.mime, data=data))
        case Pdf():
            data = base64.b64decode(part.data)
            blob = types.Blob(mime_type="application/pdf", data=data, display_name=part.name)
            return types.Part(inline_data=blob)
        case Use():
            arguments = dict(part.arguments)
            call = types.FunctionCall(id=part.id or None, name=part.name, args=arguments)
            return types.Part(function_call=call)


def _response(turn: Result) -> types.Part:
    words = "\n".join(each.text for each in turn.parts if isinstance(each, Words))
    media = [
        types.FunctionResponsePart(
            inline_data=types.FunctionResponseBlob(
                mime_type=each.mime, data=base64.b64decode(each.data)
            )
        )
        for each in turn.parts
        if isinstance(each, Picture)
    ]
    response = types.FunctionResponse(
        id=turn.id or None, name=turn.name, response={"output": words}, parts=media or None
    )
    return types.Part(function_response=response)


async def ask_gemini(
    client: genai.Client, model: str, ask: Ask, *, stream: bool, heard: Heard
) -> None:
    """Ask Gemini; the SDK leaves it to its user to put a stream together."""
    arguments = gemini_arguments(ask)
    models = client.aio.models
    if not stream:
        _hear_gemini(heard, [await models.generate_content(model=model, **arguments)])
        return
    chunks = []
    async for chunk in await models.generate_content_stream(model=model, **arguments):
        chunks.append(chunk)
        heard.pieces += [each.text for each in _parts(chunk) if each.text and not each.thought]
    _hear_gemini(heard, chunks)


_FINISHES: dict[str | None, Ending] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "filter",
}


def _parts(chunk: Any) -> list[Any]:
    found = [each.content for each in chunk.candidates or () if each.content]
    return [part for content in found for part in content.parts or ()]


def _hear_gemini(heard: Heard, chunks: list[Any]) -> None:
    heard.raw = chunks
    heard.native = []
    for chunk in chunks:
        heard.model = chunk.model_version or heard.model
        for candidate in chunk.candidates or ():
            if candidate.content is not None:
                # As the SDK's own chats keep a history: one content for each chunk.
                heard.native.append(candidate.content)
            if candidate.finish_reason is not None:
                heard.ending = _FINISHES.get(candidate.finish_reason.value, "unknown")
                heard.refusal = candidate.finish_message or ""
        for part in _parts(chunk):
            _hear_part(heard, part)
        if chunk.usage_metadata is not None:
            heard.usage = _gemini_usage(chunk.usage_metadata)
    if heard.calls and heard.ending == "stop":
        # The protocol has no word for it.
        heard.ending = "calls"


def _hear_part(heard: Heard, part: Any) -> None:
    if part.text and part.thought:
        heard.thoughts += part.text
    elif part.text:
        heard.text += part.text
    elif part.function_call is not None:
        call = part.function_call
        heard.calls.append(Call(call.id or "", call.name, call.args or {}))


def _gemini_usage(usage: Any) -> Figures:
    thought = usage.thoughts_token_count or 0
    return Figures(
        usage.prompt_token_count or 0,
        (usage.candidates_token_count or 0) + thought,
        usage.cached_content_token_count or 0,
        0,
        thought,
    )
