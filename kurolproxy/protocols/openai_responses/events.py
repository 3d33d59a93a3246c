"""The events of a Responses stream: which of them matter, and how they are read.

Source: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from kurolproxy.ir import BlockKind, FinishReason
from kurolproxy.protocols.openai_responses.vocabulary import (
    CALL_KINDS,
    CUSTOM_CALL,
    FUNCTION_CALL,
    MESSAGE,
    OUTPUT_TEXT,
    REASONING,
    REFUSAL,
)

DELTAS: Mapping[str, tuple[str, str]] = {
    "response.output_text.delta": (MESSAGE, "text"),
    "response.refusal.delta": (MESSAGE, "refusal"),
    "response.reasoning_summary_text.delta": (REASONING, "summary"),
    "response.reasoning_text.delta": (REASONING, "content"),
    "response.function_call_arguments.delta": (FUNCTION_CALL, "tool"),
    "response.custom_tool_call_input.delta": (CUSTOM_CALL, "tool"),
}
"""Event -> the type of the item it belongs to, and what kind of piece it brings more of."""

DONE: Mapping[str, tuple[str, str, str]] = {
    "response.output_text.done": (MESSAGE, "text", "text"),
    "response.refusal.done": (MESSAGE, "refusal", "refusal"),
    "response.reasoning_summary_text.done": (REASONING, "summary", "text"),
    "response.reasoning_text.done": (REASONING, "content", "text"),
    "response.function_call_arguments.done": (FUNCTION_CALL, "tool", "arguments"),
    "response.custom_tool_call_input.done": (CUSTOM_CALL, "tool", "input"),
}
"""Event -> item, piece, and where the full text of the piece stands."""

PARTS: Mapping[str, tuple[BlockKind, str]] = {
    OUTPUT_TEXT: ("text", "text"),
    REFUSAL: ("refusal", "refusal"),
}
"""Part of a message -> kind of block, and where its text stands."""

ARGUMENTS: Mapping[str, str] = {FUNCTION_CALL: "arguments", CUSTOM_CALL: "input"}
"""Call item -> where its arguments stand."""

BETWEEN: Mapping[str, str] = {"summary": "\n\n", "content": ""}
"""Texts of thoughts -> what stands between two pieces of one item."""

TERMINALS: Mapping[str, str] = {
    "response.completed": "completed",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
"""Terminal event -> the status that it says, when the response in it says none."""

BROKEN: Mapping[str, str] = {"failed": "", "cancelled": "the upstream cancelled the answer"}
"""The statuses that are no end -> what to say when the response says nothing."""

INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "content_filter": "content_filter",
}
"""Why a response is incomplete -> why it ended."""


def is_ours(type_: str) -> bool:
    """Return whether an item is told to clients; others are of tools that the vendor runs."""
    return type_ in (MESSAGE, REASONING) or type_ in CALL_KINDS


def piece_number(event: dict[str, Any], piece: str) -> int:
    """Return which of an item's thoughts an event is about."""
    return number_of(event, "summary_index" if piece == "summary" else "content_index")


def inner(value: dict[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside an object; an empty one when there is none."""
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def objects(value: object) -> Iterator[dict[str, Any]]:
    """Yield the objects of an array."""
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield each


def words(value: dict[str, Any], name: str) -> str:
    """Return a text inside an object; "" when there is none."""
    found = value.get(name)
    return found if isinstance(found, str) else ""


def number_of(value: dict[str, Any], name: str) -> int:
    """Return a whole number inside an object; 0 when there is none."""
    found = value.get(name)
    return found if type(found) is int else 0
