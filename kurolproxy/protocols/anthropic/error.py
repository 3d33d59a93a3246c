"""Errors of Anthropic Messages, both ways."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kurolproxy.errors import ContextTooLong, GatewayError
from kurolproxy.protocols import wire
from kurolproxy.protocols.base import UpstreamFault
from kurolproxy.protocols.fault_words import plain_words, refuses_content, says_too_long

_TYPES: Mapping[str, str] = {
    "bad_request": "invalid_request_error",
    "context_too_long": "invalid_request_error",
    "unauthenticated": "authentication_error",
    "plan_forbidden": "permission_error",
    "management_forbidden": "permission_error",
    "resource_not_found": "not_found_error",
    "model_not_found": "not_found_error",
    "route_not_found": "not_found_error",
    "method_not_allowed": "invalid_request_error",
    "request_timeout": "invalid_request_error",
    "conflict": "invalid_request_error",
    "unprocessable": "invalid_request_error",
    "too_large": "request_too_large",
    "unsupported_media": "invalid_request_error",
    "rate_limited": "rate_limit_error",
    "concurrency_limited": "rate_limit_error",
    "too_many_failures": "rate_limit_error",
    "quota_exceeded": "rate_limit_error",
    "upstream_error": "api_error",
    "upstream_timeout": "timeout_error",
    "overloaded": "overloaded_error",
    "internal": "api_error",
}

# What the SDKs' tool runners look for before they send a whole conversation once more:
# they begin with `thread: create` and go on with `thread: continue`.
_DETAILS: Mapping[str | None, bytes] = {
    "thread": b',"details":{"error_code":"thread_not_found"}',
}

# Claude Code compacts its history when, and only when, a 400 begins with these words.
_TOO_LONG = "prompt is too long"
_PROOF_WORDS = re.compile(
    r"signature|encrypted_content|thinking`? blocks?\b.*cannot be modified",
    re.IGNORECASE | re.DOTALL,
)


def encode_error(error: GatewayError, request_id: str) -> bytes:
    """Write the JSON body of an error."""
    message = error.message
    if isinstance(error, ContextTooLong) and not message.startswith(_TOO_LONG):
        message = f"{_TOO_LONG}: {message}"
    kind = _TYPES.get(error.kind, "api_error")
    return b'{"type":"error","error":{"type":%b,"message":%b%b},"request_id":%b}' % (
        wire.quote(kind),
        wire.quote(message),
        _DETAILS.get(error.param, b""),
        wire.quote(request_id),
    )


def decode_error(status: int, body: bytes) -> UpstreamFault:
    """Read what an upstream, or something in front of it, says of a failure.

    Seen besides the vendor's own form: no outer ``type``, ``error`` as a text, the problem
    document of a proxy (``title``, ``detail``), plain text, a page of HTML (says nothing).
    """
    try:
        value = wire.load_upstream(body)
    except wire.WireError:
        value = plain_words(body)
    message = next((words for words in _words(value) if words), "")
    refused = refuses_content(status)
    return UpstreamFault(
        message,
        too_long=refused and says_too_long(message),
        signature=refused and _PROOF_WORDS.search(message) is not None,
    )


def _words(value: Any) -> Iterator[str]:
    """Yield what may be the message, best first."""
    if isinstance(value, str):
        yield value
    if not isinstance(value, dict):
        return
    yield from _words(value.get("error"))
    yield from _words(value.get("message"))
    title, detail = value.get("title"), value.get("detail")
    yield ": ".join(each for each in (title, detail) if isinstance(each, str))
