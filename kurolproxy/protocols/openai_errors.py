"""The body of an OpenAI error, the same on Chat Completions and Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from kurolproxy.errors import GatewayError
from kurolproxy.protocols import wire

_INVALID = "invalid_request_error"
_LIMIT = "rate_limit_error"
_SERVER = "server_error"

# Canonical kind -> type and code.
_TABLE: Mapping[str, tuple[str, str | None]] = {
    "bad_request": (_INVALID, None),
    "context_too_long": (_INVALID, "context_length_exceeded"),
    "unauthenticated": (_INVALID, "invalid_api_key"),
    "plan_forbidden": ("permission_error", "model_not_allowed"),
    "management_forbidden": ("permission_error", "management_key_required"),
    "resource_not_found": (_INVALID, "not_found"),
    "model_not_found": (_INVALID, "model_not_found"),
    "route_not_found": (_INVALID, "unknown_url"),
    "method_not_allowed": (_INVALID, "method_not_allowed"),
    "request_timeout": (_INVALID, "request_timeout"),
    "conflict": (_INVALID, "conflict"),
    "unprocessable": (_INVALID, "invalid_fields"),
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
_PARAMS: Mapping[str, str] = {"model_not_found": "model"}


class ErrorWords(NamedTuple):
    """An error in OpenAI's words, each a piece of JSON."""

    type: bytes
    code: bytes
    message: bytes
    param: bytes


def error_words(error: GatewayError) -> ErrorWords:
    """Put an error in OpenAI's words."""
    kind, code = _TABLE.get(error.kind, _TABLE["internal"])
    # By pieces: a message may hold what the serialiser refuses, and an error must go out.
    return ErrorWords(
        wire.quote(kind),
        _optional(code),
        wire.quote(error.message),
        _optional(error.param or _PARAMS.get(error.kind)),
    )


def _optional(text: str | None) -> bytes:
    return b"null" if text is None else wire.quote(text)


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """Write an error's body.

    Args:
        request_id: not part of OpenAI's body; it travels in a header.
    """
    del request_id
    words = error_words(error)
    return b'{"error":{"message":%b,"type":%b,"param":%b,"code":%b}}' % (
        words.message,
        words.type,
        words.param,
        words.code,
    )
