"""What a client of one protocol must see of an answer in another: the tables of the mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import anthropic
import openai
from google.genai import errors as google_errors

from tests.fakes.recordings import Call, Expected, Figures, Recording

# An upstream's word for the end -> the reason in our words. What stands nowhere is
# ``other``; a call of the client's own tools makes ``tool_calls`` of all but the last two.
_REASONS: Mapping[str, str] = {
    **dict.fromkeys(("stop", "eos", "end_turn", "pause_turn", "completed", "STOP"), "stop"),
    **dict.fromkeys(("tool_calls", "tool_use"), "stop"),
    # No word at all, where the protocol's mark of the end came nevertheless.
    "": "stop",
    "stop_sequence": "stop_sequence",
    **dict.fromkeys(("length", "max_tokens", "MAX_TOKENS"), "length"),
    "incomplete/max_output_tokens": "length",
    **dict.fromkeys(("content_filter", "refusal", "MODEL_ARMOR"), "content_filter"),
    "UNEXPECTED_TOOL_CALL": "error",
}
_WORDS: Mapping[str, Mapping[str, str]] = {
    "chat": {
        "stop": "stop",
        "stop_sequence": "stop",
        "tool_calls": "tool_calls",
        "length": "length",
        "content_filter": "content_filter",
        "other": "stop",
    },
    "responses": {
        "stop": "completed",
        "stop_sequence": "completed",
        "tool_calls": "completed",
        "length": "incomplete/max_output_tokens",
        "content_filter": "incomplete/content_filter",
        "other": "completed",
    },
    "messages": {
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "tool_calls": "tool_use",
        "length": "max_tokens",
        "content_filter": "refusal",
        "other": "end_turn",
    },
    "gemini": {
        "stop": "STOP",
        "stop_sequence": "STOP",
        "tool_calls": "STOP",
        "length": "MAX_TOKENS",
        "content_filter": "SAFETY",
        "other": "OTHER",
    },
}


def reason(want: Expected) -> str:
    """Return why an answer ended, in the words of the mapping."""
    word = _REASONS.get(want.finish or "", "other")
    if want.calls and word not in ("length", "content_filter", "error"):
        return "tool_calls"
    return word


def as_seen_by(client: str, seen: Recording, want: Expected) -> Expected:
    """Return what a client must see of a whole answer."""
    if client == seen.protocol:
        return want
    ours = replace(want, finish=_WORDS[client][reason(want)], usage=_counted(client, seen, want))
    if client in ("chat", "responses"):
        return ours
    if seen.protocol in ("chat", "responses"):
        # The words of the model: these two have no refusals. The words of a filter stay so.
        ours = replace(ours, text=want.text + want.refusal, refusal="")
    if client == "gemini":
        # They are sent as ``finishMessage``, but its SDK does not show that.
        ours = replace(ours, refusal="")
    # Arguments are an object.
    calls = [Call(call.name, as_object(call.arguments)) for call in want.calls]
    if client == "gemini":
        # Arguments that were cut off are no object: such a call cannot be said at all.
        calls = [call for call in calls if _is_json(call.arguments)]
    return replace(ours, calls=tuple(calls))


def _counted(client: str, seen: Recording, want: Expected) -> Figures | None:
    usage = want.usage
    if usage is None:
        return None
    if seen.protocol == "chat" and seen.vendor == "xai":
        # Its total says that its completion leaves the reasoning out; ours includes it.
        usage = usage._replace(completion=usage.completion + usage.reasoning)
    return usage._replace(cache_write=0) if client == "gemini" else usage


def as_object(arguments: str) -> str:
    """Return arguments as an object: the bare input of a custom tool is wrapped."""
    if _is_json(arguments) or arguments.startswith("{"):
        return arguments
    return json.dumps({"input": arguments})


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


# --- errors ---------------------------------------------------------------------------

_OPENAI: Mapping[int, type[Exception]] = {
    400: openai.BadRequestError,
    413: openai.APIStatusError,
    502: openai.InternalServerError,
}
RAISED: Mapping[str, Mapping[int, type[Exception]]] = {
    "chat": _OPENAI,
    "responses": _OPENAI,
    "messages": {
        400: anthropic.BadRequestError,
        413: anthropic.RequestTooLargeError,
        502: anthropic.InternalServerError,
    },
    "gemini": {
        400: google_errors.ClientError,
        413: google_errors.ClientError,
        502: google_errors.ServerError,
    },
}
"""The exception of each client's SDK for a status of ours."""

_OPENAI_TYPES: Mapping[int | None, str] = {
    400: "invalid_request_error",
    413: "invalid_request_error",
    502: "server_error",
    None: "server_error",
}
TYPES: Mapping[str, Mapping[int | None, str]] = {
    "chat": _OPENAI_TYPES,
    "responses": _OPENAI_TYPES,
    "messages": {
        400: "invalid_request_error",
        413: "request_too_large",
        502: "api_error",
        None: "api_error",
    },
    "gemini": {
        400: "INVALID_ARGUMENT",
        413: "INVALID_ARGUMENT",
        502: "UNAVAILABLE",
        None: "UNAVAILABLE",
    },
}
"""The kind of error on the wire for a status of ours; None: in the middle of a stream."""
