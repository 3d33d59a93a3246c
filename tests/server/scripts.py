"""Scripted vendors: one turn of a model, in the words of whichever protocol is asked.

Written from the vendors' wire documents with nothing but ``json``: no code of the gateway.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.fakes.answers import Answer, frame, json_answer, stream_answer
from tests.fakes.recordings import Figures
from tests.fakes.upstream import Handler, SeenRequest

MODEL = "plain"
USAGE = Figures(prompt=30, completion=12, cache_read=8, cache_write=4, reasoning=5)


@dataclass(frozen=True, slots=True)
class Said:
    """One call of a tool, its arguments in the pieces of a stream."""

    id: str
    name: str
    pieces: tuple[str, ...] = ()

    @property
    def arguments(self) -> str:
        """All of the arguments."""
        return "".join(self.pieces)


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a model.

    Attributes:
        signature: proves the thoughts; Messages alone has a place for it.
        redacted: thoughts that only the vendor can read.
        end: why it ended, in Chat's words.
        usage: None: the vendor does not say.
    """

    words: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    signature: str = ""
    redacted: str = ""
    refusal: str = ""
    calls: tuple[Said, ...] = ()
    end: str = "stop"
    stop_sequence: str | None = None
    usage: Figures | None = field(default=USAGE)


def vendor(*turns: Turn) -> Handler:
    """Return a vendor that says one turn after the other, and then the last again."""
    numbers = count()

    def answer(seen: SeenRequest) -> Answer:
        turn = turns[min(next(numbers), len(turns) - 1)]
        asked = seen.json
        if seen.path.endswith("/messages"):
            if asked.get("stream"):
                return stream_answer(messages_frames(turn))
            return json_answer(messages_whole(turn))
        if asked.get("stream"):
            options = asked.get("stream_options") or {}
            return stream_answer(chat_frames(turn, usage=options.get("include_usage") is True))
        return json_answer(chat_whole(turn))

    return answer


# --- Chat ---------------------------------------------------------------------------------


def chunk(delta: dict[str, Any] | None = None, end: str | None = None, **more: Any) -> bytes:
    """Return one frame of a Chat stream; ``delta`` None: one without choices."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": end}]
    head = {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 7, "model": MODEL}
    return frame({**head, "choices": choices, **more})


DONE = frame("[DONE]")


def tool_chunk(index: int, **fields: Any) -> bytes:
    """Return one frame with a piece of one call."""
    return chunk({"tool_calls": [{"index": index, **fields}]})


def chat_frames(turn: Turn, *, usage: bool = True) -> Iterator[bytes]:
    """Yield a turn as the frames of a Chat stream."""
    yield chunk({"role": "assistant", "content": ""})
    yield from (chunk({"reasoning_content": text}) for text in turn.thoughts)
    yield from (chunk({"content": text}) for text in turn.words)
    if turn.refusal:
        yield chunk({"refusal": turn.refusal})
    for index, call in enumerate(turn.calls):
        function = {"name": call.name, "arguments": ""}
        yield tool_chunk(index, id=call.id, type="function", function=function)
        for piece in call.pieces:
            yield tool_chunk(index, function={"arguments": piece})
    yield chunk({}, "tool_calls" if turn.calls and turn.end == "stop" else turn.end)
    if usage and turn.usage is not None:
        yield chunk(None, usage=chat_usage(turn.usage))
    yield DONE


def chat_whole(turn: Turn) -> dict[str, Any]:
    """Return a turn as a whole Chat answer."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(turn.words) or None}
    message["refusal"] = turn.refusal or None
    if turn.thoughts:
        message["reasoning_content"] = "".join(turn.thoughts)
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in turn.calls
        ]
    end = "tool_calls" if turn.calls and turn.end == "stop" else turn.end
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": end}
    head = {"id": "chatcmpl-up", "object": "chat.completion", "created": 7, "model": MODEL}
    usage = {} if turn.usage is None else {"usage": chat_usage(turn.usage)}
    return {**head, "choices": [choice], **usage}


def chat_usage(usage: Figures) -> dict[str, Any]:
    """Return figures as Chat tells them."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


# --- Messages -----------------------------------------------------------------------------

_ENDS = {
    "stop": "end_turn",
    "tool_calls": "tool_use",
    "length": "max_tokens",
    "content_filter": "refusal",
}


def event(kind: str, **fields: Any) -> bytes:
    """Return one event of a Messages stream."""
    return frame({"type": kind, **fields}, kind)


def begin(usage: dict[str, Any] | None = None) -> bytes:
    """Return the first event of a Messages stream."""
    message = {
        "id": "msg_up",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 18, "output_tokens": 1},
    }
    return event("message_start", message=message)


def block(index: int, start: dict[str, Any], deltas: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield the events of one block."""
    yield event("content_block_start", index=index, content_block=start)
    yield from (event("content_block_delta", index=index, delta=each) for each in deltas)
    yield event("content_block_stop", index=index)


def finish(delta: dict[str, Any], usage: dict[str, Any] | None = None) -> Iterator[bytes]:
    """Yield the last two events of a Messages stream."""
    yield event("message_delta", delta=delta, usage=usage or {"output_tokens": 12})
    yield event("message_stop")


def messages_frames(turn: Turn) -> Iterator[bytes]:
    """Yield a turn as the events of a Messages stream."""
    usage = messages_usage(turn.usage) if turn.usage is not None else None
    yield begin(usage and {**usage, "output_tokens": 1})
    for index, (start, deltas) in enumerate(_blocks(turn)):
        yield from block(index, start, deltas)
    yield from finish(_end(turn), usage)


def _blocks(turn: Turn) -> Iterator[tuple[dict[str, Any], list[dict[str, Any]]]]:
    if turn.redacted:
        yield {"type": "redacted_thinking", "data": turn.redacted}, []
    if turn.thoughts or turn.signature:
        deltas = [{"type": "thinking_delta", "thinking": text} for text in turn.thoughts]
        deltas.append({"type": "signature_delta", "signature": turn.signature})
        yield {"type": "thinking", "thinking": "", "signature": ""}, deltas
    if turn.words:
        words = [{"type": "text_delta", "text": text} for text in turn.words]
        yield {"type": "text", "text": ""}, words
    for call in turn.calls:
        pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in call.pieces]
        yield {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, pieces


def _end(turn: Turn) -> dict[str, Any]:
    end = "tool_use" if turn.calls and turn.end == "stop" else _ENDS[turn.end]
    if turn.stop_sequence is not None:
        end = "stop_sequence"
    out: dict[str, Any] = {"stop_reason": end, "stop_sequence": turn.stop_sequence}
    if turn.refusal:
        details = {"type": "refusal", "category": None, "explanation": turn.refusal}
        out |= {"stop_reason": "refusal", "stop_details": details}
    return out


def messages_whole(turn: Turn) -> dict[str, Any]:
    """Return a turn as a whole Messages answer."""
    content = []
    for start, deltas in _blocks(turn):
        whole = dict(start)
        texts = [value for delta in deltas for name, value in delta.items() if name != "type"]
        match start["type"]:
            case "text":
                whole["text"] = "".join(texts)
            case "thinking":
                whole |= {"thinking": "".join(texts[:-1]), "signature": texts[-1]}
            case "tool_use":
                whole["input"] = json.loads("".join(texts) or "{}")
        content.append(whole)
    head = {"id": "msg_up", "type": "message", "role": "assistant", "model": MODEL}
    usage = messages_usage(turn.usage) if turn.usage is not None else {}
    return {**head, "content": content, **_end(turn), "usage": usage}


def messages_usage(usage: Figures) -> dict[str, Any]:
    """Return figures as Messages tells them."""
    return {
        "input_tokens": usage.prompt - usage.cache_read - usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation_input_tokens": usage.cache_write,
        "output_tokens": usage.completion,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
    }
