"""Errors of Responses: ours in its words, an upstream's read from any body or event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from kurolproxy.errors import GatewayError
from kurolproxy.ir import Failure
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import UpstreamFault

_INVALID = "invalid_request_error"
_LIMIT = "rate_limit_error"
_SERVER = "server_error"

# Canonical kind -> type and code of a body, and the code of a response that failed. The
# last is a closed list in the vendor's types; Codex knows the codes of limits beside it.
_TABLE: Mapping[str, tuple[str, str | None, str]] = {
    "bad_request": (_INVALID, None, "invalid_prompt"),
    "context_too_long": (_INVALID, "context_length_exceeded", "context_length_exceeded"),
    "unauthenticated": (_INVALID, "invalid_api_key", _SERVER),
    "plan_forbidden": ("permission_error", "model_not_allowed", _SERVER),
    "model_not_found": (_INVALID, "model_not_found", _SERVER),
    "route_not_found": (_INVALID, "unknown_url", _SERVER),
    "method_not_allowed": (_INVALID, "method_not_allowed", _SERVER),
    "request_timeout": (_INVALID, "request_timeout", _SERVER),
    "too_large": (_INVALID, "request_too_large", _SERVER),
    "unsupported_media": (_INVALID, "unsupported_media_type", _SERVER),
    "rate_limited": (_LIMIT, "rate_limit_exceeded", "rate_limit_exceeded"),
    "concurrency_limited": (_LIMIT, "concurrency_limit_exceeded", "rate_limit_exceeded"),
    "too_many_failures": (_LIMIT, "too_many_failures", "rate_limit_exceeded"),
    "quota_exceeded": ("insufficient_quota", "insufficient_quota", "insufficient_quota"),
    "upstream_error": (_SERVER, "upstream_error", _SERVER),
    "upstream_timeout": (_SERVER, "upstream_timeout", _SERVER),
    "overloaded": (_SERVER, "overloaded", _SERVER),
    "internal": (_SERVER, "internal_error", _SERVER),
}
_PARAMS: Mapping[str, str] = {"model_not_found": "model"}


class ErrorWords(NamedTuple):
    """An error in this protocol's words, each a piece of JSON.

    Attributes:
        failed: the code of a response that failed.
    """

    type: bytes
    code: bytes
    message: bytes
    param: bytes
    failed: bytes


def error_words(error: GatewayError) -> ErrorWords:
    """Put an error in this protocol's words."""
    kind, code, failed = _TABLE.get(error.kind, _TABLE["internal"])
    # By pieces: a message may hold what the serialiser refuses, and an error must go out.
    return ErrorWords(
        wire.quote(kind),
        _optional(code),
        wire.quote(error.message),
        _optional(error.param or _PARAMS.get(error.kind)),
        wire.quote(failed),
    )


def _optional(text: str | None) -> bytes:
    return b"null" if text is None else wire.quote(text)


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """Write an error's body.

    Args:
        request_id: not part of this protocol's body; it travels in a header.
    """
    del request_id
    words = error_words(error)
    return b'{"error":{"message":%b,"type":%b,"param":%b,"code":%b}}' % (
        words.message,
        words.type,
        words.param,
        words.code,
    )


# --- what an upstream says ----------------------------------------------------------------

_MAX_WORDS = 2000
_MAX_LEVELS = 4
# The keys that hold words, in the order they are tried. ``error`` is an object at OpenAI,
# a text at xAI; ``detail`` is FastAPI's, a text or a list of {loc, msg}.
_WORD_KEYS = ("message", "error", "detail", "msg")
# Phrases for "the prompt does not fit", lower case.
_TOO_LONG = (
    "context_length_exceeded",
    "context length",
    "context window",
    "context size",
    "exceeds the context",
    "exceed the context",
    "prompt is too long",
    "prompt too long",
    "input is too long",
    "maximum prompt length",
    "too many tokens",
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
        message, codes = plain_words(body), ""
    else:
        message, codes = error_text(value), " ".join(_codes(value))
    text = f"{message} {codes}".lower()
    refused = status in _CONTENT_REFUSED
    return UpstreamFault(
        message,
        too_long=refused and any(phrase in text for phrase in _TOO_LONG),
        signature=refused and any(phrase in text for phrase in _SIGNATURE),
    )


def error_text(value: Any) -> str:
    """Return what an error says in words; "" when it says nothing."""
    return _words(value, _MAX_LEVELS).strip()[:_MAX_WORDS]


def _words(value: Any, levels: int) -> str:
    if isinstance(value, str):
        return value
    if levels and isinstance(value, list):
        return "; ".join(filter(None, (_words(each, levels - 1) for each in value[:8])))
    if levels and isinstance(value, dict):
        found = (_words(value.get(key), levels - 1) for key in _WORD_KEYS)
        return next(filter(None, found), "")
    return ""


def plain_words(body: bytes) -> str:
    """Return the words of an error that is no JSON; a page of HTML has none."""
    text = body[: 4 * _MAX_WORDS].decode("utf-8", "replace").strip()
    return "" if text.startswith("<") or "<html" in text.lower() else text[:_MAX_WORDS]


def _codes(value: Any) -> list[str]:
    """Return the codes of an error object, the precise ones first."""
    error = value.get("error") if isinstance(value, dict) else None
    objects = [each for each in (error, value) if isinstance(each, dict)]
    names = ("code", "status_code", "status", "type")
    found = [each.get(name) for each in objects for name in names]
    return [str(each) for each in found if isinstance(each, str | int)]


# --- an error in the place of an answer -----------------------------------------------------

# Codes, types and statuses -> what the failure is for failover; the first known word counts.
_KINDS: Mapping[str, str] = {
    "server_error": "upstream_error",
    "invalid_api_key": "upstream_error",
    "model_not_found": "upstream_error",
    "insufficient_quota": "upstream_error",
    "usage_not_included": "upstream_error",
    "429": "rate_limited",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "503": "overloaded",
    "529": "overloaded",
    "overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "service_unavailable": "overloaded",
    "400": "bad_request",
    "413": "bad_request",
    "422": "bad_request",
    "context_length_exceeded": "bad_request",
    "invalid_prompt": "bad_request",
    "invalid_request_error": "bad_request",
    "data_residency_mismatch": "bad_request",
    "bio_policy": "bad_request",
    "misalignment_policy_violation": "bad_request",
    "empty_image_file": "bad_request",
    "image_content_policy_violation": "bad_request",
    "image_file_not_found": "bad_request",
    "image_file_too_large": "bad_request",
    "image_parse_error": "bad_request",
    "image_too_large": "bad_request",
    "image_too_small": "bad_request",
    "invalid_base64_image": "bad_request",
    "invalid_image": "bad_request",
    "invalid_image_format": "bad_request",
    "invalid_image_mode": "bad_request",
    "invalid_image_url": "bad_request",
    "failed_to_download_image": "bad_request",
    "unsupported_image_media_type": "bad_request",
}


def read_failure(value: Mapping[str, Any]) -> Failure:
    """Read an error event, flat or nested, or the ``error`` of a response that failed."""
    kinds = (_KINDS.get(code) for code in _codes(value))
    return Failure(error_text(value), next(filter(None, kinds), "upstream_error"))
