"""One scripted turn of a model, in the words of each of the four upstream protocols.

Written from the vendors' wire documents with nothing but ``json``: no code of the gateway.
Chat and Messages are those of ``tests.server.scripts``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import count
from typing import Any

from kurolproxy.ir import ProtocolName
from tests.fakes.answers import Answer, End, frame, json_answer, stream_answer
from tests.fakes.recordings import Figures
from tests.fakes.upstream import Handler, SeenRequest
from tests.server.scripts import (
    DONE,
    MODEL,
    Said,
    Turn,
    chat_frames,
    chat_whole,
    event,
    messages_frames,
    messages_whole,
)

__all__ = ["DONE", "MODEL", "Said", "Turn", "frames", "late", "protocol_of", "vendor", "whole"]

# --- what is asked ----------------------------------------------------------------------

_PATHS: tuple[tuple[str, ProtocolName], ...] = (
    ("/chat/completions", "openai-chat"),
    ("/responses", "openai-responses"),
    ("/messages", "anthropic"),
    (":generateContent", "gemini"),
    (":streamGenerateContent", "gemini"),
)


def protocol_of(seen: SeenRequest) -> ProtocolName:
    """Return the protocol that a request came in."""
    path = seen.path.partition("?")[0]
    return next(name for end, name in _PATHS if path.endswith(end))


def streams(seen: SeenRequest) -> bool:
    """Return whether a request asks for a stream."""
    if protocol_of(seen) == "gemini":
        assert seen.path.endswith(("?alt=sse", ":generateContent")), seen.path
        return "alt=sse" in seen.path
    return seen.json.get("stream") is True


def vendor(*turns: Turn, end: End = "eof", stop_at: int | None = None) -> Handler:
    """Return a vendor that says one turn after the other, and then the last again.

    Args:
        end: how a stream ends.
        stop_at: leave out the frames of a stream from here on.
    """
    numbers = count()

    def answer(seen: SeenRequest) -> Answer:
        turn = turns[min(next(numbers), len(turns) - 1)]
        protocol = protocol_of(seen)
        if streams(seen):
            return stream_answer(frames(protocol, turn)[:stop_at], end=end)
        return json_answer(whole(protocol, turn))

    return answer


def frames(protocol: ProtocolName, turn: Turn) -> list[bytes]:
    """Return a turn as the frames of a stream."""
    return list(_FRAMES[protocol](turn))


def whole(protocol: ProtocolName, turn: Turn) -> dict[str, Any]:
    """Return a turn as one JSON answer."""
    return _WHOLE[protocol](turn)


def begun(protocol: ProtocolName, turn: Turn) -> list[bytes]:
    """Return the frames of a turn up to its last word, without anything that ends it."""
    told = frames(protocol, turn)
    last = max(at for at, each in enumerate(told) if turn.words[-1].encode() in each)
    if protocol == "openai-responses":
        # The text stands once more in the frames that close its item.
        last = max(at for at, each in enumerate(told) if b"output_text.delta" in each)
    return told[: last + 1]


def late(protocol: ProtocolName, turn: Turn, message: str) -> list[bytes]:
    """Return a stream that begins as the turn and ends in an error."""
    return [*begun(protocol, turn), *_LATE[protocol](message)]


def _late_chat(message: str) -> list[bytes]:
    return [frame({"error": {"message": message, "type": "server_error", "code": None}})]


def _late_responses(message: str) -> list[bytes]:
    failed = {**_response("failed", []), "error": {"code": "server_error", "message": message}}
    return [
        event("response.failed", sequence_number=90, response=failed),
        event("error", sequence_number=91, code="server_error", message=message, param=None),
    ]


def _late_messages(message: str) -> list[bytes]:
    return [event("error", error={"type": "api_error", "message": message})]


def _late_gemini(message: str) -> list[bytes]:
    return [frame({"error": {"code": 500, "message": message, "status": "INTERNAL"}})]


_LATE: Mapping[ProtocolName, Callable[[str], list[bytes]]] = {
    "openai-chat": _late_chat,
    "openai-responses": _late_responses,
    "anthropic": _late_messages,
    "gemini": _late_gemini,
}

# --- Responses --------------------------------------------------------------------------


def _response(status: str, output: list[Any], **more: Any) -> dict[str, Any]:
    return {
        "id": "resp_up",
        "object": "response",
        "created_at": 7,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": MODEL,
        "output": output,
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "store": False,
        **more,
    }


def responses_items(turn: Turn) -> list[dict[str, Any]]:
    """Return the output items of a turn."""
    items: list[dict[str, Any]] = []
    if turn.thoughts or turn.signature:
        summary = [{"type": "summary_text", "text": "".join(turn.thoughts)}]
        items.append(
            {
                "id": "rs_up",
                "type": "reasoning",
                "summary": summary if turn.thoughts else [],
                "encrypted_content": turn.signature or None,
            }
        )
    content: list[dict[str, Any]] = []
    if turn.words:
        text = {"type": "output_text", "text": "".join(turn.words), "annotations": []}
        content.append(text)
    if turn.refusal:
        content.append({"type": "refusal", "refusal": turn.refusal})
    if content:
        said = {"type": "message", "role": "assistant", "status": "completed", "content": content}
        items.append({"id": "msg_up", **said})
    for number, call in enumerate(turn.calls):
        head = {"id": f"fc_up{number}", "type": "function_call", "call_id": call.id}
        body = {"name": call.name, "arguments": call.arguments, "status": "completed"}
        items.append({**head, **body})
    return items


_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def responses_whole(turn: Turn) -> dict[str, Any]:
    """Return a turn as a whole Responses answer."""
    more: dict[str, Any] = {}
    if turn.usage is not None:
        more["usage"] = responses_usage(turn.usage)
    if turn.end in _INCOMPLETE:
        more["incomplete_details"] = {"reason": _INCOMPLETE[turn.end]}
        return _response("incomplete", responses_items(turn), **more)
    return _response("completed", responses_items(turn), **more)


def responses_usage(usage: Figures) -> dict[str, Any]:
    """Return figures as Responses tells them."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def responses_frames(turn: Turn) -> Iterator[bytes]:
    """Yield a turn as the events of a Responses stream."""
    numbers = count()
    for kind, fields in _events(turn):
        yield event(kind, sequence_number=next(numbers), **fields)


_Event = tuple[str, dict[str, Any]]


def _events(turn: Turn) -> Iterator[_Event]:
    yield "response.created", {"response": _response("in_progress", [])}
    yield "response.in_progress", {"response": _response("in_progress", [])}
    for index, item in enumerate(responses_items(turn)):
        yield from _item_events(turn, index, item)
    done = responses_whole(turn)
    yield f"response.{done['status']}", {"response": done}


def _item_events(turn: Turn, index: int, item: dict[str, Any]) -> Iterator[_Event]:
    at = {"output_index": index}
    empty = {
        "reasoning": {"summary": [], "encrypted_content": None},
        "message": {"content": [], "status": "in_progress"},
        "function_call": {"arguments": "", "status": "in_progress"},
    }[item["type"]]
    yield "response.output_item.added", {**at, "item": {**item, **empty}}
    at["item_id"] = item["id"]
    match item["type"]:
        case "reasoning":
            yield from _summary_events(turn, at, item)
        case "message":
            for number, part in enumerate(item["content"]):
                yield from _part_events(turn, {**at, "content_index": number}, part)
        case "function_call":
            call = next(each for each in turn.calls if each.id == item["call_id"])
            for piece in call.pieces:
                yield "response.function_call_arguments.delta", {**at, "delta": piece}
            whole_text = {"arguments": item["arguments"], "name": item["name"]}
            yield "response.function_call_arguments.done", {**at, **whole_text}
    yield "response.output_item.done", {"output_index": index, "item": item}


def _summary_events(turn: Turn, at: dict[str, Any], item: dict[str, Any]) -> Iterator[_Event]:
    for number, part in enumerate(item["summary"]):
        here = {**at, "summary_index": number}
        yield "response.reasoning_summary_part.added", {**here, "part": {**part, "text": ""}}
        for text in turn.thoughts:
            yield "response.reasoning_summary_text.delta", {**here, "delta": text}
        yield "response.reasoning_summary_text.done", {**here, "text": part["text"]}
        yield "response.reasoning_summary_part.done", {**here, "part": part}


def _part_events(turn: Turn, at: dict[str, Any], part: dict[str, Any]) -> Iterator[_Event]:
    refused = part["type"] == "refusal"
    name, field = ("refusal", "refusal") if refused else ("output_text", "text")
    more: dict[str, Any] = {} if refused else {"logprobs": []}
    yield "response.content_part.added", {**at, "part": {**part, field: ""}}
    for text in (part["refusal"],) if refused else turn.words:
        yield f"response.{name}.delta", {**at, "delta": text, **more}
    yield f"response.{name}.done", {**at, field: part[field], **more}
    yield "response.content_part.done", {**at, "part": part}


# --- Gemini -----------------------------------------------------------------------------

_FINISHES = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}


def _parts(turn: Turn, *, cut: bool) -> list[dict[str, Any]]:
    """Return the parts of a turn, texts in one piece or as they are streamed."""
    thoughts = turn.thoughts if cut else tuple(filter(None, ["".join(turn.thoughts)]))
    words = turn.words if cut else tuple(filter(None, ["".join(turn.words)]))
    parts: list[dict[str, Any]] = [{"text": text, "thought": True} for text in thoughts]
    parts += [{"text": text} for text in words]
    for call in turn.calls:
        arguments = json.loads(call.arguments or "{}")
        inner = {"id": call.id, "name": call.name, "args": arguments}
        # Older models return no id.
        parts.append({"functionCall": {k: v for k, v in inner.items() if v != ""}})
    if turn.signature:
        # The first call carries it; an answer without calls has it on its last part.
        signed = next((each for each in parts if "functionCall" in each), parts[-1])
        signed["thoughtSignature"] = turn.signature
    return parts


def _candidate(parts: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"index": 0, "content": {"role": "model", "parts": parts}, **more}


def _gemini_end(turn: Turn) -> dict[str, Any]:
    end = "SAFETY" if turn.refusal else _FINISHES.get(turn.end, "STOP")
    out = {"finishReason": end}
    return {**out, "finishMessage": turn.refusal} if turn.refusal else out


def gemini_usage(usage: Figures) -> dict[str, Any]:
    """Return figures as Gemini tells them; it has no word for what was written to a cache."""
    return {
        "promptTokenCount": usage.prompt,
        "cachedContentTokenCount": usage.cache_read,
        "candidatesTokenCount": usage.completion - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.prompt + usage.completion,
    }


def _gemini(candidate: dict[str, Any], turn: Turn, *, last: bool) -> dict[str, Any]:
    out = {"candidates": [candidate], "modelVersion": MODEL, "responseId": "up"}
    if last and turn.usage is not None:
        out["usageMetadata"] = gemini_usage(turn.usage)
    return out


def gemini_whole(turn: Turn) -> dict[str, Any]:
    """Return a turn as a whole Gemini answer."""
    return _gemini(_candidate(_parts(turn, cut=False), **_gemini_end(turn)), turn, last=True)


def gemini_frames(turn: Turn) -> Iterator[bytes]:
    """Yield a turn as the frames of a Gemini stream, which ends lines with CR LF."""
    for part in _parts(turn, cut=True):
        yield _crlf(_gemini(_candidate([part]), turn, last=False))
    yield _crlf(_gemini(_candidate([{"text": ""}], **_gemini_end(turn)), turn, last=True))


def _crlf(value: dict[str, Any]) -> bytes:
    return frame(value).replace(b"\n\n", b"\r\n\r\n")


_FRAMES: Mapping[ProtocolName, Callable[[Turn], Iterator[bytes]]] = {
    "openai-chat": chat_frames,
    "openai-responses": responses_frames,
    "anthropic": messages_frames,
    "gemini": gemini_frames,
}
_WHOLE: Mapping[ProtocolName, Callable[[Turn], dict[str, Any]]] = {
    "openai-chat": chat_whole,
    "openai-responses": responses_whole,
    "anthropic": messages_whole,
    "gemini": gemini_whole,
}
