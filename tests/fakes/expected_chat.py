"""What a recording of Chat Completions holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tests.fakes.expected_common import (
    Expected,
    Figures,
    Gathered,
    error_text,
    frames,
    message_of,
)


def read_answer(body: bytes, choice: int) -> Expected:
    """Read a whole answer.

    Args:
        choice: which one of several.
    """
    value = json.loads(body)
    answer = Gathered(ended=True, usage=_usage(value.get("usage")))
    _choice(answer, value["choices"][choice], "message")
    return answer.close()


def read_stream(body: bytes, choice: int) -> Expected:
    """Read a stream.

    Args:
        choice: which answer of several.
    """
    answer = Gathered()
    for frame in frames(body):
        if frame.error:
            answer.error = error_text(frame.error.encode())
        elif frame.data == "[DONE]":
            answer.ended = True
        elif frame.data:
            _chunk(answer, frame.data, choice)
    return answer.close()


def _chunk(answer: Gathered, data: str, choice: int) -> None:
    try:
        chunk = json.loads(data)
    except ValueError:
        # Only the last frame of a stream that was cut is no JSON.
        return
    if chunk.get("error"):
        answer.error = message_of(chunk)
    answer.usage = _usage(chunk.get("usage")) or answer.usage
    for item in chunk.get("choices") or []:
        if item.get("index", 0) == choice:
            _choice(answer, item, "delta")


def _choice(answer: Gathered, item: Mapping[str, Any], key: str) -> None:
    said = item.get(key) or {}
    _content(answer, said.get("content"))
    answer.reasoning.append(_reasoning(said))
    answer.refusal.append(said.get("refusal") or "")
    for position, call in enumerate(said.get("tool_calls") or []):
        _call(answer, call, position)
    if item.get("finish_reason") is not None:
        answer.finish = item["finish_reason"]


def _content(answer: Gathered, content: Any) -> None:
    """Read words; Mistral sends a list of parts, some of them thoughts."""
    if not isinstance(content, list):
        answer.text.append(content or "")
        return
    for part in content:
        if part["type"] == "thinking":
            answer.reasoning.extend(thought["text"] for thought in part["thinking"])
        else:
            answer.text.append(part["text"])


def _reasoning(said: Mapping[str, Any]) -> str:
    """Read thoughts; vendors that send them under two names repeat the same text."""
    for name in ("reasoning_content", "reasoning"):
        if said.get(name):
            return str(said[name])
    details = said.get("reasoning_details") or []
    return "".join(detail.get("text") or detail.get("summary") or "" for detail in details)


def _call(answer: Gathered, call: Mapping[str, Any], position: int) -> None:
    key = call.get("index", position)
    inner = call.get("function") or call.get("custom") or {}
    if inner.get("name"):
        answer.names.setdefault(key, inner["name"])
    arguments = inner.get("arguments", inner.get("input"))
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments)
    answer.arguments.setdefault(key, []).append(arguments or "")


def _usage(usage: Any) -> Figures | None:
    if not usage:
        return None
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Figures(
        prompt=usage.get("prompt_tokens") or 0,
        completion=usage.get("completion_tokens") or 0,
        cache_read=prompt.get("cached_tokens") or usage.get("prompt_cache_hit_tokens") or 0,
        cache_write=prompt.get("cache_write_tokens") or 0,
        reasoning=completion.get("reasoning_tokens") or 0,
    )
