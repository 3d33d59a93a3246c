"""Errors of Chat Completions: ours in its words, an upstream's read from any body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kurolproxy.errors import GatewayError
from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import UpstreamFault

_INVALID = "invalid_request_error"
_LIMIT = "rate_limit_error"
_SERVER = "server_error"

# Canonical kind -> type and code.
_TABLE: dict[str, tuple[str, str | None]] = {
    "bad_request": (_INVALID, None),
    "context_too_long": (_INVALID, "context_length_exceeded"),
    "unauthenticated": (_INVALID, "invalid_api_key"),
    "plan_forbidden": ("permission_error", "model_not_allowed"),
    "model_not_found": (_INVALID, "model_not_found"),
    "route_not_found": (_INVALID, "unknown_url"),
    "method_not_allowed": (_INVALID, "method_not_allowed"),
    "request_timeout": (_INVALID, "request_timeout"),
    "too_large": (_INVALID, "request_too_large"),
    "unsupported_media": (_INVALID, "unsupported_media_type"),
    "headers_too_large": (_INVALID, "headers_too_large"),
    "rate_limited": (_LIMIT, "rate_limit_exceeded"),
    "concurrency_limited": (_LIMIT, "concurrency_limit_exceeded"),
    "too_many_failures": (_LIMIT, "too_many_failures"),
    "quota_exceeded": ("insufficient_quota", "insufficient_quota"),
    "upstream_error": (_SERVER, "upstream_error"),
    "upstream_timeout": (_SERVER, "upstream_timeout"),
    "overloaded": (_SERVER, "overloaded"),
    "internal": (_SERVER, "internal_error"),
}
_PARAMS = {"model_not_found": "model"}


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """Write an error's body.

    Args:
        request_id: not part of this protocol's body; it travels in a header.
    """
    del request_id
    kind, code = _TABLE.get(error.kind, _TABLE["internal"])
    param = error.param or _PARAMS.get(error.kind)
    # By pieces: a message may hold what the serialiser refuses, and an error must go out.
    return b'{"error":{"message":%b,"type":%b,"param":%b,"code":%b}}' % (
        wire.quote(error.message),
        wire.quote(kind),
        b"null" if param is None else wire.quote(param),
        b"null" if code is None else wire.quote(code),
    )


# --- what an upstream says ----------------------------------------------------------------

_MAX_WORDS = 2000
_MAX_LEVELS = 4
# The keys that hold words, in the order they are tried. OpenAI and most others:
# error.message; FastAPI and Mistral: detail, a text or a list of {loc, msg}.
_WORD_KEYS = ("message", "error", "detail", "msg")

# Phrases for "the prompt does not fit", lower case.
_TOO_LONG = (
    "context_length_exceeded",
    "maximum context length",
    "exceeds the context",
    "exceed the context",
    "exceed_context_size",
    "available context size",
    "context window",
    "context size",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "input length",
    "too many tokens",
    "maximum prompt length",
    "input token count",
    "reduce the length of",
)
_SIGNATURE = ("signature", "encrypted_content")
_CONTENT_REFUSED = (400, 413, 422)


def decode_error(status: int, body: bytes) -> UpstreamFault:
    """Read an upstream's error body, whatever it is.

    Args:
        status: of the upstream's answer.
        body: any bytes; an HTML page says nothing to a caller.
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError:
        message, hints = _plain(body), ""
    else:
        message, hints = words(value), _hints(value)
    text = f"{message} {hints}".lower()
    refused = status in _CONTENT_REFUSED
    return UpstreamFault(
        message,
        too_long=refused and any(phrase in text for phrase in _TOO_LONG),
        signature=refused and any(phrase in text for phrase in _SIGNATURE),
    )


def words(value: Any) -> str:
    """Return what an error object says in words; "" when it says nothing."""
    return _words(value, _MAX_LEVELS).strip()[:_MAX_WORDS]


def _words(value: Any, levels: int) -> str:
    if isinstance(value, str):
        return value
    if levels and isinstance(value, list):
        return "; ".join(filter(None, (_words(each, levels - 1) for each in value[:8])))
    if levels and isinstance(value, dict):
        return next(
            filter(None, (_words(value.get(key), levels - 1) for key in _WORD_KEYS)),
            "",
        )
    return ""


def _plain(body: bytes) -> str:
    text = body[: 4 * _MAX_WORDS].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") or "<html" in text.lower() else text[:_MAX_WORDS]


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
        return Failure(_plain(text))
    if isinstance(value, dict):
        return read_error(value, "error") if said else None
    return Failure(words(value))
