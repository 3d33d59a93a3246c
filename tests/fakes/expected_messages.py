"""What a recording of Messages holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.fakes.expected_common import (
    Expected,
    Figures,
    Gathered,
    json_frames,
    message_of,
)


def read_answer(body: bytes) -> Expected:
    """Read a whole answer, or that of ``count_tokens``."""
    value = json.loads(body)
    if "content" not in value:
        return Expected(usage=Figures(prompt=value["input_tokens"]))
    answer = Gathered(ended=True, finish=value["stop_reason"])
    for index, block in enumerate(value["content"]):
        _block(answer, index, block)
        if block["type"] == "tool_use":
            answer.arguments[index].append(json.dumps(block["input"]))
    answer.refusal.append((value.get("stop_details") or {}).get("explanation") or "")
    answer.usage = _usage(value["usage"])
    return answer.close()


def read_stream(body: bytes) -> Expected:
    """Read a stream."""
    answer = Gathered()
    counted: dict[str, Any] = {}
    restarts = -1
    for event in json_frames(body):
        if event["type"] == "message_start":
            restarts += 1
            answer, counted = Gathered(restarts=restarts), dict(event["message"]["usage"])
        elif event["type"] == "message_delta":
            counted |= {k: v for k, v in event["usage"].items() if v is not None}
        reader = _EVENTS.get(event["type"])
        if reader is not None:
            reader(answer, event)
    answer.usage = _usage(counted)
    # A reason to stop is not the end here: message_stop is.
    return answer.close(finish_ends=False)


def _block(answer: Gathered, index: int, block: Mapping[str, Any]) -> None:
    kind = block["type"]
    if kind == "text":
        answer.text.append(block["text"])
    elif kind == "thinking":
        answer.reasoning.append(block["thinking"])
        answer.proofs.extend(filter(None, [block.get("signature")]))
    elif kind == "redacted_thinking":
        answer.proofs.append(block["data"])
    elif kind == "tool_use":
        answer.names[index] = block["name"]
        answer.arguments[index] = []


def _delta(answer: Gathered, event: Mapping[str, Any]) -> None:
    delta = event["delta"]
    kind = delta["type"]
    if kind == "text_delta":
        answer.text.append(delta["text"])
    elif kind == "thinking_delta":
        answer.reasoning.append(delta["thinking"])
    elif kind == "signature_delta":
        answer.proofs.append(delta["signature"])
    elif kind == "input_json_delta" and event["index"] in answer.names:
        answer.arguments[event["index"]].append(delta["partial_json"])


def _end(answer: Gathered, event: Mapping[str, Any]) -> None:
    answer.finish = event["delta"]["stop_reason"] or answer.finish
    answer.refusal.append((event["delta"].get("stop_details") or {}).get("explanation") or "")


def _stop(answer: Gathered, _event: Mapping[str, Any]) -> None:
    answer.ended = True


def _error(answer: Gathered, event: Mapping[str, Any]) -> None:
    answer.error = message_of(event)


_EVENTS: Mapping[str, Callable[[Gathered, Mapping[str, Any]], None]] = {
    "content_block_start": lambda answer, event: _block(
        answer, event["index"], event["content_block"]
    ),
    "content_block_delta": _delta,
    "message_delta": _end,
    "message_stop": _stop,
    "error": _error,
}


def _usage(usage: Mapping[str, Any]) -> Figures | None:
    if not usage:
        return None
    read = usage.get("cache_read_input_tokens") or 0
    written = usage.get("cache_creation_input_tokens") or 0
    thought = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    return Figures(
        prompt=(usage.get("input_tokens") or 0) + read + written,
        completion=usage.get("output_tokens") or 0,
        cache_read=read,
        cache_write=written,
        reasoning=thought,
    )
