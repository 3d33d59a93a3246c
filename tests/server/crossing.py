"""What a client of one protocol must see of an answer in another: the tables of the mapping."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import anthropic
import openai
from google.genai import errors as google_errors

from tests.fakes.recordings import Call, Expected, Figures, Recording
from tests.server.seen import Seen

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
    # These two have no refusals, and arguments are an object.
    calls = [Call(call.name, as_object(call.arguments)) for call in want.calls]
    if client == "gemini":
        # Arguments that were cut off are no object: such a call cannot be said at all.
        calls = [call for call in calls if _is_json(call.arguments)]
    return replace(ours, text=want.text + want.refusal, refusal="", calls=tuple(calls))


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


# --- checks ---------------------------------------------------------------------------


def check(seen: Recording, client: str, want: Expected, got: Seen) -> None:
    """Assert that a client saw what a recording holds."""
    if _breaks_off(seen, client, want):
        check_broken(seen, client, want, got)
        return
    assert got.error is None
    want = as_seen_by(client, seen, want)
    if want.restarts:
        # Passed through as it came; what the client makes of it is its own affair.
        want = replace(want, reasoning=got.reasoning)
    assert got.text == want.text
    assert got.reasoning == want.reasoning
    assert got.refusal == want.refusal
    assert got.calls == list(want.calls)
    assert got.finish == want.finish
    if want.usage is not None:
        assert got.usage == want.usage
    if got.final is not None:
        _same_again(got, got.final)


def _breaks_off(seen: Recording, client: str, want: Expected) -> bool:
    """Return whether the client must get an error.

    What the first of two messages said is out and cannot be taken back: a client of another
    protocol gets an error instead of two answers in one. It has no word either for the
    calls that Gemini itself calls mistakes.
    """
    return not want.whole or (
        client != seen.protocol and (want.restarts > 0 or reason(want) == "error")
    )


def _same_again(got: Seen, final: Seen) -> None:
    assert (final.text, final.reasoning, final.refusal) == (got.text, got.reasoning, got.refusal)
    assert final.calls == got.calls


def check_broken(seen: Recording, client: str, want: Expected, got: Seen) -> None:
    """Assert that a client got a well-formed error, in its SDK's own exception."""
    assert got.error
    check_form(client, got)
    if seen.status == 200:
        assert want.text.startswith(got.text)
        if seen.stream:
            return
        assert got.status == 502
        return
    # The client's own fault keeps its reason; what is between us and the vendor does not.
    own_fault = seen.status in (400, 413, 422)
    status = 413 if seen.status == 413 else 400 if own_fault else 502
    assert got.status == status
    assert isinstance(got.raised, _RAISED[client][status])


_OPENAI: Mapping[int, type[Exception]] = {
    400: openai.BadRequestError,
    413: openai.APIStatusError,
    502: openai.InternalServerError,
}
_RAISED: Mapping[str, Mapping[int, type[Exception]]] = {
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
_TYPES: Mapping[str, Mapping[int | None, str]] = {
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


def check_form(client: str, got: Seen) -> None:
    """Assert that an error has the form of the client's protocol, early or late."""
    kind = _TYPES[client][got.status]
    wire = got.wire
    if client == "messages":
        assert wire["type"] == "error"
        assert wire["request_id"]
        assert wire["error"] == {"type": kind, "message": got.error}
    elif client == "gemini":
        assert wire["error"].items() >= {"message": got.error, "status": kind}.items()
        assert wire["error"]["code"] == (got.status or 502)
    else:
        assert {"message", "type", "param", "code"} <= set(wire)
        assert wire["type"] == kind
