"""OpenAI Chat Completions, as the demo vendor answers it; ``chat_request.py`` reads it."""

from __future__ import annotations

from typing import Any

from kurolproxy.demo.read import MalformedJson, Refused
from kurolproxy.demo.reply import (
    Call,
    Choice,
    Closed,
    Counts,
    Done,
    Event,
    Fragment,
    Opened,
    Piece,
    PieceClosed,
    PieceOpened,
    Reply,
    Thought,
    Words,
)
from kurolproxy.demo.sending import Sending, data_frame

_FINISH = {
    "stop": "stop",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "length": "length",
}


def refusal(error: Refused) -> dict[str, Any]:
    """Write an error as OpenAI does, on Chat Completions and Responses."""
    message = error.message
    if isinstance(error, MalformedJson):
        message = f"We could not parse the JSON body of your request: {message}"
    kind = "server_error" if error.status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": error.param, "code": error.code}}


def whole(answer: Reply, sending: Sending) -> dict[str, Any]:
    """Write an answer that is not streamed."""
    choices = [
        {
            "index": number,
            "message": _message(choice),
            "logprobs": None,
            "finish_reason": _FINISH[choice.finish],
        }
        for number, choice in enumerate(answer.choices)
    ]
    return {
        **_head(sending, "chat.completion"),
        "choices": choices,
        "usage": _usage(answer.counts),
        "system_fingerprint": "fp_demo",
    }


def _head(sending: Sending, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{sending.fingerprint[:24]}",
        "object": kind,
        "created": sending.created,
        "model": sending.model,
    }


def _message(choice: Choice) -> dict[str, Any]:
    words = [piece.text for piece in choice.pieces if isinstance(piece, Words)]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(words) if words else None,
        "refusal": None,
    }
    thoughts = [
        piece.text for piece in choice.pieces if isinstance(piece, Thought) and not piece.redacted
    ]
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    calls = [piece for piece in choice.pieces if isinstance(piece, Call)]
    if calls:
        message["tool_calls"] = [
            _call_head(call, choice, call.text, first=n == 0) for n, call in enumerate(calls)
        ]
    return message


def _call_head(call: Call, choice: Choice, arguments: str, *, first: bool) -> dict[str, Any]:
    """Write a call; the first one after a thought carries the thought's proof."""
    kind, field = ("custom", "input") if call.tool.free else ("function", "arguments")
    written: dict[str, Any] = {
        "id": f"call_{call.id}",
        "type": kind,
        kind: {"name": call.tool.name, field: arguments},
    }
    thought = next((piece for piece in choice.pieces if isinstance(piece, Thought)), None)
    if thought is not None and first:
        written["extra_content"] = {"google": {"thought_signature": thought.proof}}
    return written


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": counts.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


class Stream:
    """Write an answer as chunks."""

    def __init__(self, answer: Reply, sending: Sending) -> None:
        self._answer = answer
        self._sending = sending
        options = sending.body.get("stream_options") or {}
        self._usage = bool(options.get("include_usage"))

    def write(self, event: Event) -> bytes:
        """Return the frames of one event."""
        match event:
            case Opened(choice):
                return self._chunk(choice, {"role": "assistant", "content": ""})
            case PieceOpened(choice, index, Call() as call):
                return self._chunk(choice, self._call_delta(choice, index, call))
            case Fragment(choice, index, piece, said):
                return self._chunk(choice, self._delta(choice, index, piece, said))
            case Closed(choice):
                finish = _FINISH[self._answer.choices[choice].finish]
                return self._chunk(choice, {}, finish)
            case Done():
                return self._end()
            case PieceOpened() | PieceClosed():
                return b""

    def _call_delta(self, choice: int, index: int, call: Call) -> dict[str, Any]:
        number = self._number(choice, index)
        whole_choice = self._answer.choices[choice]
        # A free tool's input comes in one delta: the wire has no fragments of it.
        arguments = call.text if call.tool.free else ""
        head = _call_head(call, whole_choice, arguments, first=number == 0)
        return {"tool_calls": [{"index": number, **head}]}

    def _delta(self, choice: int, index: int, piece: Piece, said: str) -> dict[str, Any] | None:
        match piece:
            case Words():
                return {"content": said}
            case Thought(redacted=redacted):
                return None if redacted else {"reasoning_content": said}
            case Call(tool=tool):
                number = self._number(choice, index)
                call = {"index": number, "function": {"arguments": said}}
                return None if tool.free else {"tool_calls": [call]}

    def _number(self, choice: int, index: int) -> int:
        before = self._answer.choices[choice].pieces[:index]
        return sum(isinstance(piece, Call) for piece in before)

    def _chunk(self, choice: int, delta: dict[str, Any] | None, finish: str | None = None) -> bytes:
        if delta is None:
            return b""
        item = {"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self._frame([item])

    def _frame(self, choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> bytes:
        chunk = {
            **_head(self._sending, "chat.completion.chunk"),
            "system_fingerprint": "fp_demo",
            "choices": choices,
        }
        if self._usage:
            chunk["usage"] = usage
        return data_frame(chunk)

    def _end(self) -> bytes:
        usage = self._frame([], _usage(self._answer.counts)) if self._usage else b""
        return usage + b"data: [DONE]\n\n"
