"""The vocabulary that whole answers and streams share: ends, usage, citations, calls, seals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from kurolproxy.ir import (
    BlockKind,
    Citation,
    Failure,
    Finish,
    FinishReason,
    Seal,
    ToolHead,
    ToolKind,
)
from kurolproxy.protocols import seal as seals
from kurolproxy.protocols.openai_chat.messages import arguments_text
from kurolproxy.protocols.openai_chat.parts import thinking_text
from kurolproxy.tokens import Reading, Usage, count

_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "length": "length",
    "model_length": "length",  # Mistral
    # Without a call there is nothing to answer; a call that was seen makes it tool_calls.
    "tool_calls": "stop",
    "function_call": "stop",
    "content_filter": "content_filter",
}
_BROKEN = "error"  # Mistral and OpenRouter: the model broke off
_KEPT: tuple[FinishReason, ...] = ("length", "content_filter")

FINISH_WORDS: dict[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "tool_calls": "tool_calls",
    "length": "length",
    "content_filter": "content_filter",
    "other": "stop",
}
"""Why an answer ended, in the words of this protocol."""


def finish(reason: str, *, called: bool) -> Finish | Failure:
    """Return the end of an answer.

    Args:
        reason: the upstream's word; "" when it said none (Snowflake).
        called: a tool was called: that is then why it ended, whatever the upstream
            says, unless it was cut.
    """
    if reason == _BROKEN:
        return Failure("the upstream broke off the answer")
    known = _REASONS.get(reason, "other") if reason else "stop"
    if called and known not in _KEPT:
        known = "tool_calls"
    return Finish(known)


def read_usage(value: Mapping[str, Any]) -> Usage | None:
    """Return the usage in an answer or a chunk, each figure clamped.

    Returns:
        None when there is none. A main figure that is missing, or no number, is 0: the
        estimate takes its place, and the other one is kept.
    """
    usage = value.get("usage")
    if usage is None:
        # Groq's streams keep it in an object of their own.
        inner = value.get("x_groq")
        usage = inner.get("usage") if isinstance(inner, dict) else None
    if not isinstance(usage, dict):
        return None
    if "prompt_tokens" not in usage and "completion_tokens" not in usage:
        return None
    reading = Reading()
    prompt = reading.figure(usage.get("prompt_tokens")) or 0
    completion = reading.figure(usage.get("completion_tokens")) or 0
    return _checked(usage, prompt, completion, reading)


def _checked(usage: dict[str, Any], prompt: int, completion: int, reading: Reading) -> Usage:
    asked = as_object(usage.get("prompt_tokens_details"))
    said = as_object(usage.get("completion_tokens_details"))
    # DeepSeek and Together count the cached tokens beside the details.
    read = reading.figure(asked.get("cached_tokens"))
    if read is None:
        read = reading.figure(usage.get("prompt_cache_hit_tokens"))
    if read is None:
        read = reading.figure(usage.get("cached_tokens")) or 0
    written = reading.figure(asked.get("cache_write_tokens")) or 0
    thought = reading.figure(said.get("reasoning_tokens")) or 0
    if thought and count(usage.get("total_tokens")) == prompt + completion + thought:
        # xAI counts reasoning beside the completion tokens; everybody else inside.
        completion = reading.figure(completion + thought) or 0
    read = min(read, prompt)
    return Usage(
        prompt=prompt,
        completion=completion,
        cache_read=read,
        cache_write=min(written, prompt - read),
        reasoning=min(thought, completion),
        clamped=reading.clamped,
    )


def as_object(value: Any) -> dict[str, Any]:
    """Return the value when it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return usage in this protocol's form."""
    asked = {"cached_tokens": usage.cache_read}
    if usage.cache_write:
        asked["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.total,
        "prompt_tokens_details": asked,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def read_citations(said: Mapping[str, Any]) -> list[Citation]:
    """Return the sources of a message or a delta that have a URL."""
    items = said.get("annotations")
    found = []
    for item in items if isinstance(items, list) else ():
        source = item.get("url_citation") if isinstance(item, dict) else None
        if isinstance(source, dict) and isinstance(source.get("url"), str):
            title = source.get("title")
            found.append(
                Citation(
                    source["url"],
                    title if isinstance(title, str) else None,
                    count(source.get("start_index")),
                    count(source.get("end_index")),
                )
            )
    return found


def write_citation(citation: Citation, base: int, length: int) -> dict[str, Any]:
    """Return one annotation.

    Args:
        base: characters of the message before the citation's text block.
        length: characters of that block; a citation without offsets is about all of it.
    """
    start = citation.start or 0
    end = length if citation.end is None else citation.end
    source = {
        "start_index": base + start,
        "end_index": base + end,
        "title": citation.title or citation.url,
        "url": citation.url,
    }
    return {"type": "url_citation", "url_citation": source}


def content_pieces(content: Any) -> Iterable[tuple[BlockKind, str]]:
    """Yield the texts of a content: a string, or Mistral's array of parts."""
    if isinstance(content, str):
        yield "text", content
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "thinking":
            yield "reasoning", thinking_text(part.get("thinking"))
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            yield "text", part["text"]


def as_text(value: Any) -> str:
    """Return the value when it is a string, else an empty one."""
    return value if isinstance(value, str) else ""


def chat_seal(family: str, text: str) -> Seal:
    """Return the seal of reasoning that this protocol wants back as plain text.

    DeepSeek refuses a history whose assistant messages with calls lost it.
    """
    return Seal("c", family, "", text)


def choice_index(choice: Mapping[str, Any]) -> int:
    """Return which of several answers a choice belongs to; without a number, the first."""
    index = choice.get("index")
    if isinstance(index, str) and index.isdecimal() and len(index) < 10:
        # Some servers write it as a string.
        return int(index)
    return int(index) if isinstance(index, int | float) else 0


def read_call(call: Mapping[str, Any]) -> ToolHead:
    """Return what a call, or the first delta of one, says of itself."""
    kind: ToolKind = "custom" if "custom" in call else "function"
    inner = as_object(call.get(kind))
    return ToolHead(as_text(call.get("id")), as_text(inner.get("name")), kind)


def read_arguments(call: Mapping[str, Any]) -> str:
    """Return the arguments of a call, or the fragment of them in a delta."""
    if "custom" in call:
        return as_text(as_object(call.get("custom")).get("input"))
    return arguments_text(as_object(call.get("function")).get("arguments"))


# A seal of more than 1 MiB is never read again; a character is at most 4 bytes of it.
_MAX_SEALED_CHARS = 175_000


class SealCarrier:
    """Holds the seal of a reasoning block until a call comes that can carry it."""

    __slots__ = ("_seal", "_text")

    def __init__(self) -> None:
        self._seal: Seal | None = None
        self._text = ""

    def hold(self, seal: Seal, text: str) -> None:
        """Keep a seal for the next call, with the text that the client may not return."""
        self._seal = seal
        self._text = text

    def text_began(self) -> None:
        """Forget a proof of Gemini's: it belongs to the part behind it, which is no call."""
        if self._seal is not None and self._seal.protocol == "g":
            self._seal = None

    def take(self) -> str:
        """Return the held seal as one word; "" when there is none."""
        seal, self._seal = self._seal, None
        if seal is None:
            return ""
        text = seal.text if seal.text is not None else self._text
        if len(text) > _MAX_SEALED_CHARS:
            return seals.encode(replace(seal, text=None))
        return seals.encode(replace(seal, text=text))
