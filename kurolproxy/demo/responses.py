"""OpenAI Responses, as the demo vendor answers it; ``responses_request.py`` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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

# What an answer repeats of its request, with the value when the request left it out.
_ECHOED: Mapping[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def whole(answer: Reply, sending: Sending) -> dict[str, Any]:
    """Write an answer that is not streamed."""
    writer = _Items(answer, sending)
    pieces = answer.choices[0].pieces
    output = [writer.full(index, piece) for index, piece in enumerate(pieces)]
    return _ended(answer, sending, output)


def _response(sending: Sending, status: str, output: list[Any]) -> dict[str, Any]:
    body = sending.body
    echoed = {
        name: default if body.get(name) is None else body[name] for name, default in _ECHOED.items()
    }
    return {
        "id": f"resp_{sending.fingerprint[:32]}",
        "object": "response",
        "created_at": sending.created,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": sending.model,
        "output": output,
        **echoed,
        "usage": None,
    }


def _ended(answer: Reply, sending: Sending, output: list[Any]) -> dict[str, Any]:
    cut = answer.choices[0].finish == "length"
    response = _response(sending, "incomplete" if cut else "completed", output)
    response["usage"] = _usage(answer.counts)
    if cut:
        response["incomplete_details"] = {"reason": "max_output_tokens"}
    else:
        response["completed_at"] = sending.created
    return response


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt,
        "input_tokens_details": {"cached_tokens": counts.cache_read, "cache_write_tokens": 0},
        "output_tokens": counts.completion,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning},
        "total_tokens": counts.prompt + counts.completion,
    }


class _Items:
    """Write the items of one answer."""

    def __init__(self, answer: Reply, sending: Sending) -> None:
        self._choice = answer.choices[0]
        self._sending = sending
        reasoning = sending.body.get("reasoning") or {}
        self._summary = reasoning.get("summary") is not None
        self._sealed = "reasoning.encrypted_content" in (sending.body.get("include") or ())

    def item_id(self, index: int, prefix: str) -> str:
        """Return the id of an item."""
        return f"{prefix}_{self._sending.fingerprint[:24]}{index}"

    def summed_up(self, thought: Thought) -> bool:
        """Tell whether the client gets to read a thought."""
        return self._summary and not thought.redacted

    def full(self, index: int, piece: Piece) -> dict[str, Any]:
        """Write a complete item."""
        match piece:
            case Words(text=said):
                return self.message(index, self._status(index), [text_part(said)])
            case Thought():
                summary = [summary_part(piece.text)] if self.summed_up(piece) else []
                return self.reasoning(index, summary, piece.proof if self._sealed else None)
            case Call():
                return self.call(index, piece, piece.text, self._status(index))

    def empty(self, index: int, piece: Piece) -> dict[str, Any]:
        """Write an item that has only begun."""
        match piece:
            case Words():
                return self.message(index, "in_progress", [])
            case Thought():
                return self.reasoning(index, [], None)
            case Call():
                return self.call(index, piece, "", "in_progress")

    def message(self, index: int, status: str, content: list[Any]) -> dict[str, Any]:
        """Write a message item."""
        item = {"id": self.item_id(index, "msg"), "type": "message", "status": status}
        return {**item, "role": "assistant", "content": content}

    def reasoning(self, index: int, summary: list[Any], proof: str | None) -> dict[str, Any]:
        """Write a reasoning item."""
        item = {"id": self.item_id(index, "rs"), "type": "reasoning", "summary": summary}
        return {**item, "encrypted_content": proof}

    def call(self, index: int, call: Call, said: str, status: str) -> dict[str, Any]:
        """Write a call item of a function or a free tool."""
        free = call.tool.free
        item = {
            "id": self.item_id(index, "ctc" if free else "fc"),
            "type": "custom_tool_call" if free else "function_call",
            "status": status,
            "call_id": f"call_{call.id}",
            "name": call.tool.name,
            "input" if free else "arguments": said,
        }
        if call.tool.namespace is not None:
            item["namespace"] = call.tool.namespace
        return item

    def _status(self, index: int) -> str:
        last = index == len(self._choice.pieces) - 1
        return "incomplete" if last and self._choice.finish == "length" else "completed"


def text_part(said: str) -> dict[str, Any]:
    """Write the text of a message."""
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def summary_part(said: str) -> dict[str, Any]:
    """Write the summary of a thought."""
    return {"type": "summary_text", "text": said}


class Stream:
    """Write an answer as numbered events."""

    def __init__(self, answer: Reply, sending: Sending) -> None:
        self._answer = answer
        self._sending = sending
        self._items = _Items(answer, sending)
        self._number = 0
        self._output: list[Any] = []

    def write(self, event: Event) -> bytes:
        """Return the frames of one event."""
        match event:
            case Opened():
                begun = {"response": _response(self._sending, "in_progress", [])}
                return self._frame("created", begun) + self._frame("in_progress", begun)
            case PieceOpened(_, index, piece):
                return self._open(index, piece)
            case Fragment(_, index, piece, said):
                return self._delta(index, piece, said)
            case PieceClosed(_, index, piece):
                return self._close(index, piece)
            case Closed():
                return b""
            case Done():
                response = _ended(self._answer, self._sending, self._output)
                return self._frame(response["status"], {"response": response})

    def _frame(self, name: str, value: Mapping[str, Any]) -> bytes:
        numbered = {"sequence_number": self._number, **value}
        self._number += 1
        return event_frame(f"response.{name}", numbered)

    def _open(self, index: int, piece: Piece) -> bytes:
        item = self._items.empty(index, piece)
        added = self._frame("output_item.added", {"output_index": index, "item": item})
        at = {"item_id": item["id"], "output_index": index}
        match piece:
            case Words():
                part = {**at, "content_index": 0, "part": text_part("")}
                return added + self._frame("content_part.added", part)
            case Thought() if self._items.summed_up(piece):
                part = {**at, "summary_index": 0, "part": summary_part("")}
                return added + self._frame("reasoning_summary_part.added", part)
            case _:
                return added

    def _delta(self, index: int, piece: Piece, said: str) -> bytes:
        match piece:
            case Words():
                at = self._at(index, "msg", content_index=0)
                return self._frame("output_text.delta", {**at, "delta": said, "logprobs": []})
            case Thought():
                if not self._items.summed_up(piece):
                    return b""
                at = self._at(index, "rs", summary_index=0)
                return self._frame("reasoning_summary_text.delta", {**at, "delta": said})
            case Call(tool=tool):
                prefix, name = _CALL_EVENTS[tool.free]
                return self._frame(f"{name}.delta", {**self._at(index, prefix), "delta": said})

    def _at(self, index: int, prefix: str, **more: int) -> dict[str, Any]:
        return {"item_id": self._items.item_id(index, prefix), "output_index": index, **more}

    def _close(self, index: int, piece: Piece) -> bytes:
        item = self._items.full(index, piece)
        self._output.append(item)
        done = {"output_index": index, "item": item}
        return self._close_part(index, piece) + self._frame("output_item.done", done)

    def _close_part(self, index: int, piece: Piece) -> bytes:
        said = piece.text
        match piece:
            case Words():
                at = self._at(index, "msg", content_index=0)
                ended = self._frame("output_text.done", {**at, "text": said, "logprobs": []})
                return ended + self._frame("content_part.done", {**at, "part": text_part(said)})
            case Thought():
                if not self._items.summed_up(piece):
                    return b""
                at = self._at(index, "rs", summary_index=0)
                ended = self._frame("reasoning_summary_text.done", {**at, "text": said})
                part = {**at, "part": summary_part(said)}
                return ended + self._frame("reasoning_summary_part.done", part)
            case Call(tool=tool):
                prefix, name = _CALL_EVENTS[tool.free]
                field = "input" if tool.free else "arguments"
                return self._frame(f"{name}.done", {**self._at(index, prefix), field: said})


# A free tool -> the prefix of its item's id and the name of its events.
_CALL_EVENTS: Mapping[bool, tuple[str, str]] = {
    False: ("fc", "function_call_arguments"),
    True: ("ctc", "custom_tool_call_input"),
}
