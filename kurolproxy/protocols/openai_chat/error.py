"""Errors of a Chat upstream, read from any body or event; ours are in ``openai_errors``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import UpstreamFault
from kurolproxy.protocols.fault_words import (
    plain_words,
    refuses_content,
    says_too_long,
    words,
)

_SIGNATURE = ("signature", "encrypted_content")


def decode_error(status: int, body: bytes) -> UpstreamFault:
    """Read an upstream's error body, whatever it is.

    Args:
        status: of the upstream's answer.
        body: any bytes; an HTML page says nothing to a caller.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError:
        message, hints = plain_words(body), ""
    else:
        message, hints = words(value), _hints(value)
    text = f"{message} {hints}".lower()
    refused = refuses_content(status)
    return UpstreamFault(
        message,
        too_long=refused and says_too_long(text),
        signature=refused and any(phrase in text for phrase in _SIGNATURE),
    )


def _hints(value: Any) -> str:
    """Return the codes of an error object, and what a router quotes of the vendor behind it."""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict):
        error = value if isinstance(value, dict) else {}
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    said = (error.get("code"), error.get("type"), raw)
    return " ".join(each for each in said if isinstance(each, str))


# --- an error in the place of an answer -----------------------------------------------------

# Codes, types and statuses -> what the failure is for failover. The first of an error's
# own words that stands here decides: the code is more precise than the type.
_KINDS: dict[str, str] = {
    "invalid_api_key": "upstream_error",
    "model_not_found": "upstream_error",
    "insufficient_quota": "upstream_error",
    "429": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "RateLimitReached": "rate_limited",
    "503": "overloaded",
    "529": "overloaded",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_overloaded": "overloaded",
    "service_unavailable": "overloaded",
    "400": "bad_request",
    "413": "bad_request",
    "422": "bad_request",
    "context_length_exceeded": "bad_request",
    "invalid_request_error": "bad_request",
    "BadRequestError": "bad_request",
}


def read_error(value: Mapping[str, Any], event: str = "") -> Failure | None:
    """Return the error that stands where an answer or a chunk of one should be.

    Args:
        value: the object.
        event: the frame's event name; Groq writes ``event: error``.

    Returns:
        None when it is no error.
    """
    error = value.get("error")
    if not error and event != "error" and value.get("object") != "error":
        return None
    inner = error if isinstance(error, dict) else value
    said = (inner.get(key) for key in ("code", "status_code", "status", "type"))
    kinds = (_KINDS.get(str(each)) for each in said)
    return Failure(words(value), next(filter(None, kinds), "upstream_error"))


def error_field(frame: bytes, event: str, data: bytes) -> Failure | None:
    """Return the error that a frame says beside its data, or in data that are no object.

    Args:
        event: the frame's event name; ``error`` is one whatever the data are.
        data: the frame's data.

    Returns:
        None when there is no line ``error: {...}``, as llama.cpp writes it, and the name is
        another one or belongs to an object, which ``read_error`` reads.
    """
    if b"error" not in frame:
        return None
    lines = (line.partition(b":") for line in frame.split(b"\n"))
    said = [value for name, colon, value in lines if name == b"error" and colon]
    if not said and event != "error":
        return None
    text = b"\n".join(said) or data
    try:
        value = wire.load_upstream(text)
    except wire.WireError:
        return Failure(plain_words(text))
    if isinstance(value, dict):
        return read_error(value, "error") if said else None
    return Failure(words(value))
