"""Anthropic Messages, as the demo vendor answers it; ``messages_request.py`` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.demo.read import MalformedJson, Refused, arguments
from kurolproxy.demo.reply import (
    Call,
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
from kurolproxy.demo.sending import Sending, event_frame

_FINISH = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "tool_calls": "tool_use",
    "length": "max_tokens",
}
_ERROR_TYPES: Mapping[int, str] = {
    400: "invalid_request_error",
    401: "authentication_error",
    404: "not_found_error",
    413: "request_too_large",
}


def refusal(error: Refused, request_id: str) -> dict[str, Any]:
    """Write an error as Anthropic does."""
    message = error.message
    if isinstance(error, MalformedJson):
        message = f"The request body is not valid JSON: {message}"
    kind = _ERROR_TYPES.get(error.status, "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }


def whole(answer: Reply, sending: Sending) -> dict[str, Any]:
    """Write an answer that is not streamed."""
    choice = answer.choices[0]
    shown = _shown(sending)
    return {
        **_head(sending),
        "content": [_block(piece, piece.text, shown=shown) for piece in choice.pieces],
        "stop_reason": _FINISH[choice.finish],
        "stop_sequence": choice.stop_sequence,
        "usage": {**_prompt_usage(answer.counts), **_completion_usage(answer.counts)},
    }


def _shown(sending: Sending) -> bool:
    return (sending.body.get("thinking") or {}).get("display") != "omitted"


def _head(sending: Sending) -> dict[str, Any]:
    return {
        "id": f"msg_{sending.fingerprint[:24]}",
        "type": "message",
        "role": "assistant",
        "model": sending.model,
    }


def _block(piece: Piece, said: str, *, shown: bool) -> dict[str, Any]:
    match piece:
        case Words():
            return {"type": "text", "text": said}
        case Thought(redacted=True):
            return {"type": "redacted_thinking", "data": piece.proof}
        case Thought():
            thought = said if shown else ""
            return {"type": "thinking", "thinking": thought, "signature": piece.proof}
        case Call(id=call_id, tool=tool):
            name = {"id": f"toolu_{call_id}", "name": tool.name}
            return {"type": "tool_use", **name, "input": arguments(said)}


def _prompt_usage(counts: Counts) -> dict[str, Any]:
    fresh = counts.prompt - counts.cache_read - counts.cache_write
    return {
        "input_tokens": fresh,
        "cache_creation_input_tokens": counts.cache_write,
        "cache_read_input_tokens": counts.cache_read,
    }


def _completion_usage(counts: Counts) -> dict[str, Any]:
    return {
        "output_tokens": counts.completion,
        "output_tokens_details": {"thinking_tokens": counts.reasoning},
    }


class Stream:
    """Write an answer as named events."""

    def __init__(self, answer: Reply, sending: Sending) -> None:
        self._answer = answer
        self._sending = sending
        self._shown = _shown(sending)

    def write(self, event: Event) -> bytes:
        """Return the frames of one event."""
        match event:
            case Opened():
                return self._open()
            case PieceOpened(_, index, piece):
                return self._start(index, piece)
            case Fragment(_, index, piece, said):
                return self._delta(index, piece, said)
            case PieceClosed(_, index, piece):
                return self._stop(index, piece)
            case Closed():
                return b""
            case Done():
                return self._end()

    def _open(self) -> bytes:
        usage = {**_prompt_usage(self._answer.counts), "output_tokens": 1}
        message = {
            **_head(self._sending),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        return event_frame("message_start", {"message": message}) + event_frame("ping", {})

    def _start(self, index: int, piece: Piece) -> bytes:
        block = _block(piece, "", shown=self._shown)
        if block["type"] == "thinking":
            block["signature"] = ""
        return event_frame("content_block_start", {"index": index, "content_block": block})

    def _delta(self, index: int, piece: Piece, said: str) -> bytes:
        match piece:
            case Words():
                delta = {"type": "text_delta", "text": said}
            case Call():
                delta = {"type": "input_json_delta", "partial_json": said}
            case Thought(redacted=redacted):
                if redacted or not self._shown:
                    return b""
                delta = {"type": "thinking_delta", "thinking": said}
        return event_frame("content_block_delta", {"index": index, "delta": delta})

    def _stop(self, index: int, piece: Piece) -> bytes:
        signed = b""
        if isinstance(piece, Thought) and not piece.redacted:
            delta = {"type": "signature_delta", "signature": piece.proof}
            signed = event_frame("content_block_delta", {"index": index, "delta": delta})
        return signed + event_frame("content_block_stop", {"index": index})

    def _end(self) -> bytes:
        choice = self._answer.choices[0]
        delta = {
            "stop_reason": _FINISH[choice.finish],
            "stop_sequence": choice.stop_sequence,
        }
        usage = {**_prompt_usage(self._answer.counts), **_completion_usage(self._answer.counts)}
        ended = event_frame("message_delta", {"delta": delta, "usage": usage})
        return ended + event_frame("message_stop", {})
