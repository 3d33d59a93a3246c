"""What a recording of Responses holds.

The finished items of a stream are believed, and the deltas where an item never finished:
``deltas`` reads the deltas alone, so that the two can be held against each other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.expected_common import Expected, Figures, Gathered, json_frames, message_of

_CALLS = ("function_call", "custom_tool_call")
_ENDS = ("response.completed", "response.incomplete", "response.failed")


def read_answer(body: bytes) -> Expected:
    """Read a whole answer."""
    answer = Gathered()
    _response(answer, json.loads(body))
    for index, item in enumerate(json.loads(body)["output"]):
        _item(answer, index, item)
    return answer.close()


def read_stream(body: bytes) -> Expected:
    """Read a stream."""
    answer = Gathered()
    events = list(json_frames(body))
    done = {event["output_index"] for event in events if _is_done(event)}
    for event in events:
        if _is_done(event):
            _item(answer, event["output_index"], event["item"])
        elif event.get("output_index") not in done:
            _delta(answer, event)
        _end(answer, event)
    return answer.close()


def deltas(body: bytes) -> Expected:
    """Read a stream by its deltas alone: words, thoughts and arguments."""
    answer = Gathered()
    for event in json_frames(body):
        _delta(answer, event)
    return answer.close()


def _is_done(event: Mapping[str, Any]) -> bool:
    return bool(event["type"] == "response.output_item.done")


def _end(answer: Gathered, event: Mapping[str, Any]) -> None:
    if event["type"] in _ENDS:
        _response(answer, event["response"])
    elif event["type"] == "error":
        answer.error = message_of(event)


def _response(answer: Gathered, response: Mapping[str, Any]) -> None:
    reason = (response.get("incomplete_details") or {}).get("reason")
    answer.finish = f"{response['status']}/{reason}" if reason else response["status"]
    answer.usage = _usage(response.get("usage"))
    if response.get("error"):
        answer.error = message_of(response)


def _item(answer: Gathered, index: int, item: Mapping[str, Any]) -> None:
    """Read a finished item; those that the vendor's own tools left are no part of the answer."""
    match item["type"]:
        case "message":
            for part in item["content"]:
                answer.text.append(part.get("text") or "")
                answer.refusal.append(part.get("refusal") or "")
        case "reasoning":
            parts = [*(item.get("summary") or []), *(item.get("content") or [])]
            answer.reasoning.extend(part["text"] for part in parts)
            answer.proofs.extend(filter(None, [item.get("encrypted_content")]))
        case "function_call" | "custom_tool_call":
            answer.names[index] = item["name"]
            answer.arguments[index] = [item.get("arguments", item.get("input")) or ""]


def _delta(answer: Gathered, event: Mapping[str, Any]) -> None:
    match event["type"].removeprefix("response."):
        case "output_text.delta":
            answer.text.append(event["delta"])
        case "refusal.delta":
            answer.refusal.append(event["delta"])
        case "reasoning_text.delta" | "reasoning_summary_text.delta":
            answer.reasoning.append(event["delta"])
        case "output_item.added" if event["item"]["type"] in _CALLS:
            answer.names[event["output_index"]] = event["item"]["name"]
            answer.arguments[event["output_index"]] = []
        case "function_call_arguments.delta" | "custom_tool_call_input.delta":
            answer.arguments[event["output_index"]].append(event["delta"])


def _usage(usage: Any) -> Figures | None:
    if not usage:
        return None
    read = usage.get("input_tokens_details") or {}
    made = usage.get("output_tokens_details") or {}
    return Figures(
        prompt=usage.get("input_tokens") or 0,
        completion=usage.get("output_tokens") or 0,
        cache_read=read.get("cached_tokens") or 0,
        cache_write=read.get("cache_write_tokens") or 0,
        reasoning=made.get("reasoning_tokens") or 0,
    )
