"""Gemini, as the demo vendor answers it; ``gemini_request.py`` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from kurolproxy.demo.gemini_request import get
from kurolproxy.demo.read import MalformedJson, Refused, arguments, dumps
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
from kurolproxy.demo.sending import Sending

_FINISH = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "tool_calls": "STOP",
    "length": "MAX_TOKENS",
}
_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
}


def refusal(error: Refused) -> dict[str, Any]:
    """Write an error as Google does."""
    message = error.message
    if isinstance(error, MalformedJson):
        message = f"Invalid JSON payload received. {message}"
    status = _STATUS.get(error.status, "INTERNAL")
    return {"error": {"code": error.status, "message": message, "status": status}}


def whole(answer: Reply, sending: Sending) -> dict[str, Any]:
    """Write an answer that is not streamed."""
    candidates = []
    for number, choice in enumerate(answer.choices):
        writer = _Parts(choice.pieces, sending)
        parts = [part for piece in choice.pieces for part in writer.full(piece)]
        content = {"role": "model", "parts": parts} if parts else {"role": "model"}
        candidates.append(
            {"content": content, "finishReason": _FINISH[choice.finish], "index": number}
        )
    return {"candidates": candidates, **_tail(answer.counts, sending, completion=None)}


def _tail(counts: Counts, sending: Sending, *, completion: int | None) -> dict[str, Any]:
    """Write what stands in every frame; ``completion`` is what was said so far, None: all."""
    usage: dict[str, Any] = {"promptTokenCount": counts.prompt}
    if counts.cache_read:
        usage["cachedContentTokenCount"] = counts.cache_read
    said = counts.completion - counts.reasoning if completion is None else completion
    thought = counts.reasoning if completion is None else 0
    if said:
        usage["candidatesTokenCount"] = said
    if thought:
        usage["thoughtsTokenCount"] = thought
    usage["totalTokenCount"] = counts.prompt + said + thought
    return {
        "usageMetadata": usage,
        "modelVersion": sending.model,
        "responseId": sending.fingerprint[:22],
    }


class _Parts:
    """Write the parts of one candidate; a thought's proof stands on the part after it."""

    def __init__(self, pieces: tuple[Piece, ...], sending: Sending) -> None:
        config = get(get(sending.body, "generationConfig") or {}, "thinkingConfig") or {}
        self._shown = bool(get(config, "includeThoughts"))
        thought = next((piece for piece in pieces if isinstance(piece, Thought)), None)
        self._proof = None if thought is None else thought.proof

    def full(self, piece: Piece) -> list[dict[str, Any]]:
        """Write a complete piece; a thought that is not shown has no part."""
        match piece:
            case Words(text=said):
                return [self.signed({"text": said})]
            case Thought():
                return self.thought(piece, piece.text)
            case Call():
                return [self.call(piece)]

    def thought(self, piece: Thought, said: str) -> list[dict[str, Any]]:
        """Write a thought's text, if the client may read it."""
        return [{"text": said, "thought": True}] if self._shown and not piece.redacted else []

    def call(self, call: Call) -> dict[str, Any]:
        """Write a call."""
        function = {"id": f"call_{call.id}", "name": call.tool.name, "args": arguments(call.text)}
        return self.signed({"functionCall": function})

    def signed(self, part: dict[str, Any]) -> dict[str, Any]:
        """Put the proof on the first part that is no thought, once."""
        if self._proof is None:
            return part
        proof, self._proof = self._proof, None
        return {**part, "thoughtSignature": proof}


class Stream:
    """Write an answer as partial responses: server-sent events, or one JSON array.

    Args:
        form: ``sse`` for ``alt=sse``, else ``array``.
    """

    def __init__(self, answer: Reply, sending: Sending, form: Literal["sse", "array"]) -> None:
        self._answer = answer
        self._sending = sending
        self._form = form
        self._begun = False
        self._said = 0
        self._parts = [_Parts(choice.pieces, sending) for choice in answer.choices]

    def write(self, event: Event) -> bytes:
        """Return the frames of one event."""
        match event:
            case Fragment(choice, _, Words(), said):
                self._said += len(said)
                return self._frame(choice, [{"text": said}])
            case Fragment(choice, _, Thought() as piece, said):
                parts = self._parts[choice].thought(piece, said)
                return self._frame(choice, parts) if parts else b""
            case PieceClosed(choice, _, Call() as call):
                return self._frame(choice, [self._parts[choice].call(call)])
            case Closed(choice):
                # A proof that no call has carried stands on an empty part at the end.
                last = self._parts[choice].signed({"text": ""})
                return self._frame(choice, [last], finished=True)
            case Done():
                return b"\r\n]" if self._form == "array" else b""
            case Opened() | PieceOpened() | Fragment() | PieceClosed():
                return b""

    def _frame(self, choice: int, parts: list[dict[str, Any]], *, finished: bool = False) -> bytes:
        candidate: dict[str, Any] = {
            "content": {"role": "model", "parts": parts},
            "index": choice,
        }
        if finished:
            candidate["finishReason"] = _FINISH[self._answer.choices[choice].finish]
        last = finished and choice == len(self._answer.choices) - 1
        completion = None if last else -(-self._said // 4)
        counts = self._answer.counts
        tail = _tail(counts, self._sending, completion=completion)
        return self._framed(dumps({"candidates": [candidate], **tail}))

    def _framed(self, value: str) -> bytes:
        if self._form == "sse":
            return f"data: {value}\r\n\r\n".encode()
        before = ",\r\n" if self._begun else "["
        self._begun = True
        return f"{before}{value}".encode()
